"""Runs the scenarios of the C program, each in a process of its own."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from abi_build import HERE

SCENARIOS = re.findall(r'\{"(\w+)", scenario_\w+\}', (HERE / "main.c").read_text())


def run(program: Path, scenario: str, **environment: str) -> str:
    done = subprocess.run(
        [str(program), scenario],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, f"{scenario}: status {done.returncode}\n{done.stdout}{done.stderr}"
    assert "contained" not in done.stderr, f"a panic was contained:\n{done.stderr}"
    return done.stdout


def test_every_scenario_is_run() -> None:
    declared = re.findall(r"void scenario_(\w+)\(void\);", (HERE / "check.h").read_text())
    assert sorted(SCENARIOS) == sorted(declared)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(program: Path, scenario: str) -> None:
    run(program, scenario)


# Go's threads are none that the leak checker knows, and libc's fork of a sanitised process is slow: no leak check.
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario_with_sanitizers(asan_program: Path, scenario: str) -> None:
    run(asan_program, scenario, ASAN_OPTIONS="detect_leaks=0", UBSAN_OPTIONS="halt_on_error=1")


def test_struct_layout(program: Path) -> None:
    """Offsets and sizes never change; a field that is appended in a minor version adds lines."""
    assert run(program, "layout") == (HERE / "te.layout").read_text()
