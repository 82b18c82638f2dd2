"""Fixtures: the module that `make gopy` builds, the same in Go, and a metadata server with an engine in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    import mooncake_te
except ImportError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
    import mooncake_te

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
Answers = list[dict[str, str]]
Ask = Callable[..., Answers]


def asker(command: list[Any], **environment: str) -> Ask:
    def ask(*calls: tuple[str, ...], url: str = "mem://nothing", **more: Any) -> Answers:
        request = json.dumps({"url": url, "cluster": "", "calls": calls, **more})
        done = subprocess.run(
            command, input=request, stdout=subprocess.PIPE, text=True, check=True, env=os.environ | environment
        )
        answers: Answers = json.loads(done.stdout)
        return answers

    return ask


@pytest.fixture(scope="session")
def python_client() -> Ask:
    """Builds the module where it is missing or old."""
    subprocess.run([ROOT / "tools/gopy/build.sh"], check=True, stdout=sys.stderr)
    return asker([sys.executable, HERE / "ask.py"], PYTHONPATH=str(ROOT / "build/gopy"))


@pytest.fixture(scope="session")
def go_client(tmp_path_factory: pytest.TempPathFactory) -> Ask:
    binary = tmp_path_factory.mktemp("gopy") / "reference"
    subprocess.run(["go", "build", "-o", binary, "./tests/gopy/reference"], cwd=ROOT, check=True, stdout=sys.stderr)
    return asker([binary])


@pytest.fixture
def command_line() -> Callable[..., Any]:
    """`mooncake-te` of the package under test, by its JSON."""

    def run(*arguments: str) -> Any:
        command = [*COMMAND, *arguments]
        done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
        return json.loads(done.stdout)

    return run


COMMAND = [sys.executable, "-m", "mooncake_te._cli"]


def environment() -> dict[str, str]:
    paths = [str(Path(mooncake_te.__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def server() -> Iterator[str]:
    """The URL of our metadata server."""
    process = subprocess.Popen(
        [*COMMAND, "metadata-server", "--listen", "127.0.0.1:0"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    yield process.stdout.readline().strip()
    process.terminate()
    process.communicate(timeout=60)
