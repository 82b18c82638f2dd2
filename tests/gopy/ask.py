"""The same as reference/main.go, with the module that gopy made. Threads: how many make all calls at once."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from metadata_client import pyapi  # type: ignore[import-not-found]  # build/gopy


def main() -> None:
    request = json.load(sys.stdin)
    client = pyapi.OpenClient(request["url"], request["cluster"])
    calls = {"Describe": client.Describe, "List": client.List, "Decode": pyapi.Decode, "Diff": pyapi.Diff}

    def call(name: str, *arguments: str) -> dict[str, str]:
        try:
            return {"value": calls[name](*arguments), "error": ""}
        except RuntimeError as error:
            return {"value": "", "error": str(error)}

    def all_calls(_: Any) -> list[dict[str, str]]:
        return [call(*arguments) for arguments in request["calls"]]

    threads = request.get("threads", 1)
    with ThreadPoolExecutor(threads) as pool:
        first, *others = pool.map(all_calls, range(threads))
    assert all(other == first for other in others)
    client.Close()
    json.dump(first, sys.stdout)


main()
