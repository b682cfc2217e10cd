"""TLS and other hosts: a real handshake, and a page that answers under its own names only."""

from __future__ import annotations

import http.client
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.live.serving import TOKEN, Asker, served, writing

from stepsize.errors import InputError
from stepsize.live import serve
from stepsize.store import Store

OPENSSL = shutil.which("openssl")
pytestmark = pytest.mark.skipif(OPENSSL is None, reason="no openssl on this machine to make a certificate with")


def certificate(folder: Path, *options: str) -> tuple[Path, Path]:
    """Return the files of a new certificate of this machine, which signs itself, and of its key."""
    made = folder / "cert.pem", folder / "key.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *(options or ("-nodes",)))
    names = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    files = ("-out", str(made[0]), "-keyout", str(made[1]))
    subprocess.run([str(OPENSSL), "req", "-x509", "-days", "2", *kind, *names, *files], check=True, capture_output=True)
    return made


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs.db"


def test_everything_goes_over_tls_with_a_cookie_that_goes_nowhere_else(path: Path, tls: tuple[Path, Path]) -> None:
    with writing(path) as run, served(path, tls=tls) as page:
        assert page.url.startswith("https://127.0.0.1:")
        answer = page.ask(f"/?token={TOKEN}", Cookie=None)
        assert "secure" in answer.headers["set-cookie"].lower().split("; ")
        assert page.ask("/", Cookie=answer.headers["set-cookie"].partition(";")[0]).status == 200
        with page.events("?run=net") as events:
            run.write({"loss": ([0], [1.0])})
            assert next(news for _, news in events if "points" in news)["points"]["net"]["signals"]["loss"] == [
                [0],
                [1],
            ]
        assert page.order("net", "hold", {}).status == 200
        assert page.order("net", "stop", {}, Origin=f"http://127.0.0.1:{page.port}").status == 403
        with Store.open(path) as store:
            assert [order.verb for order in store.orders("net")] == ["hold"]


def test_who_does_not_trust_the_certificate_or_speaks_without_tls_gets_nothing(
    path: Path, tls: tuple[Path, Path]
) -> None:
    with writing(path), served(path, tls=tls) as page:
        plain = Asker(page.url)
        with pytest.raises((http.client.HTTPException, OSError)):
            plain.ask("/")
        plain.trusts = ssl.create_default_context()
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed"):
            plain.ask("/")
        assert page.ask("/").status == 200


def test_files_that_are_no_certificate_and_key_are_refused(path: Path, tls: tuple[Path, Path], tmp_path: Path) -> None:
    cert, key = tls
    other = certificate(tmp_path, "-passout", "pass:secret-word")
    with Store.open(path) as store:
        for wrong in ((cert, cert), (cert, other[1]), other, (tmp_path / "none.pem", key)):
            with pytest.raises(InputError, match="without a password, as PEM"):
                serve(store, tls=wrong)


def test_a_page_for_all_addresses_is_printed_and_answers_under_the_name_of_the_machine(
    path: Path, tls: tuple[Path, Path]
) -> None:
    name = socket.gethostname()
    with writing(path), served(path, host="0.0.0.0", tls=tls) as page:
        assert page.url == f"https://{name}:{page.port}/?token={TOKEN}"
        for host, status in ((name, 200), ("localhost", 200), ("10.1.2.3", 200), ("evil.example", 421)):
            assert page.ask("/", Host=f"{host}:{page.port}").status == status
        assert page.order("net", "hold", {}, Host=f"{name}:{page.port}").status == 200
