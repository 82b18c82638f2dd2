"""The library's outside: symbols, dependencies, thread-local data, and that te.h stands alone in C and C++."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from abi_build import HERE, ROOT, WARNINGS

HEADER = ROOT / "capi/te.h"


def output(*command: str | Path) -> str:
    return subprocess.run([str(c) for c in command], check=True, capture_output=True, text=True).stdout


def test_exported_symbols(library: Path) -> None:
    """Exactly the golden list, each with the version of the ABI. A new function adds a line; none ever goes."""
    rows = [line.split() for line in output("nm", "-D", "--defined-only", library).splitlines()]
    symbols = sorted(row[-1] for row in rows if row[-2] != "A")
    assert symbols == (HERE / "te.symbols").read_text().split()


def test_golden_list_is_the_header() -> None:
    declared = re.findall(r"^(?:int|uint32_t) (te_\w+)\(", HEADER.read_text(), re.M)
    golden = [line.partition("@@") for line in (HERE / "te.symbols").read_text().split()]
    assert sorted(declared) == sorted(name for name, _, _ in golden)
    assert {version for _, _, version in golden} == {"MOONCAKE_TE_1.0"}


def test_static_tls_is_gos_alone(library: Path) -> None:
    """All libraries that are loaded late share about 1.6 KiB of static TLS: ours takes the 8 bytes that Go needs."""
    (row,) = re.findall(r"^\s+TLS\s+(.*)$", output("readelf", "-lW", library), re.M)
    offset, virtual, physical, in_file, in_memory = row.split()[:5]
    assert int(in_memory, 16) == 8, (offset, virtual, physical, in_file)


def test_needs_libc_only(library: Path) -> None:
    dynamic = output("readelf", "-dW", library)
    needed = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.*)\]", dynamic))
    versions = re.findall(r"GLIBC_(\d+)\.(\d+)", output("readelf", "-VW", library))
    newest = max((int(major), int(minor)) for major, minor in versions)
    # Before 2.34 threads and dlopen were libraries of their own.
    allowed = {"libc.so.6"} if newest >= (2, 34) else {"libc.so.6", "libpthread.so.0", "libdl.so.2"}
    assert needed <= allowed
    assert re.findall(r"\(SONAME\)\s+Library soname: \[(.*)\]", dynamic) == ["libmooncake_te.so.1"]
    assert "NODELETE" in dynamic, "a Go runtime cannot be unloaded"
    assert "TEXTREL" not in dynamic


def test_no_executable_stack(library: Path) -> None:
    (flags,) = re.findall(r"GNU_STACK(?:\s+0x\w+){5}\s+(\w+)", output("readelf", "-lW", library))
    assert "E" not in flags


def test_names_no_folder_of_the_build(library: Path) -> None:
    content = library.read_bytes()
    for folder in {str(ROOT), str(Path.home())} - {"/", "/root"}:
        assert folder.encode() not in content, f"the library names {folder}"


@pytest.mark.parametrize(
    ("compiler", "language", "standard"),
    [("gcc", "c", "c99"), ("gcc", "c", "c17"), ("g++", "c++", "c++11"), ("g++", "c++", "c++20")],
)
def test_header_stands_alone(tmp_path: Path, compiler: str, language: str, standard: str) -> None:
    source = tmp_path / ("use." + ("c" if language == "c" else "cc"))
    source.write_text('#include "te.h"\n#include "te.h"\nint main(void) { return (int)te_abi_version() < 0; }\n')
    output(compiler, "-fsyntax-only", f"-std={standard}", *WARNINGS, f"-I{HEADER.parent}", source)


def test_no_callbacks() -> None:
    """Nothing in the library ever calls into its caller: no function takes a function."""
    assert not re.search(r"\(\s*\*\s*\w*\s*\)\s*\(", HEADER.read_text())
