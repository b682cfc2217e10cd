"""A fresh store for each test, on SQLite and, where a server is given, on PostgreSQL."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from stepsize.store import Store


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    return str(tmp_path / "stepsize.db")


@pytest.fixture
def postgres() -> Iterator[str]:
    """A database of its own on the server of $STEPSIZE_POSTGRES, dropped after the test."""
    given = os.environ.get("STEPSIZE_POSTGRES")
    if not given:
        pytest.skip("no PostgreSQL server; run `.ci/postgres pytest tests/store`, or set STEPSIZE_POSTGRES to a URL")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    url = make_url(given).set(drivername="postgresql+psycopg")
    name = f"stepsize_test_{uuid.uuid4().hex}"
    engine = create_engine(url, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield url.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


# Without a server, the tests that need one say so; the others need not say it again for each.
@pytest.fixture(params=["sqlite", "postgres"] if os.environ.get("STEPSIZE_POSTGRES") else ["sqlite"])
def where(request: pytest.FixtureRequest) -> str:
    """Where a store may be made."""
    place = request.getfixturevalue(request.param)
    assert isinstance(place, str)
    return place


@pytest.fixture
def store(where: str) -> Iterator[Store]:
    with Store.open(where) as opened:
        yield opened


@pytest.fixture
def without_power() -> Iterator[Path]:
    """A folder within which this process has the rights of nobody in particular, even where root runs the tests."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        inside = folder / "inside"
        inside.mkdir()
        if os.geteuid() != 0:
            yield inside
            inside.chmod(0o755)
            return
        os.chown(inside, 65534, 65534)
        os.seteuid(65534)
        try:
            yield inside
        finally:
            os.seteuid(0)
