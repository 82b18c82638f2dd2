"""Where the checkout is, and how a Python child finds the same package. Not in conftest.py, whose name others share."""

from __future__ import annotations

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def child_environment(**more: str) -> dict[str, str]:
    """The environment of a Python child that finds the same package."""
    import mooncake_te as te

    paths = [str(Path(te.__file__).resolve().parents[1]), str(HERE), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "PYTHONFAULTHANDLER": "1", **more}
