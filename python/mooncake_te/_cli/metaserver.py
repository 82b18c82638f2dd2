"""`mooncake-te metadata-server`: the HTTP metadata server of the library, until SIGINT or SIGTERM."""

from __future__ import annotations

import ctypes
import json
import signal
from collections.abc import Callable
from typing import Any

from .. import _native


def serve(options: dict[str, Any], started: Callable[[dict[str, str]], None]) -> signal.Signals:
    """Runs a server until a signal to end comes, and returns which it was.

    `started` is called with {"url", "address"} once connections are taken.
    """
    # Blocked before the library starts its threads, which inherit it: the signals come to nobody but sigwait below.
    ends = {signal.SIGINT, signal.SIGTERM}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ends)
    try:
        library = _native.load()
        server = ctypes.c_uint64()
        library.check(library.te_metadata_server_start(json.dumps(options).encode(), ctypes.byref(server)))
        try:
            started(json.loads(library.text(library.te_metadata_server_address, server.value)))
            return signal.Signals(signal.sigwait(ends))
        finally:
            library.check(library.te_metadata_server_stop(server.value))
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
