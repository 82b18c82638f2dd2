"""Fixtures: peers in processes of their own that are gone afterwards, whatever happened; how many trials to make."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

try:
    import mooncake_te  # noqa: F401
except ImportError:  # a checkout that was not installed
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "python"))

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def start_peer() -> Iterator[Callable[..., Any]]:
    from peer import Peer

    peers: list[Peer] = []

    def start(*arguments: Any, **settings: Any) -> Peer:
        peer = Peer(*arguments, **settings)
        peers.append(peer)
        return peer

    yield start
    for peer in peers:
        peer.kill()


@pytest.fixture
def trials() -> Callable[[int], int]:
    """How often an expensive scenario is repeated; MOONCAKE_TE_TRIALS raises it for a soak."""
    return lambda n: max(n, int(os.environ.get("MOONCAKE_TE_TRIALS", "0")))
