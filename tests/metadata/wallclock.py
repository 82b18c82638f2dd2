"""Steps the wall clock that this process sees, and no other process does.

libfaketime cannot: it stands in for functions of the C library, and the Go core asks the kernel's vDSO itself. So the
vDSO's clock_gettime is replaced in this process's own (copied on write) page, by one that makes the system call and adds
a number of seconds if it was asked for CLOCK_REALTIME. x86-64 only, as the machine code is.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import struct
from pathlib import Path

PAGE = mmap.PAGESIZE
SYS_CLOCK_GETTIME = 228


class WallClock:
    def __init__(self) -> None:
        assert platform.machine() == "x86_64", platform.machine()
        self.offset = mmap.mmap(-1, PAGE)  # the seconds that are added, at its begin; lives as long as the process
        where = ctypes.addressof(ctypes.c_char.from_buffer(self.offset))
        code = b"".join(
            (
                b"\xb8" + struct.pack("<I", SYS_CLOCK_GETTIME),  # mov eax, number
                b"\x0f\x05",  # syscall
                b"\x85\xff",  # test edi, edi
                b"\x75\x10",  # jne: it is not CLOCK_REALTIME
                b"\x48\xb9" + struct.pack("<Q", where),  # movabs rcx, where
                b"\x48\x8b\x09",  # mov rcx, [rcx]
                b"\x48\x01\x0e",  # add [rsi], rcx
                b"\xc3",  # ret
            )
        )
        vdso = ctypes.CDLL("linux-vdso.so.1")
        at = ctypes.cast(vdso["__vdso_clock_gettime"], ctypes.c_void_p).value
        assert at is not None
        (mapped,) = (line.split()[0] for line in Path("/proc/self/maps").read_text().splitlines() if "[vdso]" in line)
        first, end = (int(text, 16) for text in mapped.split("-"))  # all of it: the kernel does not split this mapping
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.mprotect(ctypes.c_void_p(first), ctypes.c_size_t(end - first), 7) != 0:
            raise OSError(ctypes.get_errno(), f"mprotect of the vDSO: {os.strerror(ctypes.get_errno())}")
        ctypes.memmove(at, code, len(code))

    def step(self, seconds: int) -> None:
        (before,) = struct.unpack_from("<q", self.offset)
        struct.pack_into("<q", self.offset, 0, before + seconds)
