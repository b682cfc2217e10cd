"""Errors of databases in the words of the store."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from stepsize.errors import StepsizeError, StoreCorruptError, StoreError, StoreLockedError, StoreReadOnlyError
from stepsize.store.address import Address

_LOCKED = "is locked by another program that writes to it; wait until it is done, or use another store"
_READ_ONLY = "may not be written; give a store where you may write, or change its permissions"
_CORRUPT = (
    "is damaged or no SQLite database, and was left as it is; "
    "give another path, or save what can be saved with `sqlite3 FILE .recover`"
)
_FULL = "cannot grow: the disk is full; everything stored before is intact"
_FAILED = (
    "cannot be written or read: the disk failed, is full, or a limit on files was met; "
    "everything stored before is intact"
)
_SQLITE = {
    sqlite3.SQLITE_BUSY: (StoreLockedError, _LOCKED),
    sqlite3.SQLITE_LOCKED: (StoreLockedError, _LOCKED),
    sqlite3.SQLITE_READONLY: (StoreReadOnlyError, _READ_ONLY),
    sqlite3.SQLITE_PERM: (StoreReadOnlyError, _READ_ONLY),
    sqlite3.SQLITE_CORRUPT: (StoreCorruptError, _CORRUPT),
    sqlite3.SQLITE_NOTADB: (StoreCorruptError, _CORRUPT),
    sqlite3.SQLITE_CANTOPEN: (StoreError, "cannot be opened; check the permissions of the file and of its folder"),
    sqlite3.SQLITE_FULL: (StoreError, _FULL),
    sqlite3.SQLITE_IOERR: (StoreError, _FAILED),
}
_POSTGRES = {
    "25006": (StoreReadOnlyError, _READ_ONLY),  # read_only_sql_transaction
    "42501": (StoreReadOnlyError, _READ_ONLY),  # insufficient_privilege
    "53100": (StoreError, _FULL),  # disk_full
    "55P03": (StoreLockedError, _LOCKED),  # lock_not_available
    "XX001": (StoreCorruptError, "is damaged; ask whoever runs the server"),  # data_corrupted
}

_UNREADABLE = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@contextmanager
def guarded(address: Address) -> Iterator[None]:
    """Turn what the database raises within into a StoreError that names the store, without its password."""
    try:
        yield
    except (DBAPIError, sqlite3.Error) as error:
        if _was_interrupted(error):
            raise KeyboardInterrupt from None
        raise _translated(address, error) from error
    except SQLAlchemyError as error:
        raise StoreError(f"{address} failed: {_first_line(address, error)}") from error
    except StepsizeError:
        raise
    except OSError as error:
        raise StoreError(f"{address} failed: {error.strerror or error}") from error
    except json.JSONDecodeError as error:
        raise StoreCorruptError(f"{address} {_CORRUPT}") from error


@contextmanager
def understood(address: Address) -> Iterator[None]:
    """Turn what goes wrong in reading rows into a StoreCorruptError: cells that stepsize never wrote."""
    try:
        yield
    except (StepsizeError, json.JSONDecodeError):
        raise
    except _UNREADABLE as error:
        told = f"{type(error).__name__}: {_first_line(address, error)}"
        raise StoreCorruptError(f"{address} holds a value that stepsize did not write ({told})") from error


def _was_interrupted(error: BaseException | None) -> bool:
    """Return whether Ctrl-C came while the database was at work, which tells of it as an error of its own."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__cause__ or error.__context__
    return False


def _translated(address: Address, error: DBAPIError | sqlite3.Error) -> StoreError:
    cause = error.orig if isinstance(error, DBAPIError) else error
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", 0) & 0xFF  # the higher bits refine it
        found = _SQLITE.get(code)
    else:
        found = _POSTGRES.get(str(getattr(cause, "sqlstate", "")))
    if found is not None:
        return found[0](f"{address} {found[1]}")
    return StoreError(f"{address} failed: {_first_line(address, cause or error)}")


def _first_line(address: Address, error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return address.hide(lines[0])
