"""Building: complete sources, an honest tag, the same bytes twice, plain words where something is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from packaging_tools import ROOT, run

LIBRARY = "mooncake_te/libmooncake_te.so"
MAX_WHEEL = 12_000_000


def build_wheel(source: Path, out: Path, **environment: str) -> Path:
    run(
        sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, source,
        env=os.environ | environment,
    )  # fmt: skip
    (found,) = out.glob("*.whl")
    return found


def refusal(source: Path, environment: dict[str, str]) -> str:
    """What pip says when it cannot build."""
    command = [sys.executable, "-m", "pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", str(source)]
    done = subprocess.run(command, env=environment, cwd=source.parent, capture_output=True, text=True)
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    sentences = [line.strip() for line in done.stderr.splitlines() if "mooncake_te: " in line]
    assert len(sentences) == 1, done.stderr
    return sentences[0]


def test_tag_is_what_auditwheel_finds(wheel: Path):
    tag = re.fullmatch(r"mooncake_te-[\d.]+-py3-none-(manylinux_\d+_\d+_x86_64)\.whl", wheel.name)
    assert tag, wheel.name
    said = " ".join(run(sys.executable, "-m", "auditwheel", "show", wheel).split())
    assert f'consistent with the following platform tag: "{tag[1]}"' in said


def test_wheel_is_small_and_has_what_it_should(wheel: Path):
    assert wheel.stat().st_size <= MAX_WHEEL
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {LIBRARY, "mooncake_te/__init__.py", "mooncake_te/py.typed"} <= names
    tracked = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "python").split()
    ours = {name for name in names if ".dist-info/" not in name} - {LIBRARY}
    assert ours == {name.removeprefix("python/") for name in tracked}


def test_no_path_of_the_build_machine(wheel: Path):
    modules = run("go", "env", "GOMODCACHE", "GOROOT", cwd=ROOT).split()
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            data = archive.read(name)
            for path in (str(ROOT), str(Path.home()), *modules):
                assert path.encode() + b"/" not in data, f"{name} names {path}"


def test_sdist_builds_the_same_wheel_elsewhere(wheel: Path, sdist: Path, tmp_path: Path):
    # A compiler cache of its own, so that it is compiled again and not just linked again.
    again = build_wheel(sdist, tmp_path, GOCACHE=str(tmp_path / "cache"))
    assert again.name == wheel.name
    assert again.read_bytes() == wheel.read_bytes()


def test_sdist_has_every_source(sdist: Path):
    folders = ("capi", "gocore", "proto", "python", "verbs", "go.mod", "go.sum")
    tracked = run("git", "-C", ROOT, "ls-files", "--cached", "--others", "--exclude-standard", *folders).split()
    assert {"go.mod", "go.sum", "capi/te.h", "capi/lib/main.go"} <= set(tracked)
    missing = [name for name in tracked if not (sdist / name).is_file() and (ROOT / name).exists()]
    assert missing == []


def test_without_go_one_sentence_says_so(sdist: Path, no_go: dict[str, str]):
    sentence = refusal(sdist, no_go)
    assert "needs the Go toolchain" in sentence
    assert "MOONCAKE_TE_PREBUILT" in sentence


def test_with_an_old_go_one_sentence_says_so(sdist: Path, no_go: dict[str, str]):
    old = Path(no_go["PATH"]) / "go"
    old.write_text("#!/bin/sh\necho go1.19.8\n")
    old.chmod(0o755)
    assert re.search(r"needs Go >= 1\.\d+, but \S+ says: go1\.19\.8", refusal(sdist, no_go))


def test_a_ready_library_is_packed_without_go(wheel: Path, sdist: Path, no_go: dict[str, str], tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extract(LIBRARY, tmp_path)
    built = build_wheel(sdist, tmp_path / "out", **no_go, MOONCAKE_TE_PREBUILT=str(tmp_path / LIBRARY))
    assert built.read_bytes() == wheel.read_bytes()


def test_a_missing_ready_library_is_named(sdist: Path, no_go: dict[str, str]):
    assert "/nowhere/lib.so" in refusal(sdist, no_go | {"MOONCAKE_TE_PREBUILT": "/nowhere/lib.so"})


def test_a_foreign_ready_library_is_refused(sdist: Path, no_go: dict[str, str], tmp_path: Path):
    text = tmp_path / "lib.so"
    text.write_text("not a library")
    assert "not a 64-bit ELF library" in refusal(sdist, no_go | {"MOONCAKE_TE_PREBUILT": str(text)})


def test_editable_install_imports_from_the_tree(sdist: Path, tmp_path: Path):
    python = tmp_path / "venv/bin/python"
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index"]
    # The build backend comes from this interpreter's own packages.
    (site,) = (tmp_path / "venv/lib").glob("python*/site-packages")
    site.joinpath("below.pth").write_text("\n".join(path for path in sys.path if path.endswith("site-packages")) + "\n")
    run(*pip, "--no-build-isolation", "--editable", sdist)
    code = "import mooncake_te._native as n; print(n.load().version()['library'], n.library_path())"
    said = run(python, "-c", code, cwd=tmp_path).split()
    assert said == [
        (ROOT / "python/mooncake_te/_version.py").read_text().split('"')[-2],
        str(sdist / "python" / LIBRARY),
    ]


@pytest.mark.parametrize("target", ["library", "help"])
def test_make_targets_run(target: str):
    said = run("make", "--no-print-directory", target, cwd=ROOT)
    if target == "help":
        for name in ("demo", "test", "check", "wheel", "lint", "format", "help"):
            assert re.search(rf"^  {name} +\S", said, re.M), said
    else:
        assert (ROOT / "build/libmooncake_te.so").read_bytes()[:4] == b"\x7fELF"
