"""What a store can hold or answer that nobody may trip over: each is a typed error that says where, and what of it."""

from __future__ import annotations

import contextlib
import datetime
import json
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from etcd import DIRECT, OURS, Etcd
from scene import BOUND, until
from servers import MetadataServer

import mooncake_te as te

INSTANCE = "0123456789abcdef0123456789abcdef"


def head(name: str, **change: Any) -> bytes:
    """A valid head, but for the change."""
    said = {
        "format": 1,
        "format_min": 1,
        "name": name,
        "instance_id": INSTANCE,
        "owner_epoch": "1",
        "store_id": "",
        "metadata_version": 1,
        "addresses": ["127.0.0.1:1"],
        "data_addresses": ["127.0.0.1:1"],
        "buffer_count": 0,
    }
    return json.dumps({**said, **change}).encode()


def nested(name: str, depth: int) -> bytes:
    return head(name)[:-1] + b', "later": ' + b"[" * depth + b"]" * depth + b"}"


DOCUMENTS = {
    "no JSON": (lambda _: b"\x00\x01\x02", "the document"),
    "empty": (lambda _: b"", "the document"),
    "truncated": (lambda name: head(name)[:-20], "byte"),
    "too large": (lambda name: head(name, label="x" * (64 << 10)), "bytes, at most"),
    "deeply nested": (lambda name: nested(name, 100_000 // 4), "nests deeper"),
    "name twice": (lambda name: head(name)[:-1] + b', "metadata_version": 2}', "/metadata_version"),
    "not UTF-8": (lambda name: head(name, label="@@").replace(b"@@", b"\xff\xfe"), "/label"),
    "version a fraction": (lambda name: head(name, metadata_version=1.5), "/metadata_version"),
    "version negative": (lambda name: head(name, metadata_version=-1), "/metadata_version"),
    "version a string": (lambda name: head(name, metadata_version="1"), "/metadata_version"),
    "version too large": (lambda name: head(name, metadata_version=2**53 - 2**40), "version"),
    "no instance": (lambda name: head(name, instance_id="zz"), "instance_id"),
    "of a later format": (lambda name: head(name, format=9, format_min=9), "/format"),
    "another name": (lambda name: head(f"{name}-else"), "name"),
}


@pytest.fixture
def reader(etcd3: Etcd) -> Iterator[te.Engine]:
    with te.Engine(metadata=etcd3.url, log_level="off") as engine:
        yield engine


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_heads_that_cannot_be_read(etcd3: Etcd, node: str, reader: te.Engine, kind: str) -> None:
    make, field = DOCUMENTS[kind]
    etcd3.put(f"{OURS}head/{node}", make(node))
    with pytest.raises(te.VersionSkew if "format" in kind else te.MetadataInvalid) as raised:
        reader.open(node, timeout=0.3)
    text = str(raised.value)
    assert field in text, text
    assert f"{OURS}head/{node}" in text, "the key"
    assert reader.status()["metadata_store"]["store"]["url"] in text, text
    assert len(text) < 2000, "a hostile document does not fill the log"
    assert raised.value.segment == node


def test_an_owner_key_that_cannot_be_read(etcd3: Etcd, node: str, reader: te.Engine) -> None:
    key = f"{OURS}owner/{node}"
    etcd3.put(key, b"{")
    with pytest.raises(te.MetadataInvalid, match=key) as raised:
        reader.open(node, timeout=0.3)
    assert "etcd://" in str(raised.value)
    etcd3.delete(key)


def test_an_unreadable_head_replaces_nothing(etcd3: Etcd, node: str, reader: te.Engine) -> None:
    """A session goes on over it, and its owner puts it right."""
    with te.Engine(node, metadata=etcd3.url, log_level="off") as owner:
        theirs, mine = bytearray(b"\x2a" * 4096), bytearray(4096)
        owner.register(theirs, name="kv")
        peer = reader.open(node)
        local, remote = reader.register(mine, remote=False), peer.buffer("kv")
        etcd3.put(f"{OURS}head/{node}", b"\xff" * 100)
        for _ in range(20):
            peer.read(into=local, from_=remote).wait(timeout=30)
        assert mine == theirs
        assert peer.instance == owner.instance

        def restored() -> bool:
            text = etcd3.get(f"{OURS}head/{node}") or b""
            return text.startswith(b"{") and json.loads(text)["instance_id"] == owner.instance

        until(restored, 2 * BOUND, "the owner did not put its head right")
        assert reader.open(node, no_cache=True).instance == owner.instance


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://127.0.0.1:1", "redis"),
        ("etcd://", "host"),
        ("etcd://127.0.0.1:99999", "99999"),
        ("etcd://127.0.0.1:port", "port"),
        ("http://", "host"),
        ("http://127.0.0.1:0x1/metadata", "0x1"),
        ("mem", "mem"),
    ],
)
def test_urls_that_are_none(url: str, says: str) -> None:
    with pytest.raises(te.InvalidArgument, match="metadata") as raised:
        te.Engine("x", metadata=url)
    assert says in str(raised.value)


