"""The main module of a worker process: `python -m llm_handoff.worker ROLE` does the work of the module named ROLE.

It is small on purpose. The first thing a worker does, before a second of imports, is to make sure that it ends with the
process that started it.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import signal
import sys
import traceback

from . import channel

PARENT = "LLM_HANDOFF_PARENT"  # environment of a worker: the process ID of its coordinator
DEBUG = "LLM_HANDOFF_DEBUG"  # set: a failing worker prints its traceback
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def end_with_parent() -> None:
    """Have the kernel kill this process when its parent ends; or end now, if that happened already."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != int(os.environ[PARENT]):
        sys.exit(1)


def main(role: str) -> None:
    """Do one role's work; say in one sentence what went wrong, if it did."""
    end_with_parent()
    messages = channel.Messages()
    try:
        importlib.import_module(f"{__package__}.{role}").work(messages)
    except channel.Closed:
        sys.exit(1)  # nobody is left to tell
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        messages.send("failed", reason=f"{type(error).__name__}: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1])
