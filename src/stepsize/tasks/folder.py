"""The folder of data files that the package does not contain."""

from __future__ import annotations

import gzip
import os
import zlib
from pathlib import Path

from stepsize.errors import DataUnavailableError

_REMEDY = "Name the folder that holds the data with --data (data=... in Python) or $STEPSIZE_DATA"


def data_folder(given: str | Path | None = None) -> Path:
    """Return the folder of data files, ``given`` or ``$STEPSIZE_DATA``, or raise DataUnavailableError."""
    origin, named = ("given as data", given) if given else ("from $STEPSIZE_DATA", os.environ.get("STEPSIZE_DATA"))
    if not named:
        raise DataUnavailableError(f"No data folder is known: no data was given and $STEPSIZE_DATA is unset. {_REMEDY}")
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise DataUnavailableError(f"There is no data folder {folder} ({origin}). {_REMEDY}")
    return folder


def data_files(names: tuple[str, ...], given: str | Path | None = None) -> tuple[Path, ...]:
    """Return the absolute paths of the files ``names`` in the data folder, or raise DataUnavailableError."""
    if not names:
        return ()
    folder = data_folder(given).resolve()
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise DataUnavailableError(f"The data folder {folder} has no {' and no '.join(missing)}. {_REMEDY}")
    return tuple(folder / name for name in names)


def unpacked(path: Path) -> bytes:
    """Return the unpacked bytes of a gzip file, or raise DataUnavailableError."""
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailableError(f"{path} cannot be read as a gzip file: {error}") from error
