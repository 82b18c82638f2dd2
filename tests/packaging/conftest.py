"""What the packaging tests share: the wheel as `make wheel` builds it, and the source distribution, unpacked."""

from __future__ import annotations

import os
import sys
import tarfile
from pathlib import Path

import pytest

from packaging_tools import ROOT, run


@pytest.fixture(scope="session")
def wheel() -> Path:
    """The wheel in dist/. Tests run against an installed one, so it exists; this only refuses a stale one."""
    run("make", "--no-print-directory", "wheel", cwd=ROOT)
    (found,) = (ROOT / "dist").glob("*.whl")
    return found


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked into a folder of another name and depth than the checkout."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, ROOT)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder / "some" / "where", filter="data")
    (unpacked,) = (folder / "some" / "where").iterdir()
    return unpacked


@pytest.fixture
def no_go(tmp_path: Path) -> dict[str, str]:
    """An environment with an empty PATH: no Go, no compiler."""
    empty = tmp_path / "empty"
    empty.mkdir()
    kept = {key: value for key, value in os.environ.items() if key not in ("GO", "MOONCAKE_TE_PREBUILT")}
    return kept | {"PATH": str(empty)}
