"""README's Python samples run as they stand there, and its commands exist."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from packaging_tools import ROOT, run

README = (ROOT / "README.md").read_text(encoding="utf-8")
SAMPLES = re.findall(r"^```python\n(.*?)^```", README, re.M | re.S)


def test_readme_has_samples():
    assert SAMPLES


@pytest.mark.parametrize("number", range(len(SAMPLES)))
def test_sample_runs(number: int, tmp_path: Path):
    script = tmp_path / "sample.py"
    script.write_text(SAMPLES[number], encoding="utf-8")
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # A comment "# prints X" beside a print holds what it says.
    for expected in re.findall(r"print\(.*#\s*prints (.*)$", SAMPLES[number], re.M):
        assert expected.strip() in done.stdout


def test_commands_exist():
    targets = set(re.findall(r"^  ([a-z-]+) ", run("make", "--no-print-directory", "help", cwd=ROOT), re.M))
    named = set(re.findall(r"`?\bmake ([a-z-]+)", README))
    assert {"demo", "test"} <= named <= targets


def test_links_lead_somewhere():
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)", README)
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_tests_that_claims_name_exist():
    claims = (ROOT / "docs/claims.md").read_text(encoding="utf-8")
    code = "".join(
        path.read_text(encoding="utf-8") for top in ("gocore", "capi") for path in (ROOT / top).rglob("*_test.go")
    )
    named = set(re.findall(r"\b(?:Test|Fuzz)[A-Z]\w+", claims))
    assert named
    assert [name for name in sorted(named) if f"func {name}(" not in code] == []
    files = set(re.findall(r"\btests/[\w/.]+", claims))
    assert [name for name in sorted(files) if not (ROOT / name.rstrip(".")).exists()] == []
