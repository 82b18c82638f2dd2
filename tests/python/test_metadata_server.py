"""`mooncake-te metadata-server`, run as a process and spoken to as stock Mooncake clients do."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from checkout import child_environment

DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class Server:
    """The command in a process of its own."""

    def __init__(self, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mooncake_te._cli", "metadata-server", *arguments],
            env=child_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def url(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Sends a signal and returns the exit status and what was logged."""
        self.process.send_signal(number)
        _, logged = self.process.communicate(timeout=60)
        return self.process.returncode, logged


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    servers: list[Server] = []

    def start(*arguments: str) -> Server:
        server = Server(*arguments)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.process.kill()
        server.process.communicate()


def ask(method: str, url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """One request, as urllib or curl makes it."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers)
    try:
        with DIRECT.open(request, timeout=60) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def key(url: str, name: str) -> str:
    return f"{url}?key={urllib.parse.quote(name, safe='')}"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serves_until_a_signal(serve: Callable[..., Server], number: signal.Signals) -> None:
    server = serve("--listen", "127.0.0.1:0")
    url = server.url()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/metadata")
    status, info = ask("GET", url + "/v1/info")
    assert status == 200
    assert json.loads(info)["server"] == "mooncake_te metadata server"
    # A watch that is open does not hold up the end.
    with DIRECT.open(url + "/v1/watch", timeout=60) as watch:
        assert watch.readline() == b"event: begin\n"
        status, logged = server.end(number)
        assert status == 0, logged
        assert b'{"reason":"the server ends"}' in watch.read()
    lines = logged.splitlines()
    assert len(lines) == 2, logged
    assert "metadata server started" in lines[0]
    assert url in lines[0]
    assert "metadata server stopped" in lines[1]


def test_stock_clients(serve: Callable[..., Server]) -> None:
    url = serve("--listen", "127.0.0.1:0", "--path", "/some/where").url()
    assert url.endswith("/some/where")
    ram, rpc = key(url, "mooncake/ram/node-1:12345"), key(url, "mooncake/rpc_meta/node-1:12345")
    assert ask("GET", ram)[0] == 404
    assert ask("PUT", ram, b'{"name": "node-1:12345"}') == (200, b"metadata updated")
    assert ask("GET", ram) == (200, b'{"name": "node-1:12345"}')
    assert ask("PUT", ram, b"{}")[0] == 200
    assert ask("PUT", rpc, b"address") == (200, b"metadata updated")
    assert ask("PUT", rpc, b"address")[0] == 200, "the same value again is no duplicate"
    assert ask("PUT", rpc, b"another") == (400, b"Duplicate rpc_meta key not allowed")
    for target in (ram, rpc):
        assert ask("DELETE", target) == (200, b"metadata deleted")
        assert ask("DELETE", target)[0] == 404


def test_token(serve: Callable[..., Server], tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("not-to-be-guessed\n")
    server = serve("--listen", "127.0.0.1:0", "--token-file", str(file))
    url = server.url()
    assert ask("GET", url + "/v1/info")[0] == 401
    assert ask("GET", url + "/v1/info", Authorization="Bearer not-to-be-guessed")[0] == 200
    assert "not-to-be-guessed" not in server.end(signal.SIGTERM)[1]


def test_errors_are_one_line(serve: Callable[..., Server]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for arguments, says in (
            (("--listen", address), f"port in use: {address}"),
            (("--listen", "127.0.0.1:0", "--tls-cert", "x"), "tls_cert and tls_key belong together"),
            (("--listen", "127.0.0.1:0", "--token-file", "/nowhere"), "the token file cannot be read"),
            (("--listen", "a:b:c", "--path", "/a b"), "more than one colon"),
            (("--max-bytes", "0"), "0 is not in the range x>=1"),
        ):
            server = serve(*arguments)
            _, logged = server.process.communicate(timeout=60)
            assert server.process.returncode in (1, 2)
            assert says in logged
            assert "Traceback" not in logged


def test_help_names_every_option() -> None:
    said = subprocess.run(
        [sys.executable, "-m", "mooncake_te._cli", "metadata-server", "--help"],
        env=child_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    for option in ("--listen", "--path", "--token-file", "--tls-cert", "--tls-key", "--max-bytes"):
        assert option in said
