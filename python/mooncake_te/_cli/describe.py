"""`mooncake-te describe NAME`: what a metadata store and a segment's owner say of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

from .._engine import Engine
from .._errors import MetadataUnavailable


def look(store: str, name: str, timeout: float) -> dict[str, Any]:
    """One description."""
    with _reader(store) as engine:
        return engine.describe(name, timeout)


def watch(store: str, name: str, timeout: float, every: float) -> Iterator[dict[str, Any]]:
    """A description now and after every change, for ever. While the store is away nothing is said."""
    last = None
    with _reader(store) as engine:
        while True:
            try:
                found = engine.describe(name, timeout)
            except MetadataUnavailable:
                if last is None:
                    raise
            else:
                if _essence(found) != last:
                    last = _essence(found)
                    yield found
            time.sleep(every)


def _reader(store: str) -> Engine:
    """An engine that offers nothing: it has no name and listens on this host only."""
    return Engine(name="", metadata=store, listen="127.0.0.1:0", advertise=[])


def _essence(found: dict[str, Any]) -> str:
    """Without what changes although nothing of the segment did."""
    return json.dumps({key: value for key, value in found.items() if key != "revision"}, sort_keys=True)


def render(found: dict[str, Any]) -> str:
    """Text for people."""
    lines = [f"segment   {found['name']}", f"store     {found['store']['url']} ({found['store']['kind']})"]
    for lack in found["store"].get("lacks") or ():
        lines.append(f"          does not keep {lack['invariant']}: {lack['reason']}")
    owner = found["owner"]
    if owner:
        lines.append(f"owner     instance {owner['instance_id']}, epoch {owner['owner_epoch']}")
    shown = found["descriptor"]
    lines.append(f"source    {_source(found)}")
    if found.get("invalid"):
        lines.append(f"invalid   {found['invalid']}")
    if not shown:
        return "\n".join(lines)
    kind = ", stock Mooncake" if shown["legacy"] else ""
    lines.append(f"instance  {shown['instance_id'] or '(none)'}{kind}, metadata version {shown['metadata_version']}")
    for title, key in (("control", "addresses"), ("data", "data_addresses")):
        if shown[key]:
            lines.append(f"{title:<9} {', '.join(shown[key])}")
    for device in shown["devices"]:
        lines.append(f"device    {device['name']}, LID {device['lid']}, GID {device['gid']}")
    lines.append(f"buffers   {shown['buffer_count']}")
    for buffer in shown.get("buffers") or ():
        name = f", {buffer['label']!r}" if buffer["label"] else ""
        where = f" at {buffer['addr']:#x}" if buffer.get("addr") else ""
        lines.append(
            f"  {buffer['id']:>6}  {buffer['length']:>14,} bytes  {buffer['state']:<9} {buffer['perm']:<3}"
            f"{buffer['location']}{where}{name}"
        )
    return "\n".join(lines)


def _source(found: dict[str, Any]) -> str:
    said: dict[str, Callable[[], str]] = {
        "owner": lambda: "its owner answered",
        "store": lambda: f"the head in the store alone; the owner does not answer ({found.get('unreachable', '')})",
        "stock": lambda: "what a stock Mooncake engine published",
        "": lambda: "nothing is published under this name",
    }
    return said.get(found["from"], lambda: str(found["from"]))()
