"""Where the checkout is, and how the C program of this folder is compiled."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]


def compile_program(library: Path, folder: Path, *flags: str) -> Path:
    """The C program of this folder, linked to the library under the name that its SONAME gives."""
    shutil.copy(library, folder / "libmooncake_te.so.1")
    (folder / "libmooncake_te.so").symlink_to("libmooncake_te.so.1")
    program = folder / "abi"
    command = ["gcc", "-std=gnu11", "-O1", "-g", *WARNINGS, *flags, "-pthread", f"-I{ROOT / 'capi'}"]
    command += [*map(str, sorted(HERE.glob("*.c"))), "-o", str(program)]
    command += [f"-L{folder}", "-lmooncake_te", "-Wl,-rpath,$ORIGIN"]
    subprocess.run(command, check=True)
    return program