def test_a_wrong_password(tmp_path: Path, node: str) -> None:
    cluster = Etcd(tmp_path)
    try:
        cluster.call("auth/user/add", name="root", password="right")
        cluster.call("auth/user/grant", user="root", role="root")
        cluster.call("auth/enable")
        address = cluster.url.removeprefix("etcd://")
        with te.Engine(node, metadata=f"etcd://root:right@{address}", log_level="off") as owner:
            assert owner.status()["metadata_store"]["ownership"]["state"] == "OWNING"
            assert "right" not in json.dumps(owner.status()["metadata_store"]["store"])
        for user in ("root:gu3ssed@", "nobody:right@", ""):
            with pytest.raises(te.MetadataRefused) as raised:
                te.Engine(node, metadata=f"etcd://{user}{address}", log_level="off")
            assert address in str(raised.value)
            assert "gu3ssed" not in str(raised.value), "a password in an error"
    finally:
        cluster.close()


def test_a_certificate_that_ended(tmp_path: Path, node: str) -> None:
    """And one whose authority nobody here knows."""
    expired, valid = certificate(tmp_path / "expired", days=-1), certificate(tmp_path / "valid", days=1)
    for pair, says in ((expired, "expired"), (valid, "unknown authority")):
        with TLSServer(*pair) as server:
            for url in (f"etcd://127.0.0.1:{server.port}?tls=1", f"https://127.0.0.1:{server.port}/metadata"):
                with pytest.raises(te.MetadataRefused, match=says) as raised:
                    te.Engine(node, metadata=url, metadata_tls_ca=str(expired[0]), log_level="off")
                assert str(server.port) in str(raised.value)


def test_servers_that_are_no_store(metadata_server: MetadataServer, etcd3: Etcd, node: str) -> None:
    web = f"127.0.0.1:{metadata_server.port}"
    member = etcd3.url.removeprefix("etcd://").split(",")[0]
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections, and says nothing
        silent = f"127.0.0.1:{deaf.getsockname()[1]}"
        for url, kinds in (
            (f"etcd://{web}", (te.MetadataRefused, te.MetadataUnavailable)),
            (f"http://{member}/metadata", (te.MetadataRefused, te.MetadataUnavailable)),
            (f"http://{web}/elsewhere", (te.MetadataRefused, te.MetadataUnavailable)),
            (f"etcd://{silent}", (te.MetadataUnavailable,)),
            (f"http://{silent}/metadata", (te.MetadataUnavailable,)),
        ):
            began = time.monotonic()
            with pytest.raises(kinds) as raised:
                te.Engine(node, metadata=url, open_timeout_ms=1500, metadata_timeout_ms=500, log_level="off")
            assert time.monotonic() - began < 1.5 + BOUND
            assert url.partition("://")[2].partition("/")[0] in str(raised.value), url
    assert DIRECT.open(metadata_server.url + "/v1/info", timeout=5).status == 200


AUTHORITY = """
[ca]
default_ca = self
[self]
database = index
new_certs_dir = .
default_md = sha256
policy = any
serial = serial
x509_extensions = server
[any]
commonName = supplied
[server]
subjectAltName = IP:127.0.0.1
"""


def certificate(folder: Path, days: int) -> tuple[Path, Path]:
    """A self-signed pair for 127.0.0.1 that ends so many days from now."""
    folder.mkdir()
    (folder / "ca").write_text(AUTHORITY)
    (folder / "index").touch()
    end = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days)).strftime("%Y%m%d%H%M%SZ")
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=127.0.0.1"]
    sign = ["-batch", "-selfsign", "-rand_serial", "-config", "ca", "-keyfile", "key.pem", "-in", "request"]
    for command in (
        ["req", "-new", *curve, "-keyout", "key.pem", "-out", "request"],
        ["ca", *sign, "-startdate", "20200101000000Z", "-enddate", end, "-notext", "-out", "cert.pem"],
    ):
        done = subprocess.run(["openssl", *command], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return folder / "cert.pem", folder / "key.pem"


class TLSServer:
    """Shows its certificate to whoever connects."""

    def __init__(self, cert: Path, key: Path) -> None:
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(cert, key)
        self._context.set_alpn_protocols(["h2", "http/1.1"])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    def __enter__(self) -> TLSServer:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)  # wakes up accept
        self._thread.join()
        self._socket.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            client.settimeout(5)
            with contextlib.suppress(OSError), client, self._context.wrap_socket(client, server_side=True) as spoken:
                spoken.recv(1)
