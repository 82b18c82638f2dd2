"""A real etcd cluster for tests: its members are killed, frozen, emptied and set back, and asked through the gateway that
every member has (JSON over HTTP), so that what a test sees does not pass through our own client.
"""

from __future__ import annotations

import base64
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BINARY = Path(__file__).resolve().parents[2] / "build" / "etcd"
PATIENCE = 60.0
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
OURS = "mooncake_te/"


def free_port() -> int:
    """Below those that connections are given, so that a server that is down for a moment finds it free again."""
    while True:
        port = random.randrange(15_000, 32_000)
        try:
            with socket.create_server(("127.0.0.1", port)):
                return port
        except OSError:
            continue


@dataclass(frozen=True)
class Head:
    """What lies under a name."""

    instance: str
    epoch: int
    version: int
    store_id: str


class Member:
    def __init__(self, cluster: Etcd, number: int) -> None:
        self.cluster, self.name = cluster, f"m{number}"
        self.data = cluster.folder / self.name
        self.client, self.peer = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.client}"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self.process is not None:
            return
        known = self.data.exists()
        command: list[str | Path] = [BINARY, "--name", self.name, "--data-dir", self.data, "--log-level", "error"]
        command += ["--unsafe-no-fsync", "--listen-client-urls", self.url, "--advertise-client-urls", self.url]
        peer = f"http://127.0.0.1:{self.peer}"
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", ",".join(f"{m.name}=http://127.0.0.1:{m.peer}" for m in self.cluster.members)]
        command += ["--initial-cluster-state", "existing" if known else "new"]
        command += ["--heartbeat-interval", "50", "--election-timeout", "500"]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("ETCD_")}
        with (self.cluster.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen([*command, *self.cluster.flags], stdout=log, stderr=log, env=environment)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def signal(self, number: signal.Signals) -> None:
        if self.process is not None:
            self.process.send_signal(number)


class Etcd:
    """The cluster; `url` is what engines are given."""

    def __init__(self, folder: Path, members: int = 1, *flags: str) -> None:
        assert BINARY.exists(), "make build/etcd"
        self.folder, self.flags = folder, flags
        self.members: list[Member] = []
        self.members.extend(Member(self, i) for i in range(members))
        self.url = "etcd://" + ",".join(f"127.0.0.1:{m.client}" for m in self.members)
        self.heal()

    def heal(self) -> None:
        """Everything runs, and the cluster answers."""
        for member in self.members:
            member.signal(signal.SIGCONT)
            member.start()
        deadline = time.monotonic() + PATIENCE
        for member in self.members:  # each of them, by a read that needs the leader
            while True:
                try:
                    self._post(member, "kv/range", {"key": coded("ready")})
                    break
                except OSError as error:
                    assert time.monotonic() < deadline, (error, self.logs())
                    time.sleep(0.05)

    def close(self) -> None:
        for member in self.members:
            member.kill()

    def logs(self) -> str:
        return "\n".join(p.read_text(errors="replace")[-2000:] for p in self.folder.glob("*.log"))

    # ---- faults

    def kill_all(self) -> None:
        for member in self.members:
            member.kill()

    def freeze(self) -> None:
        """No answer and no error either: as if every packet to the store were lost."""
        for member in self.members:
            member.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        for member in self.members:
            member.signal(signal.SIGCONT)

    def leader(self) -> Member:
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            for member in self.members:
                try:
                    said = self._post(member, "maintenance/status", {})
                except OSError:
                    continue
                if said.get("leader") and said["leader"] == said["header"]["member_id"]:
                    return member
            time.sleep(0.05)
        raise AssertionError("no leader")

    def wipe(self) -> None:
        self.kill_all()
        for member in self.members:
            shutil.rmtree(member.data)
        self.heal()

    def save(self) -> Path:
        """A copy of everything that is stored; the cluster is down for as long as it takes."""
        copy = self.folder / f"copy-{random.getrandbits(32):x}"
        self.kill_all()
        for member in self.members:
            shutil.copytree(member.data, copy / member.name)
        self.heal()
        return copy

    def restore(self, copy: Path) -> None:
        self.kill_all()
        for member in self.members:
            shutil.rmtree(member.data)
            shutil.copytree(copy / member.name, member.data)
        self.heal()

    # ---- what is stored

    def _post(self, member: Member, what: str, body: dict[str, Any], seconds: float = 3) -> Any:
        request = urllib.request.Request(f"{member.url}/v3/{what}", data=json.dumps(body).encode(), method="POST")
        with DIRECT.open(request, timeout=seconds) as answer:
            return json.loads(answer.read())

    def call(self, what: str, **body: Any) -> Any:
        """One request to the first member that answers."""
        deadline = time.monotonic() + PATIENCE
        while True:
            for member in self.members:
                if member.process is None:
                    continue
                try:
                    return self._post(member, what, body)
                except urllib.error.HTTPError as error:
                    said = error.read().decode(errors="replace")
                    assert error.code >= 500, f"{what}: {said}"
                except OSError:
                    pass
            assert time.monotonic() < deadline, (what, self.logs())
            time.sleep(0.05)

    def get(self, key: str) -> bytes | None:
        found = self.call("kv/range", key=coded(key)).get("kvs")
        return base64.b64decode(found[0].get("value", "")) if found else None

    def put(self, key: str, value: bytes) -> None:
        self.call("kv/put", key=coded(key), value=coded(value))

    def delete(self, key: str) -> None:
        self.call("kv/deleterange", key=coded(key))

    def head(self, name: str) -> Head | None:
        text = self.get(f"{OURS}head/{name}")
        if text is None:
            return None
        said = json.loads(text)
        return Head(said["instance_id"], int(said["owner_epoch"]), int(said["metadata_version"]), said["store_id"])


def coded(value: str | bytes) -> str:
    return base64.b64encode(value if isinstance(value, bytes) else value.encode()).decode()
