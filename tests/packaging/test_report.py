"""The counting of .ci/report.py, on which the last line of CI rests."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _load():
    spec = importlib.util.spec_from_file_location("ci_report", ROOT / ".ci" / "report.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


report = _load()


def events(*items: tuple) -> list[str]:
    """(action, test or "", output or "") of one package, as lines of `go test -json`."""
    lines = []
    for action, test, *output in items:
        event = {"Action": action, "Package": "mooncake_te/gocore/gate"}
        if test:
            event["Test"] = test
        if output:
            event["Output"] = output[0]
        lines.append(json.dumps(event))
    return lines


def test_go_counts_leaves_and_names_failures_and_skips():
    said: list[str] = []
    tally = report.read_go(
        events(
            ("run", "TestA"),
            ("run", "TestA/one"),
            ("run", "TestA/two"),
            ("pass", "TestA/one"),
            ("pass", "TestA/two"),
            ("pass", "TestA"),
            ("run", "TestB"),
            ("output", "TestB", "=== RUN   TestB\n"),
            ("output", "TestB", "    gate_test.go:12: no such device: x0\n"),
            ("output", "TestB", "--- SKIP: TestB (0.00s)\n"),
            ("skip", "TestB"),
            ("run", "TestC"),
            ("run", "TestC/bad"),
            ("output", "TestC/bad", "    gate_test.go:20: 1 is not 2\n"),
            ("fail", "TestC/bad"),
            ("fail", "TestC"),
            ("fail", ""),
        ),
        said.append,
    )
    assert tally.passed == 2
    assert tally.failed == ["gocore/gate:TestC/bad"]
    assert tally.skipped == {"gocore/gate:TestB": "no such device: x0"}
    assert "1 is not 2" in "\n".join(said)
    assert tally.line() == "2 passed, 1 failed, 1 skipped"


def test_go_counts_a_package_that_fails_without_a_failing_test():
    said: list[str] = []
    lines = events(
        ("run", "TestA"),
        ("output", "TestA", "found a goroutine\n"),
        ("pass", "TestA"),
        ("output", "", "FAIL gocore/gate\n"),
        ("fail", ""),
    )
    tally = report.read_go(lines, said.append)
    assert (tally.passed, tally.failed) == (1, ["gocore/gate"])
    assert "found a goroutine" in said[-1]


def test_go_shows_why_a_package_does_not_build():
    said: list[str] = []
    lines = [
        json.dumps(
            {"ImportPath": "mooncake_te/x [mooncake_te/x.test]", "Action": "build-output", "Output": "x.go:1: no\n"}
        ),
        json.dumps({"ImportPath": "mooncake_te/x [mooncake_te/x.test]", "Action": "build-fail"}),
        json.dumps({"Package": "mooncake_te/x", "Action": "fail", "FailedBuild": "mooncake_te/x [mooncake_te/x.test]"}),
        "go: cannot find main module\n",
    ]
    tally = report.read_go(lines, said.append)
    assert tally.failed == ["x"]
    assert "x.go:1: no" in said
    assert "go: cannot find main module" in said


def test_junit_names_tests_like_pytest_does(tmp_path: Path):
    (tmp_path / "test_sample.py").write_text(
        "import pytest\n"
        "@pytest.mark.parametrize('n', [1, 2])\n"
        "def test_n(n):\n"
        "    if n == 2: pytest.skip('two is  too many')\n"
        "class TestK:\n"
        "    def test_m(self): raise ValueError\n"
        "@pytest.fixture\n"
        "def bad():\n"
        "    yield\n"
        "    raise ValueError\n"
        "def test_teardown(bad): assert False\n"
    )
    junit = tmp_path / "out.xml"
    arguments = ["-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={junit}", "test_sample.py"]
    subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "/dev/null", "--rootdir=.", *arguments], cwd=tmp_path, check=False
    )
    tally = report.read_junit(junit)
    assert tally.passed == 1
    assert sorted(tally.failed) == ["test_sample.py::TestK::test_m", "test_sample.py::test_teardown"]
    assert tally.skipped == {"test_sample.py::test_n[2]": "two is too many"}


def test_skips_must_be_listed_with_their_reason(tmp_path: Path):
    listed = tmp_path / "expected.txt"
    listed.write_text("# for people\n\na\tno a here\nb\tno b here\n")
    expected = report.read_expected(listed)
    assert report.unexpected_skips({"a": "no a here"}, expected) == []
    assert len(report.unexpected_skips({"a": "another reason"}, expected)) == 1
    assert len(report.unexpected_skips({"a": "no a here", "c": "no c"}, expected)) == 1


@pytest.mark.parametrize("text", ["name without a reason\n", "a\tx\na\ty\n", "a\t \n", "\tx\n"])
def test_a_malformed_list_of_skips_is_refused(tmp_path: Path, text: str):
    listed = tmp_path / "expected.txt"
    listed.write_text(text)
    with pytest.raises(ValueError, match="expected.txt"):
        report.read_expected(listed)


def test_the_list_of_skips_can_be_read():
    report.read_expected(ROOT / "tests" / "expected_skips.txt")
