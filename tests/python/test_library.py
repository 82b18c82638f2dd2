"""Finding and checking the library."""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mooncake_te as te
from mooncake_te import _native


def test_named_file_wins_and_nothing_else_is_tried(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MOONCAKE_TE_LIBRARY", str(tmp_path / "x.so"))
    assert list(_native.candidates()) == [tmp_path / "x.so"]


def test_order_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOONCAKE_TE_LIBRARY", raising=False)
    found = list(_native.candidates())
    package = Path(_native.__file__).parent
    assert found[0] == package / "libmooncake_te.so"
    assert found[1:] in ([], [package.parent.parent / "build" / "libmooncake_te.so"])


def test_missing_library_says_where_it_looked(run_python: Callable[..., Any], tmp_path: Path) -> None:
    done = run_python("import mooncake_te as te; te.Engine()", MOONCAKE_TE_LIBRARY=str(tmp_path / "none.so"))
    assert "Unsupported" in done.stderr
    assert str(tmp_path / "none.so") in done.stderr
    assert "make library" in done.stderr


def test_file_that_is_no_library(run_python: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "bad.so").write_bytes(b"not ELF")
    done = run_python("import mooncake_te as te; te.Engine()", MOONCAKE_TE_LIBRARY=str(tmp_path / "bad.so"))
    assert "cannot be loaded" in done.stderr


@pytest.mark.parametrize(
    ("source", "text"),
    [("unsigned te_abi_version(void) { return 2u << 16; }", "ABI 2.0"), ("int x;", "not a libmooncake_te.so")],
)
def test_wrong_library(run_python: Callable[..., Any], tmp_path: Path, source: str, text: str) -> None:
    (tmp_path / "x.c").write_text(source)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "x.so", tmp_path / "x.c"], check=True)
    done = run_python("import mooncake_te as te; te.Engine()", MOONCAKE_TE_LIBRARY=str(tmp_path / "x.so"))
    assert text in done.stderr


def test_version(engine: te.Engine) -> None:
    version = _native.load().version()
    assert version["abi"] == "1.0"
    assert _native.library_path() == _native.load().path


def test_stale_handles_are_errors_not_crashes(engine: te.Engine) -> None:
    library = _native.load()
    out = ctypes.c_uint64()
    for handle in (0, 1, 2**64 - 1, engine._core.handle + (1 << 40)):
        code = library.te_engine_close(handle, 0, ctypes.byref(out))
        with pytest.raises((te.Closed, te.InvalidArgument)):
            library.check(code)


def test_environment_reaches_the_engine(run_python: Callable[..., Any]) -> None:
    code = (
        "import os, mooncake_te as te\n"
        "os.environ['MOONCAKE_TE_DRAIN_MS'] = '77'\n"
        "with te.Engine(stall_ms=5000) as engine:\n"
        "    settings = engine.status()['configuration']\n"
        "    print(settings['drain_ms'], settings['stall_ms'], settings['listen'])\n"
    )
    done = run_python(code, MOONCAKE_TE_STALL_MS="100", MOONCAKE_TE_LISTEN="127.0.0.1:0")
    assert done.stdout == "77 5000 127.0.0.1:0\n", done.stderr


def test_secrets_are_not_shown(run_python: Callable[..., Any]) -> None:
    code = (
        "import mooncake_te as te\n"
        "with te.Engine(psk='correct horse battery staple') as engine:\n"
        "    assert 'horse' not in repr(engine.status()) + repr(engine.info) + repr(engine) + engine.metrics()\n"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr
