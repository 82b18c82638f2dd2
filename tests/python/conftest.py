"""Fixtures: engines that are closed again, peers in processes of their own, and the skips (tests/expected_skips.txt)."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from checkout import ROOT, child_environment

try:
    import mooncake_te as te
except ImportError:  # a checkout that was not installed
    sys.path.insert(0, str(ROOT / "python"))
    import mooncake_te as te


def run_python(code: str, *arguments: str, timeout: float = 90, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in a fresh interpreter."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=child_environment(**environment),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture(name="run_python")
def _run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    return run_python


@pytest.fixture
def make_engine() -> Iterator[Callable[..., te.Engine]]:
    """Makes engines that are closed at the end, peers' acknowledgements not waited for."""
    engines: list[te.Engine] = []

    def make(name: str | None = "engine", **settings: Any) -> te.Engine:
        engine = te.Engine(name, **settings)
        engines.append(engine)
        return engine

    yield make
    for engine in reversed(engines):
        engine.close(timeout=0)


@pytest.fixture
def engine(make_engine: Callable[..., te.Engine]) -> te.Engine:
    return make_engine("solo")


class Pair:
    """Two engines of this process: `owner` offers, `user` reads and writes through `peer`."""

    def __init__(self, make: Callable[..., te.Engine], **settings: Any) -> None:
        self.owner = make("owner", **settings)
        self.user = make("user", **settings)
        self.peer = self.user.open(self.owner.address)

    def offer(self, obj: Any, **keywords: Any) -> te.RemoteBuffer:
        return self.owner.register(obj, **keywords).remote()


@pytest.fixture
def pair(make_engine: Callable[..., te.Engine]) -> Pair:
    return Pair(make_engine)


@pytest.fixture
def start_owner() -> Iterator[Callable[..., Any]]:
    """Starts peers in processes of their own (owner.py); ends them whatever happened."""
    from owner import Owner

    owners: list[Owner] = []

    def start(*arguments: str) -> Owner:
        owner = Owner(*arguments)
        owners.append(owner)
        return owner

    yield start
    for owner in owners:
        owner.kill()


@pytest.fixture
def needs_torch() -> Any:
    if importlib.util.find_spec("torch") is None:
        pytest.skip("torch is not installed")
    import torch

    return torch


@pytest.fixture
def needs_numpy() -> Any:
    if importlib.util.find_spec("numpy") is None:
        pytest.skip("numpy is not installed")
    import numpy

    return numpy


@pytest.fixture
def needs_ml_dtypes() -> Any:
    if importlib.util.find_spec("ml_dtypes") is None:
        pytest.skip("ml_dtypes is not installed")
    import ml_dtypes

    return ml_dtypes
