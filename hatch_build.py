"""Compiles libmooncake_te.so for the wheel (hatchling calls it) and for `make library` (run as a script).

The library is one file for every CPython, so the wheel's tag is py3-none-PLATFORM, and PLATFORM is read from the library
itself: its machine, and the newest glibc symbol version that it asks for. Set MOONCAKE_TE_PREBUILT to pack a library
that was built elsewhere; then no Go is needed.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script: no build backend is needed to compile the library
    BuildHookInterface = object

LIBRARY = "libmooncake_te.so"
MACHINES = {62: "x86_64", 183: "aarch64"}  # e_machine of the ELF header


def fail(sentence: str) -> None:
    """Ends the build with one sentence; an exception would reach the user as a traceback of the build backend."""
    raise SystemExit(f"mooncake_te: {sentence}")


def read_version(root: Path) -> str:
    text = (root / "python/mooncake_te/_version.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.M)[1]


def find_go(root: Path) -> str:
    """The go command, after checking that it is new enough for go.mod."""
    need = re.search(r"^go (\d+)\.(\d+)", (root / "go.mod").read_text(encoding="utf-8"), re.M)
    wanted = f"{need[1]}.{need[2]}"
    go = shutil.which(os.environ.get("GO", "go"))
    if go is None:
        fail(
            f"building from source needs the Go toolchain (>= {wanted}) and there is no 'go' on PATH: install Go "
            f"(https://go.dev/dl), or set MOONCAKE_TE_PREBUILT to a ready {LIBRARY}, or install a wheel instead."
        )
    found = subprocess.run([go, "env", "GOVERSION"], cwd=root, capture_output=True, text=True)
    have = re.match(r"go(\d+)\.(\d+)", found.stdout)
    if have is None or (int(have[1]), int(have[2])) < (int(need[1]), int(need[2])):
        said = found.stdout.strip() or found.stderr.strip().replace("\n", " ")
        fail(
            f"building from source needs Go >= {wanted}, but {go} says: {said}. Install a newer Go (https://go.dev/dl)."
        )
    return go


def compile_library(root: Path, out: Path) -> None:
    """Puts the library at `out`. The result depends on the sources and the compilers only, not on where they lie."""
    out.parent.mkdir(parents=True, exist_ok=True)
    prebuilt = os.environ.get("MOONCAKE_TE_PREBUILT")
    if prebuilt:
        if not Path(prebuilt).is_file():
            fail(f"MOONCAKE_TE_PREBUILT names {prebuilt}, which is not a file.")
        shutil.copyfile(prebuilt, out)
        return
    go = find_go(root)
    link = [
        f'"-Wl,--version-script={root / "capi/te.map"}"',  # quoted: a path may hold blanks
        "-Wl,-soname,libmooncake_te.so.1",
        "-Wl,--build-id=none",
    ]
    # -buildid=: Go's own build ID would hash the folder in the linker flags above.
    ldflags = [
        "-s -w -buildid=",
        f"-X mooncake_te/gocore/types.LibraryVersion={read_version(root)}",
        f"-extldflags '{' '.join(link)}'",
    ]
    partial = out.with_name(out.name + ".partial")
    progress = ["-v"] if sys.stderr.isatty() else []  # names each package while it is compiled
    command = [go, "build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared", "-ldflags", " ".join(ldflags)]
    done = subprocess.run(
        [*command, *progress, "-o", str(partial), "./capi/lib"], cwd=root, env=dict(os.environ, CGO_ENABLED="1")
    )
    if done.returncode != 0:
        fail("go build failed; its messages stand above.")
    os.replace(partial, out)
    # With c-shared Go writes a header beside the library; ours is capi/te.h.
    partial.with_suffix(".h").unlink(missing_ok=True)


def platform_tag(library: Path) -> str:
    """The oldest platform that the library runs on, as wheels name it."""
    image = library.read_bytes()
    if image[:5] != b"\x7fELF\x02":
        fail(f"{library} is not a 64-bit ELF library.")
    machine = struct.unpack_from("<H", image, 18)[0]
    if machine not in MACHINES:
        fail(f"{library} is for a machine that is not supported (ELF e_machine {machine}); x86_64 and aarch64 are.")
    # Version names stand NUL-terminated in .dynstr. A chance match elsewhere could only make the tag stricter.
    versions = [(int(a), int(b)) for a, b in re.findall(rb"\0GLIBC_(\d+)\.(\d+)(?:\.\d+)?(?=\0)", image)]
    if not versions:
        fail(f"{library} uses no versioned glibc symbol; only glibc-based Linux is supported.")
    major, minor = max(versions)
    return f"manylinux_{major}_{max(minor, 17)}_{MACHINES[machine]}"  # older than 2.17 has no tag of this form


class Hook(BuildHookInterface):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = Path(self.root)
        # An editable install imports from the tree, so there the library has to lie beside the Python files.
        editable = version == "editable"
        library = root / ("python/mooncake_te" if editable else "build/wheel") / LIBRARY
        compile_library(root, library)
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag(library)}"
        if not editable:
            build_data["force_include"][str(library)] = f"mooncake_te/{LIBRARY}"


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: {sys.argv[0]} OUT.so")
    compile_library(Path(__file__).resolve().parent, Path(sys.argv[1]).resolve())
