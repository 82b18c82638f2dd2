"""HTTP metadata servers in processes of their own: ours and the one of the stock Mooncake wheel. Each keeps its port when
it is killed and started again.
"""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from functools import cache
from pathlib import Path

from etcd import DIRECT, PATIENCE, free_port

from peer import child_environment

ROOT = Path(__file__).resolve().parents[2]


class HTTPServer:
    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/metadata"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def command(self) -> list[str]:
        raise NotImplementedError

    def start(self) -> None:
        quiet = subprocess.DEVNULL
        self.process = subprocess.Popen(self.command(), stdout=quiet, stderr=quiet, env=child_environment())
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.get("nothing")
                return
            except OSError as error:
                assert self.process.poll() is None, f"the server ended: {error}"
                assert time.monotonic() < deadline, error
                time.sleep(0.02)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def get(self, key: str) -> bytes | None:
        """As a stock client reads."""
        try:
            with DIRECT.open(f"{self.url}?key={urllib.parse.quote(key, safe='')}", timeout=5) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            assert error.code == 404, error
            return None

    def put(self, key: str, value: bytes) -> None:
        url = f"{self.url}?key={urllib.parse.quote(key, safe='')}"
        with DIRECT.open(urllib.request.Request(url, data=value, method="PUT"), timeout=5):
            pass


class MetadataServer(HTTPServer):
    """`mooncake-te metadata-server`."""

    def command(self) -> list[str]:
        listen = f"127.0.0.1:{self.port}"
        return [sys.executable, "-m", "mooncake_te._cli", "metadata-server", "--listen", listen]


class StockServer(HTTPServer):
    """The server of the stock wheel: GET, PUT and DELETE, nothing more."""

    def command(self) -> list[str]:
        python, script = stock()
        return [str(python), str(script), "--host", "127.0.0.1", "--port", str(self.port)]


@cache
def stock() -> tuple[Path, Path]:
    said = subprocess.run([ROOT / ".ci/venv", "stock"], check=True, stdout=subprocess.PIPE, text=True)
    folder = Path(said.stdout.strip())
    (script,) = folder.glob("lib/python3*/site-packages/mooncake/http_metadata_server.py")
    return folder / "bin/python", script
