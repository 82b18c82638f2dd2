"""The console command, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

import mooncake_te
from mooncake_te._cli import demo
from packaging_tools import run

COMMAND = Path(sys.executable).with_name("mooncake-te")


def test_version_names_package_library_and_protocol():
    said = run(COMMAND, "--version")
    version = re.escape(mooncake_te.__version__)
    assert re.search(rf"^mooncake-te {version}$", said, re.M)
    assert re.search(rf"^library {version} \(ABI 1\.\d+, go1\.\d+", said, re.M)
    assert re.search(r"^protocol \d+.*, TCP data protocol \d+$", said, re.M)


def test_version_says_why_the_library_cannot_be_used(tmp_path: Path):
    said = run(COMMAND, "--version", env=os.environ | {"MOONCAKE_TE_LIBRARY": str(tmp_path / "none.so")})
    assert mooncake_te.__version__ in said
    assert "none.so" in said
    assert "Traceback" not in said


def test_demo_moves_and_checks_bytes():
    said = json.loads(run(COMMAND, "demo", "--size", "4", "--block", "16", "--json"))
    assert said["bytes"] == 4 << 20
    assert said["blocks"] == 256
    assert said["verified"] is True
    assert said["path"]
    for part in ("read", "write", "plain_copy"):
        assert said[part]["seconds"] > 0
        assert said[part]["gb_per_s"] > 0
    text = run(COMMAND, "demo", "--size", "1")
    assert "READ" in text
    assert "plain copy" in text


def test_demo_makes_patterns_of_any_size():
    # The generator of the standard library takes less than 256 MiB at a time.
    pattern = demo._pattern(1, (256 << 20) + 1)
    assert len(pattern) == (256 << 20) + 1
    assert any(pattern[-1024:])
    assert demo._pattern(1, 1024) == pattern[:1024]


def test_demo_says_how_much_it_moved():
    rate = {"seconds": 1.0, "gb_per_s": 1.0}
    text = demo.render({"bytes": 3 << 19, "blocks": 2, "block_bytes": 3 << 18, "path": "tcp", "read": rate, "write": rate,
                        "plain_copy": rate})  # fmt: skip
    assert text.startswith("1.5 MiB in 2 scattered blocks of 768 KiB ")


def test_demo_takes_ports_of_its_own():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {f"MOONCAKE_TE_{key}": address for key in ("LISTEN", "ADVERTISE", "DATA_LISTEN", "DATA_ADVERTISE")}
        said = json.loads(run(COMMAND, "demo", "--size", "1", "--json", env=os.environ | settings))
    assert said["verified"] is True


def test_ctrl_c_ends_the_demo_quietly():
    # As a terminal does it: the signal goes to the whole group, while transfers are under way.
    process = subprocess.Popen(
        [COMMAND, "demo", "--size", "512"],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while not _children(process.pid) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=60)
    assert process.returncode == 1, said
    assert "Aborted!" in said[1]
    assert "Traceback" not in said[1]


def _children(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def test_demo_leaves_no_process_behind():
    # The owner ends with its standard input, however the command ends.
    done = subprocess.run(
        [sys.executable, "-m", "mooncake_te._cli.demo", "65536"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["address"]


@pytest.mark.parametrize(
    "arguments", [["demo", "--size", "0"], ["demo", "--size", "x"], ["nothing"], ["doctor", "--x"]]
)
def test_bad_arguments_are_named(arguments: list[str]):
    done = subprocess.run([COMMAND, *arguments], capture_output=True, text=True)
    assert done.returncode == 2
    assert "Error:" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_this_machine_usable():
    said = json.loads(run(COMMAND, "doctor", "--json"))
    found = {check["name"]: check for check in said["checks"]}
    assert said["ok"] is True
    for name in ("fault handler", "library", "loopback IPv4", "transfer", "limit nofile", "clock", "numpy", "torch"):
        assert found[name]["status"] in ("ok", "note"), found[name]
    assert found["transfer"]["status"] == "ok"
    text = run(COMMAND, "doctor")
    assert all(name in text for name in found)


def test_doctor_fails_where_the_library_is_missing(tmp_path: Path):
    environment = os.environ | {"MOONCAKE_TE_LIBRARY": str(tmp_path / "none.so")}
    done = subprocess.run([COMMAND, "doctor", "--json"], env=environment, capture_output=True, text=True)
    assert done.returncode == 1
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["library"]["status"] == "fail"
    assert "none.so" in checks["library"]["detail"]
    assert checks["library"]["advice"]
    assert "transfer" not in checks


def test_doctor_sees_too_few_open_files():
    script = f"ulimit -n 256; exec {COMMAND} doctor --json"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert checks["limit nofile"]["status"] == "note"
    assert "ulimit -n" in checks["limit nofile"]["advice"]
