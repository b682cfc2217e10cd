"""Files that are either whole or missing."""

from __future__ import annotations

import errno
import os
import stat
import uuid
from pathlib import Path


def write_whole(path: Path, content: bytes) -> None:
    """Write ``content`` beside ``path`` and move it there in one go, so that no half or damaged file is left.

    The file behind a link is replaced, not the link; its permissions stay; what is not a regular file (a pipe,
    ``/dev/stdout``) is written to.

    Raises:
        OSError: If nothing can be written there.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_whole(Path(folder) / "a.txt", b"whole")
        ...     [(file.name, file.read_bytes()) for file in Path(folder).iterdir()]
        [('a.txt', b'whole')]
    """
    path = Path(os.path.realpath(path))
    mode = path.stat().st_mode if path.exists() else None
    if mode is not None and not stat.S_ISREG(mode):
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        path.write_bytes(content)
        return
    beside = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex}.tmp")
    try:
        with beside.open("xb") as file:
            if mode is not None:
                beside.chmod(stat.S_IMODE(mode))
            file.write(content)
            file.flush()
            os.fsync(file.fileno())  # a disk that fails says so now, while the file that is there is untouched
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
