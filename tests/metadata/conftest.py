"""Fixtures: a cluster of three etcd members, metadata servers, and named engines in processes of their own."""

from __future__ import annotations

import os
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    import mooncake_te  # noqa: F401
except ImportError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "chaos"))  # peer.py and oracle.py

from etcd import Etcd
from servers import MetadataServer, StockServer


@pytest.fixture(scope="session")
def _etcd3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    cluster = Etcd(tmp_path_factory.mktemp("etcd3"), members=3)
    yield cluster
    cluster.close()


@pytest.fixture
def etcd3(_etcd3: Etcd) -> Iterator[Etcd]:
    """Three real members. Tests may break them as they like; each finds them whole."""
    _etcd3.heal()
    yield _etcd3
    _etcd3.heal()


@pytest.fixture
def metadata_server() -> Iterator[MetadataServer]:
    server = MetadataServer()
    yield server
    server.kill()


@pytest.fixture
def stock_server() -> Iterator[StockServer]:
    server = StockServer()
    yield server
    server.kill()


@pytest.fixture
def node() -> str:
    """A segment name that no other test uses."""
    return f"node-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def start_named() -> Iterator[Callable[..., Any]]:
    from named import Named

    peers: list[Named] = []

    def start(name: str, url: str, **settings: Any) -> Named:
        peer = Named(name, metadata=url, **settings)
        peers.append(peer)
        return peer

    yield start
    for peer in peers:
        peer.resume()
        peer.kill()


@pytest.fixture
def outage() -> float:
    """Seconds that a store stays away; MOONCAKE_TE_OUTAGE makes it longer for a soak."""
    return float(os.environ.get("MOONCAKE_TE_OUTAGE", "10"))
