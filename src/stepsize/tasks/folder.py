"""Where data files that the package does not contain are looked for."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

from stepsize.errors import DataUnavailableError

__all__ = ["data_files", "data_folder", "unpacked"]

_REMEDY = "Name the folder that holds the data with --data (data=... in Python) or $STEPSIZE_DATA"


def data_folder(given: str | Path | None = None) -> Path:
    """Return the folder that holds data files: ``given``, else ``$STEPSIZE_DATA``.

    Args:
        given: A folder; None (or an empty text) asks the environment variable.

    Returns:
        The folder, which exists.

    Raises:
        DataUnavailableError: If neither names a folder, or what is named is no folder.

    Example:
        >>> data_folder("/no/such/folder")
        Traceback (most recent call last):
        stepsize.errors.DataUnavailableError: There is no data folder /no/such/folder (given as data). ...
    """
    origin, named = ("given as data", given) if given else ("from $STEPSIZE_DATA", os.environ.get("STEPSIZE_DATA"))
    if not named:
        raise DataUnavailableError(f"No data folder is known: no data was given and $STEPSIZE_DATA is unset. {_REMEDY}")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataUnavailableError(f"There is no data folder {folder} ({origin}). {_REMEDY}")
    return folder


def data_files(names: tuple[str, ...], given: str | Path | None = None) -> tuple[Path, ...]:
    """Return the paths of the files ``names`` in the data folder; all exist.

    Args:
        names: File names; with none the folder is not even looked for.
        given: The folder, as in :func:`data_folder`.

    Returns:
        One absolute path a name.

    Raises:
        DataUnavailableError: If the folder or a file is missing; the message says where it was looked for.

    Example:
        >>> data_files(())
        ()
    """
    if not names:
        return ()
    folder = data_folder(given).resolve()
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataUnavailableError(f"The data folder {folder} has no {' and no '.join(missing)}. {_REMEDY}")
    return tuple(folder / name for name in names)


def unpacked(path: Path) -> bytes:
    """Return what the gzip file ``path`` holds.

    Args:
        path: An existing file.

    Returns:
        Its unpacked bytes.

    Raises:
        DataUnavailableError: If it is no gzip file, or is cut off.
    """
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailableError(f"{path} cannot be read as a gzip file: {error}") from error
