"""What the machine is, and how busy others keep it."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
TICKS = os.sysconf("SC_CLK_TCK")


def busy_seconds() -> float:
    """CPU seconds of all processes so far: user, nice and system time of /proc/stat."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return (int(fields[0]) + int(fields[1]) + int(fields[2])) / TICKS


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def describe() -> dict[str, Any]:
    cpu = re.search(r"model name\s*:\s*(.*)", Path("/proc/cpuinfo").read_text())
    memory = re.search(r"MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text())
    return {
        "cpu": cpu[1] if cpu else platform.machine(),
        "cores": os.cpu_count(),
        "memory_gib": round(int(memory[1]) / 2**20, 1) if memory else None,
        "kernel": platform.release(),
        "python": platform.python_version(),
        "go": _said("go", "env", "GOVERSION"),
        "congestion_control": Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip(),
        "transparent_hugepage": Path("/sys/kernel/mm/transparent_hugepage/enabled").read_text().strip(),
        "commit": _said("git", "rev-parse", "HEAD"),
        "uncommitted": bool(_said("git", "status", "--porcelain", "--untracked-files=no")),
    }


def iperf3(seconds: float) -> float | None:
    """GB/s of one stream over loopback; None if iperf3 is not installed."""
    if shutil.which("iperf3") is None:
        return None
    with socket.socket() as free:  # iperf3 does not take port 0
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        ["iperf3", "-s", "-1", "-B", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_listening(port)
        client = ["iperf3", "-c", "127.0.0.1", "-p", str(port), "-J", "-t", str(max(1, round(seconds)))]
        said = json.loads(subprocess.run(client, capture_output=True, text=True, check=True, timeout=60).stdout)
        return float(said["end"]["sum_received"]["bits_per_second"]) / 8e9
    except (OSError, subprocess.SubprocessError, KeyError, ValueError, LookupError):
        return None
    finally:
        server.kill()
        server.wait()


def _wait_listening(port: int) -> None:
    """Without a connection: the server serves one only."""
    for _ in range(200):
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        if any(row[3] == "0A" and row[1].endswith(f":{port:04X}") for row in rows):
            return
        time.sleep(0.02)
    raise LookupError("iperf3 does not listen")
