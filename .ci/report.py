"""Counts what test tools did: reads `go test -json` and JUnit XML, checks skips against the list of expected ones.

A test is named so that a reader finds it: `gocore/gate:TestX/part` in Go, `tests/abi/test_y.py::test_z[3.12]` in Python.
"""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

MODULE = "mooncake_te/"


@dataclass
class Tally:
    """What became of tests. `failed` holds names, `skipped` name and reason."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(self, other: Tally) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped.update(other.skipped)

    def line(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed, {len(self.skipped)} skipped"


def read_go(lines: Iterable[str], say: Callable[[str], None] = lambda text: None) -> Tally:
    """Counts the leaf tests of a `go test -json` stream; `say` gets what a person wants to see while it runs.

    A test with subtests is not counted itself unless it failed while all of them passed. A package that fails without a
    failing test (it does not build, leaks a goroutine, dies) counts as one failure.
    """
    tally = Tally()
    output: dict[tuple[str, str], list[str]] = {}
    # The end of what passing tests said. What a package says after its last test (goleak, a race, os.Exit) is often
    # attributed to that test, and is needed when the package fails though no test did.
    quiet: dict[str, str] = {}
    parents: set[tuple[str, str]] = set()
    failed: set[tuple[str, str]] = set()
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            say(line.rstrip("\n"))  # the go command's own complaints come as plain text
            continue
        action, test = event.get("Action"), event.get("Test", "")
        package = event.get("Package") or event.get("ImportPath", "")
        short = package.split(" ")[0].removeprefix(MODULE)
        key, name = (package, test), f"{short}:{test}" if test else short
        if action == "run" and "/" in test:
            parents.add((package, test.rpartition("/")[0]))
        elif action in ("output", "build-output"):
            output.setdefault(key, []).append(event["Output"])
        elif action == "build-fail":
            say("".join(output.pop(key, [])).rstrip("\n"))
        elif action == "fail":
            child_failed = any(p == package and (not test or t.startswith(test + "/")) for p, t in failed)
            if not child_failed:
                tally.failed.append(name)
            failed.add(key)
            text = "".join(output.pop(key, [])).rstrip("\n")
            if test or not child_failed:
                say(text if test else f"{quiet.get(package, '')}{text}")
            else:
                say(f"FAIL  {short}")
        elif action in ("pass", "skip") and test:
            text = "".join(output.pop(key, []))
            quiet[package] = (quiet.get(package, "") + text)[-8000:]
            if action == "skip":
                # testing.T.Skip prints "    file_test.go:12: reason" before the "--- SKIP" line.
                reasons = re.findall(r"^\s+\w+\.go:\d+: (.*)$", text, re.M)
                tally.skipped[name] = reasons[-1].strip() if reasons else "no reason given"
            elif key not in parents:
                tally.passed += 1
        elif action == "pass":
            say(f"ok    {short}  {event.get('Elapsed', 0):.1f} s")
    return tally


def read_junit(path: Path) -> Tally:
    """Counts the cases of a JUnit file of pytest (junit_family=xunit1, which names files)."""
    tally = Tally()
    for case in ET.parse(path).getroot().iter("testcase"):
        file = case.get("file") or case.get("classname", "").replace(".", "/") + ".py"
        module = file.removesuffix(".py").replace("/", ".")
        inside = case.get("classname", "").removeprefix(module).strip(".").replace(".", "::")
        name = "::".join(part for part in (file, inside, case.get("name", "")) if part)
        skipped = case.find("skipped")
        if case.find("failure") is not None or case.find("error") is not None:
            if name not in tally.failed:  # a failing test whose teardown fails too stands there twice
                tally.failed.append(name)
        elif skipped is not None:
            tally.skipped[name] = " ".join((skipped.get("message") or "no reason given").split())
        else:
            tally.passed += 1
    return tally


def read_expected(path: Path) -> dict[str, str]:
    """Reads `name<TAB>reason` lines; blank ones and those starting with # are for people."""
    expected = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, reason = line.partition("\t")
        if not tab or not name or not reason.strip():
            raise ValueError(f"{path}:{number}: want NAME<TAB>REASON, got {line!r}")
        if name in expected:
            raise ValueError(f"{path}:{number}: {name} stands there twice")
        expected[name] = reason.strip()
    return expected


def unexpected_skips(skipped: dict[str, str], expected: dict[str, str]) -> list[str]:
    """What was skipped without standing in the list with that very reason.

    A listed test that ran is fine: the list names what a machine may lack.
    """
    return [
        f"{name}: skipped ({reason}); " + (f"expected reason: {expected[name]}" if name in expected else "not listed")
        for name, reason in sorted(skipped.items())
        if expected.get(name) != reason
    ]
