"""Memory that vanished without its buffer being closed: MEMORY_FAULT, and both processes live on."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

SCRIPT = """
import ctypes, faulthandler, json, mmap, os, sys, tempfile
import mooncake_te as te
assert faulthandler.is_enabled()  # before the library is loaded
kind, vanishes_at = sys.argv[1], sys.argv[2]
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
SIZE = 1 << 20
if kind == "munmap":
    address = libc.mmap(None, SIZE, 3, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    vanish = lambda: libc.munmap(address, SIZE)
else:
    file = tempfile.TemporaryFile()
    file.truncate(SIZE)
    address = libc.mmap(None, SIZE, 3, mmap.MAP_SHARED, file.fileno(), 0)
    vanish = lambda: file.truncate(0)
owner, user = te.Engine("owner", log_level="off"), te.Engine("user", log_level="off")
peer = user.open(owner.address)
good = bytearray(SIZE)
if vanishes_at == "owner":
    fragile, solid = owner.register((address, SIZE)), user.register(good)
    local, remote = solid, fragile.remote()
else:
    fragile, solid = user.register((address, SIZE)), owner.register(good)
    local, remote = fragile, solid.remote()
peer.read(into=local, from_=remote).wait(timeout=30)
vanish()
seen = []
for start in (lambda: peer.read(into=local, from_=remote), lambda: peer.write(from_=local, into=remote)):
    try:
        start().wait(timeout=30)
        seen.append("COMPLETED")
    except te.TransferError as error:
        seen.append(error.name)
fragile.close()
spare = owner.register(bytearray(SIZE))
peer.read(into=user.register(bytearray(SIZE)), from_=spare.remote()).wait(timeout=30)
print(json.dumps(seen))
"""


@pytest.mark.parametrize("side", ["owner", "user"])
@pytest.mark.parametrize("kind", ["munmap", "truncated file"])
def test_vanished_memory(run_python: Callable[..., Any], kind: str, side: str) -> None:
    done = run_python(SCRIPT, kind, side)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["MEMORY_FAULT", "MEMORY_FAULT"]
