"""One writer a study, by locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, text

from stepsize.errors import StoreError, StoreLockedError
from stepsize.store.address import Address

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_PATIENCE = 2.0  # seconds in which a server notices that a writer was killed


class Lock(Protocol):
    """A lock that was acquired when it was made."""

    def release(self) -> None:
        """Let others write the study; doing so twice does no harm."""


class FileLock:
    """The lock of one study of an SQLite store: a file beside it, locked by the operating system.

    A process that ends in any way loses its locks immediately, and a file that a killed process left is taken over.
    A forked process does not inherit POSIX record locks, as it would those of ``flock`` (and of the filelock package):
    workers that outlive a killed writer hold nothing. They belong to the process, so a set refuses a second writer
    within it. Making it raises StoreLockedError with the holder if another writer has it.
    """

    _held: set[str] = set()  # noqa: RUF012  the one set of this process
    _guard = threading.Lock()

    def __init__(self, address: Address, study: str) -> None:
        self._path = _beside(address, study)
        with self._guard:
            if str(self._path) in self._held:
                raise _taken(address, study, "this process")
            self._file: int | None = self._acquire(address, study)
            self._held.add(str(self._path))

    @classmethod
    def held(cls, path: Path) -> bool:
        """Return whether somebody holds the lock of that file, this process included."""
        with cls._guard:
            if str(path) in cls._held:  # and our own must not be opened: closing it would give the lock back
                return True
            try:
                file = os.open(path, os.O_RDWR if sys.platform == "win32" else os.O_RDONLY | os.O_CLOEXEC | _NO_LINK)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.ELOOP):
                    return False
                raise
            try:
                return not _locked(file, shared=True)
            finally:
                os.close(file)  # which gives back what was just taken

    def release(self) -> None:
        """Let others write the study, and take the file away."""
        with self._guard:
            if self._file is None:
                return
            if sys.platform != "win32":  # there, a file that is open cannot be taken away
                self._path.unlink(missing_ok=True)
            os.close(self._file)
            self._file = None
            self._held.discard(str(self._path))

    def _acquire(self, address: Address, study: str) -> int:
        while True:
            try:
                file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | _NO_LINK, 0o644)
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise
                raise StoreError(f"the lock {self._path} is a link, which was left as it is; take it away") from None
            try:
                if not _locked(file):
                    holder = os.read(file, 200).decode(errors="replace").strip()
                    raise _taken(address, study, holder or "another process")
                if not self._still_there(file):  # its last holder took it away in between
                    os.close(file)
                    continue
                os.ftruncate(file, 0)
                now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
                os.write(file, f"process {os.getpid()} on {socket.gethostname()} since {now}\n".encode())
            except BaseException:
                os.close(file)
                raise
            return file

    def _still_there(self, file: int) -> bool:
        try:
            return os.path.samestat(os.fstat(file), self._path.stat())
        except FileNotFoundError:
            return False


class ServerLock:
    """The lock of one study of a PostgreSQL store: an advisory lock that ends with the writer's connection."""

    def __init__(self, connection: Connection, address: Address, study: str) -> None:
        self._connection = connection
        self._key = _key_of(study)
        patience = time.monotonic() + _PATIENCE
        while not connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": self._key}):
            if time.monotonic() > patience:
                raise _taken(address, study, self._holder())
            time.sleep(0.05)

    def release(self) -> None:
        """Let others write the study."""
        if not self._connection.invalidated:  # a lost connection has given it back already
            self._connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": self._key})

    def _holder(self) -> str:
        query = text(
            "SELECT a.pid, coalesce(host(a.client_addr), 'the server itself'), a.backend_start FROM pg_locks l "
            "JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 "
            "AND (l.classid::bigint << 32 | l.objid::bigint) = :key"
        )
        row = self._connection.execute(query, {"key": self._key}).first()
        return (
            "another process" if row is None else f"a client on {row[1]} (server process {row[0]}) since {row[2]:%F %R}"
        )


def file_lock_held(address: Address, study: str) -> bool:
    """Return whether somebody writes the study of an SQLite store."""
    return FileLock.held(_beside(address, study))


def server_lock_held(connection: Connection, study: str) -> bool:
    """Return whether somebody writes the study of a PostgreSQL store."""
    query = text(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND objsubid = 1 "
        "AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) "
        "AND (classid::bigint << 32 | objid::bigint) = :key"
    )
    return bool(connection.scalar(query, {"key": _key_of(study)}))


def _beside(address: Address, study: str) -> Path:
    assert address.path is not None
    whole = address.path.resolve()
    return whole.with_name(f"{whole.name}.{hashlib.sha256(study.encode()).hexdigest()[:12]}.lock")


def _key_of(study: str) -> int:
    digest = hashlib.sha256(f"stepsize study {study}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def _taken(address: Address, study: str, holder: str) -> StoreLockedError:
    return StoreLockedError(
        f"study '{study}' of {address} is being written by {holder}; "
        "wait until it ends, stop it, or give the study another name"
    )


def _locked(file: int, *, shared: bool = False) -> bool:
    """Lock the file for this process, or for all who only look, and return whether that could be done."""
    try:
        if sys.platform == "win32":
            os.lseek(file, 4096, os.SEEK_SET)  # behind the text, which others must be able to read
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
            os.lseek(file, 0, os.SEEK_SET)
        else:
            fcntl.lockf(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError as error:
        if not isinstance(error, BlockingIOError | PermissionError):
            raise
        return False
    return True
