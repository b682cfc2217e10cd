"""`stepsize live` says what is wrong before it serves anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Invoke

from stepsize.store import Store


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["no.db"], "no store at no.db"),
        (["runs.db", "--token", "short"], "token must be at least 16 letters"),
        (["runs.db", "--token", "a secret with spaces"], "token must be at least 16 letters"),
        (["runs.db", "--host", "no.such.host.invalid"], "host must be a name or address of this machine"),
        (["runs.db", "--port", "70000"], "port must be between 0 and 65535"),
        (["runs.db", "--tls-cert", "cert.pem"], "tls-key must be given together with tls-cert"),
        (["runs.db", "--tls-cert", "cert.pem", "--tls-key", "key.pem"], "tls-cert must be a file that exists"),
        (["postgresql://ann:secret@localhost:1/x"], "ann@localhost"),
    ],
    ids=str,
)
def test_what_cannot_be_served_is_told_and_no_store_is_made(
    invoke: Invoke, tmp_path: Path, arguments: list[str], told: str
) -> None:
    Store.open(tmp_path / "runs.db").close()

    done = invoke("live", *arguments, "--no-open")

    assert done.exit_code in (1, 2)
    assert told in done.stderr
    assert "secret" not in done.output
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".db"] == ["runs.db"]
