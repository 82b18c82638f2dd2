"""Fixtures: the library under test and the C program that uses it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from abi_build import ROOT, compile_program


@pytest.fixture(scope="session")
def library() -> Path:
    """The library of MOONCAKE_TE_LIBRARY, or build/libmooncake_te.so, which is built if it is missing."""
    named = os.environ.get("MOONCAKE_TE_LIBRARY")
    if named:
        path = Path(named).resolve()
        assert path.is_file(), f"MOONCAKE_TE_LIBRARY names {path}, which is not a file"
        return path
    path = ROOT / "build/libmooncake_te.so"
    if not path.is_file():
        subprocess.run([sys.executable, "hatch_build.py", str(path)], cwd=ROOT, check=True)
    return path


@pytest.fixture(scope="session")
def program(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_program(library, tmp_path_factory.mktemp("abi"))


@pytest.fixture(scope="session")
def asan_program(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program (not the library) with AddressSanitizer: it sees what the library writes beyond the caller's memory
    by way of libc, what it reads after the caller's free, and what the program itself does wrong with te.h."""
    return compile_program(library, tmp_path_factory.mktemp("abi-asan"), "-fsanitize=address,undefined")
