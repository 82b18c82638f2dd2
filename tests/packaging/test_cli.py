"""The console command, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mooncake_te
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
