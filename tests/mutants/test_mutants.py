"""The table fits the code and its page, and the runner tells a killed mutant from what only looks like one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.py")

CODE = """package sum

// Of adds up.
func Of(list []int) (total int) {
	for i := range list {
		total += list[i]
	}
	return total
}
"""
TEST = """package sum

import "testing"

func TestOf(t *testing.T) {
	if got := Of([]int{1, 2, 3}); got != 6 {
		t.Fatalf("got %d", got)
	}
}

func TestNothing(t *testing.T) { Of(nil) }

func TestRed(t *testing.T) { t.Error("always") }
"""


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), *map(str, arguments)]
    return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "go.mod").write_text("module example\n\ngo 1.26\n")
    (tmp_path / "sum").mkdir()
    (tmp_path / "sum/sum.go").write_text(CODE)
    (tmp_path / "sum/sum_test.go").write_text(TEST)
    return tmp_path


def mutate(module: Path, old: str, new: str, test: str = "^TestOf$") -> subprocess.CompletedProcess[str]:
    entry = {
        "id": "S1-x", "mistake": "It errs.", "file": "sum/sum.go", "old": old, "new": new, "package": "sum", "test": test,
    }  # fmt: skip
    table = module / "mutants.toml"
    table.write_text("[[mutant]]\n" + "".join(f"{k} = {json.dumps(v)}\n" for k, v in entry.items()))
    done = run("--root", module, "--table", table, "--seconds", 3 if "for {" in new else 60)
    assert (module / "sum/sum.go").read_text() == CODE, "the tree is never touched"
    return done


def test_table_fits_the_code_and_the_page() -> None:
    done = run("--check")
    assert done.returncode == 0, done.stdout


def test_killed(module: Path) -> None:
    done = mutate(module, "total += list[i]", "total = list[i]")
    assert done.returncode == 0, done.stdout
    assert "TestOf at sum_test.go:7" in done.stdout
    assert "1 of 1 mutants killed" in done.stdout


@pytest.mark.parametrize(
    ("old", "new", "test", "says"),
    [
        ("total += list[i]", "total = list[i]", "^TestNothing$", "SURVIVES"),
        ("total += list[i]", "total += list", "^TestOf$", "does not compile"),
        ("total += list[i]", "total += list[i+1]", "^TestOf$", "panics"),
        ("return total", "for { total++ }", "^TestOf$", "hangs"),
        ("total += list[i]", "total = list[i]", "^TestRed$", "without a mutant must pass"),
        ("total += list[i]", "total = list[i]", "^TestGone$", "without a mutant must pass: TestGone"),
    ],
)
def test_fails_the_run(module: Path, old: str, new: str, test: str, says: str) -> None:
    done = mutate(module, old, new, test)
    assert done.returncode == 1, done.stdout
    assert says in done.stdout


@pytest.mark.parametrize(
    ("old", "times"), [("total -= list[i]", "0 times"), ("list", "3 times"), ("total += list[i]", "must differ")]
)
def test_text_must_fit(module: Path, old: str, times: str) -> None:
    done = mutate(module, old, "total += list[i]")
    assert done.returncode == 2, done.stdout
    assert times in done.stdout
