"""Files by https from a server with a certificate of its own: whole, resumed, compared, and refused by name."""

from __future__ import annotations

import datetime
import hashlib
import http.server
import ipaddress
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgekit.errors import BadInput, CheckFailed, NotPossibleHere
from edgekit.fetch import https
from edgekit.fetch.https import cached_file, download, size_of
from edgekit.progress import silent

pytest.importorskip("cryptography")
BODY = bytes(range(256)) * 4096
SHA256 = hashlib.sha256(BODY).hexdigest()


class Server(http.server.ThreadingHTTPServer):
    breaks = 0
    """Answers that end in the middle, before the first whole one."""
    asked: list[str | None]


class Answer(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()

    def do_GET(self) -> None:
        if self.path == "/http":
            self.send_response(302)
            self.send_header("Location", "http://127.0.0.1/rows.csv")
            self.end_headers()
            return
        if self.path != "/rows.csv":
            self.send_error(404)
            return
        given = self.headers["Range"]
        self.server.asked.append(given)
        first = int(given.removeprefix("bytes=").removesuffix("-")) if given else 0
        self.send_response(206 if given else 200)
        self.send_header("Content-Length", str(len(BODY) - first))
        self.end_headers()
        part = BODY[first:]
        if self.server.breaks:
            self.server.breaks -= 1
            part = part[: len(part) // 2]
        self.wfile.write(part)

    def log_message(self, *_: object) -> None:
        pass


def certificate(path: Path) -> Path:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    form = serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    path.write_bytes(secret + made.public_bytes(serialization.Encoding.PEM))
    return path


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    pem = certificate(tmp_path / "server.pem")
    made = Server(("127.0.0.1", 0), Answer)
    made.asked = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(pem))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def address(server: Server, path: str = "rows.csv") -> str:
    return f"https://127.0.0.1:{server.server_address[1]}/{path}"


def test_a_file_is_fetched_once_and_its_size_is_known(server: Server) -> None:
    assert size_of(address(server)) == len(BODY)
    assert download(address(server), SHA256, silent).read_bytes() == BODY
    assert download(address(server), SHA256, silent) == cached_file(SHA256) and server.asked == [None]


def test_what_broke_off_goes_on_where_it_ended(server: Server) -> None:
    server.breaks = 2
    assert download(address(server), SHA256, silent, pause=lambda seconds: None).read_bytes() == BODY
    assert server.asked[0] is None and len(server.asked) == 3 and all(server.asked[1:])


def test_another_file_is_refused_and_not_kept(server: Server) -> None:
    with pytest.raises(CheckFailed, match=f"what came has sha256 {SHA256}, and the recipe says 000"):
        download(address(server), "0" * 64, silent)
    assert not cached_file("0" * 64).is_file()


def test_servers_that_do_not_give_it(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NotPossibleHere, match="answers 404"):
        download(address(server, "none.csv"), SHA256, silent)
    with pytest.raises(NotPossibleHere, match="which is not https"):
        download(address(server, "http"), SHA256, silent, pause=lambda seconds: None)
    server.breaks = 9
    with pytest.raises(NotPossibleHere, match="does not give it"):
        download(address(server), SHA256, silent, pause=lambda seconds: None)
    monkeypatch.delenv("SSL_CERT_FILE")
    assert size_of(address(server)) is None  # its certificate is nobody's


def test_a_file_that_is_too_large(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(https, "LARGEST", 1000)
    with pytest.raises(BadInput, match="larger than"):
        download(address(server), SHA256, silent)
