#!/usr/bin/env python3
"""Measures what finding peers by name costs: `make bench-metadata`.

Real processes on this machine: one etcd member, our metadata server, engines of the Python package, kill -9 and SIGSTOP.
Every figure stands beside its target; a slow day is no failure. See docs/performance.md, "Metadata".
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import machine
import metadata_costs
import metadata_drain
import metadata_names
import metadata_restart
import metadata_servers
from metadata_table import Row, table

QUICK = {"restarts": 3, "drains": 3, "dead": 1, "peers": (1, 4), "names": 50, "buffers": 2000, "seconds": 0.5}
FULL = {
    "restarts": 30,
    "drains": 30,
    "dead": 5,
    "peers": (1, 16, 64),
    "names": 1000,
    "buffers": 100_000,
    "seconds": 2.0,
}

# Each is run once per store that it has something to say about.
PARTS: dict[str, tuple[tuple[str, ...], Callable[[str, str, dict[str, Any]], list[Row]]]] = {
    "restart": (("etcd", "http", "p2p"), metadata_restart.measure),
    "drain": (("p2p",), metadata_drain.measure),
    "buffers": (("etcd", "http"), metadata_names.buffers),
    "names": (("etcd", "http"), metadata_names.opens),
    "engine": (("p2p",), metadata_costs.engine),
    "rate": (("etcd", "http"), metadata_costs.rate),
    "store": (("",), metadata_costs.store),
}


def main() -> None:
    os.environ.setdefault("MOONCAKE_TE_LOG_LEVEL", "error")  # peers that are killed are no news here
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(PARTS), help="parts, of " + ",".join(PARTS))
    parser.add_argument("--stores", default="etcd,http,p2p", help="of etcd,http,p2p")
    parser.add_argument("--tiny", action="store_true", help="a few seconds, to see that it works")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where every sample goes")
    options = parser.parse_args()
    size = QUICK if options.tiny else FULL
    began, busy = time.monotonic(), machine.busy_seconds()
    rows: list[Row] = []
    for part in options.only.split(","):
        stores, measure = PARTS[part]
        for kind in stores:
            if kind and kind not in options.stores.split(","):
                continue
            with ExitStack() as stack:
                url = stack.enter_context(metadata_servers.STORES[kind]()) if kind else ""
                for row in measure(kind, url, size):
                    print(f"... {part}: {row.said()}", file=sys.stderr)
                    rows.append(row)
    seconds = time.monotonic() - began
    found = {
        "about": {
            "name": "metadata" + (" (tiny: no figures to keep)" if options.tiny else ""),
            "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "seconds": round(seconds),
            "cores_used": round((machine.busy_seconds() - busy) / seconds, 2),
        },
        "machine": machine.describe(),
        "rows": [row.document() for row in rows],
    }
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print(table(found, rows))


if __name__ == "__main__":
    main()
