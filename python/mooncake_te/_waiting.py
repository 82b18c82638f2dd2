"""Waiting in slices, so that Ctrl-C and other signal handlers run while a call waits inside the library."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from ._errors import WaitTimeout
from ._numbers import seconds

SLICE = 0.05
"""Seconds in one call into the library. Python runs signal handlers only between two of them."""


def wait_until(poll: Callable[[], bool], sleep: Callable[[int], object], timeout: Any, what: Callable[[], str]) -> None:
    """Returns when poll() is true; raises WaitTimeout after `timeout` seconds (None: never).

    ``sleep(milliseconds)`` blocks without the GIL until the thing may be done, at most so long.
    """
    limit = seconds(timeout, "timeout")
    if poll():
        return
    end = None if limit is None else time.monotonic() + limit
    while True:
        left = SLICE if end is None else min(SLICE, end - time.monotonic())
        if left <= 0:
            raise WaitTimeout(f"{what()} is not done after {limit:g} s", hint="it goes on; wait again or cancel it")
        sleep(max(1, int(left * 1000)))
        if poll():
            return
