"""The wheel, installed: every CPython of the machine, only numpy beside it, no Go; beside torch; the console command."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from packaging_tools import ROOT, run

VERSIONS = ("3.10", "3.11", "3.12", "3.13")
NUMPY = "numpy==2.2.6"  # the newest for all of them
SMOKE = Path(__file__).with_name("smoke.py")


def find_python(version: str) -> str | None:
    """An interpreter of that version: on PATH, or among pyenv's."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    candidates = [shutil.which(f"python{version}"), *sorted(pyenv.glob(f"{version}.*/bin/python"))]
    ask = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.implementation.name, sys.executable)"
    for candidate in candidates:
        if candidate is None:
            continue
        # pyenv's shims stand on PATH even for versions that are not chosen, and then fail.
        done = subprocess.run([candidate, "-c", ask], capture_output=True, text=True)
        if done.returncode == 0 and done.stdout.split()[:2] == [version, "cpython"]:
            return done.stdout.split()[2]
    return None


def bare_environment(folder: Path) -> dict[str, str]:
    """Only the venv's own commands on PATH, so no Go, and nothing that leads Python elsewhere."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MOONCAKE_TE", "GO"))}
    return kept | {"PATH": str(folder / "bin")}


@pytest.mark.parametrize("version", VERSIONS)
def test_moves_data(version: str, wheel: Path, tmp_path: Path):
    python = find_python(version)
    if python is None:
        pytest.skip(f"no CPython {version} on this machine")
    folder = tmp_path / "venv"
    run(python, "-m", "venv", folder)
    pip = [folder / "bin/python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--retries", "5"]
    run(*pip, "--only-binary", ":all:", NUMPY, wheel)
    environment = bare_environment(folder)
    said = json.loads(run(folder / "bin/python", SMOKE, cwd=tmp_path, env=environment).splitlines()[-1])
    assert said["python"] == version
    assert said["go_on_path"] is None
    assert said["packages"] == ["click", "mooncake-te", "numpy"]
    assert said["bytes"] == 1 << 20

    said = json.loads(run(folder / "bin/mooncake-te", "demo", "--size", "8", "--json", cwd=tmp_path, env=environment))
    assert said["bytes"] == 8 << 20


def test_installing_beside_torch_changes_nothing_else(wheel: Path):
    below = run(ROOT / ".ci/venv", "test").split()[-1]
    python = Path(below) / "bin/python"
    assert run(python, "-c", "import importlib.metadata as m; print(m.version('torch'))").strip()
    said = run(
        python, "-m", "pip", "install", "--dry-run", "--quiet", "--no-index", "--report", "-", wheel
    )  # fmt: skip
    names = [item["metadata"]["name"] for item in json.loads(said)["install"]]
    assert names == ["mooncake-te"]
