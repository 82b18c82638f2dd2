"""What the tests of tests/stock talk to: stock engines and metadata servers as processes, and our helper."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PATIENCE = 60.0


@cache
def stock_python() -> Path:
    """The interpreter of the environment that has the stock wheel; made where it is missing."""
    said = subprocess.run([ROOT / ".ci/venv", "stock"], check=True, stdout=subprocess.PIPE, text=True)
    return Path(said.stdout.strip()) / "bin/python"


def ask(method: str, url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, data=body, method=method), timeout=PATIENCE) as answer:
        said: bytes = answer.read()
    return said


class Store(ABC):
    """A metadata server that stock engines reach under `url`."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.process, self.url = process, url

    @abstractmethod
    def put(self, key: str, document: str) -> None: ...

    @abstractmethod
    def get(self, key: str) -> str: ...

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.terminate()
        self.process.wait(PATIENCE)


class HTTPStore(Store):
    """One as stock clients use it over HTTP: GET and PUT of URL?key=."""

    def put(self, key: str, document: str) -> None:
        try:
            ask("PUT", self.where(key), document.encode())
        except urllib.error.HTTPError:  # the stock server refuses an rpc_meta key that is there, whatever its value
            assert self.get(key) == document

    def get(self, key: str) -> str:
        return ask("GET", self.where(key)).decode()

    def where(self, key: str) -> str:
        return f"{self.url}?key={urllib.parse.quote(key, safe='')}"


class EtcdStore(Store):
    """Debian's etcd, read and written through its JSON gateway."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        super().__init__(process, f"etcd://127.0.0.1:{port}")
        self.gateway = f"http://127.0.0.1:{port}/v3/kv/"

    def put(self, key: str, document: str) -> None:
        self.call("put", key=coded(key), value=coded(document))

    def get(self, key: str) -> str:
        found = self.call("range", key=coded(key)).get("kvs", [])
        assert len(found) == 1, key
        return base64.b64decode(found[0]["value"]).decode()

    def call(self, what: str, **arguments: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(ask("POST", self.gateway + what, json.dumps(arguments).encode()))
        return said


def coded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def free_ports(n: int) -> list[int]:
    probes = [socket.socket() for _ in range(n)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def started(make: Callable[[], Store]) -> Store:
    """A server that cannot choose its port itself may lose it to somebody quicker: try again."""
    for _ in range(10):
        store = make()
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end and store.process.poll() is None:
            try:
                store.put("mooncake/ram/hello", "{}")
                return store
            except OSError:
                time.sleep(0.02)  # it is still starting
        store.close()
    raise AssertionError("the server does not start")


def stock_server() -> Store:
    """The Python metadata server of the stock wheel."""
    (port,) = free_ports(1)
    command = [stock_python(), "-m", "mooncake.http_metadata_server", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True)
    return HTTPStore(process, f"http://127.0.0.1:{port}/metadata")


def etcd(folder: Path) -> Store:
    clients, peers = free_ports(2)
    client, peer = f"http://127.0.0.1:{clients}", f"http://127.0.0.1:{peers}"
    command = ["etcd", "--data-dir", str(folder / str(clients)), "--listen-client-urls", client]
    command += ["--advertise-client-urls", client, "--listen-peer-urls", peer]
    return EtcdStore(subprocess.Popen(command, stderr=subprocess.DEVNULL, text=True), clients)


class Helper:
    """Our side of the formats (helper/main.go)."""

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def run(self, *arguments: str, text: str) -> Any:
        done = subprocess.run([self.binary, *arguments], input=text, stdout=subprocess.PIPE, text=True)
        said = json.loads(done.stdout)
        assert done.returncode == 0, said
        return said

    def encode(self, **segment: Any) -> dict[str, str]:
        """Keys, relative to the cluster, and documents."""
        return {entry["key"]: entry["value"] for entry in self.run("encode", text=json.dumps(segment))}

    def decode(self, key: str, document: str) -> dict[str, Any]:
        shown: dict[str, Any] = self.run("decode", key, text=document)
        return shown

    def serve(self) -> Store:
        command = [self.binary, "serve"]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        return HTTPStore(process, process.stdout.readline().strip())


class StockEngine:
    """engine.py."""

    def __init__(self, name: str, url: str, **environment: str) -> None:
        self.process = subprocess.Popen(
            [stock_python(), HERE / "engine.py", name, url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {"MC_LOG_LEVEL": "ERROR"} | environment,
        )
        assert self.call("initialize") == 0

    def call(self, name: str, *arguments: Any) -> Any:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(json.dumps({"call": name, "arguments": arguments}), file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        assert line, f"the stock engine ended with {self.process.wait(PATIENCE)}"
        return json.loads(line)["value"]

    def close(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE)


def build_helper(folder: Path) -> Helper:
    binary = folder / "helper"
    subprocess.run(["go", "build", "-o", binary, "./tests/stock/helper"], cwd=ROOT, check=True, stdout=sys.stderr)
    return Helper(binary)
