"""Fixtures: a metadata server of each kind and stock engines; all gone afterwards."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

try:
    import mooncake_te  # noqa: F401
except ImportError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

from peers import Helper, StockEngine, Store, build_helper, etcd, started, stock_server


@pytest.fixture(scope="session")
def helper(tmp_path_factory: pytest.TempPathFactory) -> Helper:
    return build_helper(tmp_path_factory.mktemp("stock"))


@pytest.fixture(scope="session")
def servers(helper: Helper, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Store]]:
    running: dict[str, Store] = {}
    folder = tmp_path_factory.mktemp("etcd")
    kinds = {
        "stock server": stock_server,
        "our server": helper.serve,
        "etcd": lambda: etcd(folder),
    }

    def get(kind: str) -> Store:
        if kind not in running:
            running[kind] = started(kinds[kind])
        return running[kind]

    yield get
    for store in running.values():
        store.close()


@pytest.fixture(params=["stock server", "our server", "etcd"])
def store(request: pytest.FixtureRequest, servers: Callable[[str], Store]) -> Store:
    """Each test runs with all of them; the tests share a server of each kind, so names must differ."""
    return servers(request.param)


@pytest.fixture
def start_engine() -> Iterator[Callable[..., StockEngine]]:
    engines: list[StockEngine] = []

    def start(name: str, store: Store, **environment: str) -> StockEngine:
        engines.append(StockEngine(name, store.url, **environment))
        return engines[-1]

    yield start
    for engine in engines:
        engine.close()
