"""The small examples run as they stand and say what they should."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def run(environment, name):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_minimal(environment):
    out = run(environment, "minimal.py")
    assert re.fullmatch(r"read 2900000 bytes over \w+: 'one-sided READs need no help.'\n", out), out


def test_asyncio_read(environment):
    read, revoked, refused = run(environment, "asyncio_read.py").splitlines()
    assert read.startswith(f"read {32 * 16_384 * 4} bytes in 8 batches: path ")
    assert re.fullmatch(r"revoked in [0-9.]+ ms, acknowledged by 1 peer", revoked)
    assert refused.startswith("refused: ")
    assert "REVOKED" in refused or "STALE_BUFFER" in refused
