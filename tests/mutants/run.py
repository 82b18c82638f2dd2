#!/usr/bin/env python3
"""Plants each mistake of mutants.toml in the shipped code and sees that its named test fails.

A mutant is one replacement in one file. `go test -overlay` compiles the package with the changed copy, so the tree itself
is never touched and several mutants run side by side. A mutant is killed when an assertion of the named test fails; one
that does not compile, panics, hangs or only upsets the race detector shows nothing about the test, and fails the run as
one that survives does. So does a mutant whose text is not found exactly once: code moved, and the table must follow.

The killing tests run first on the code as it is; all must pass. Exit status: 0 all killed, 1 not, 2 a slip in the table.

    tests/mutants/run.py                all
    tests/mutants/run.py S2 S4-floor    those of an invariant, or single ones
    tests/mutants/run.py --check        only compare the table with the code and with docs/mutants.md
    tests/mutants/run.py --write        write docs/mutants.md
    tests/mutants/run.py --explore S4   run the whole package: which tests would kill it?
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path

import tomllib

HERE = Path(__file__).resolve().parent
INVARIANTS = ("S1", "S2", "S3", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S11", "S12", "S13", "L4", "L6")
EACH, IN_ALL = 2, 32  # the fewest mutants of an invariant, and of all
SECONDS = 90  # for the killing test of one mutant, compilation aside

# Where an assertion failed, best first: what testify says, what testing says.
ASSERTIONS = (
    re.compile(r"Error Trace:\s+(?:\S*/)?([\w.-]+\.go:\d+)"),
    re.compile(r"^\s+([\w-]+\.go:\d+): ", re.MULTILINE),
)
# What ends a test binary without an assertion; the first that is found is told.
OTHER_DEATHS = (
    ("does not compile", re.compile(r"\[(build|setup) failed\]")),
    ("hangs", re.compile(r"^panic: test timed out", re.MULTILINE)),
    ("panics", re.compile(r"^\s*(panic: |fatal error: |\[signal )|\[rapid\] panic", re.MULTILINE)),
    ("race report", re.compile(r"WARNING: DATA RACE")),
)


class TableError(Exception):
    """The table does not fit the code."""


@dataclass(frozen=True)
class Mutant:
    id: str  # invariant and a short name
    mistake: str  # one sentence
    file: str
    old: str
    new: str
    package: str
    test: str  # as for -run

    @property
    def invariant(self) -> str:
        return self.id.split("-")[0]

    def changed(self, root: Path) -> str:
        """The text of the file with the mistake in it."""
        path = root / self.file
        text = path.read_text() if path.is_file() else ""
        if (n := text.count(self.old)) != 1:
            raise TableError(
                f"{self.id}: its old text is {n} times in {self.file}, not once. The code has moved: find where the "
                f"mistake would be made now, and correct `file`, `old` and `new` in tests/mutants/mutants.toml:\n{self.old}"
            )
        return text.replace(self.old, self.new)


@dataclass
class Verdict:
    mutant: Mutant
    killed: bool
    how: str
    seconds: float
    output: str = field(repr=False, default="")


def load(path: Path) -> list[Mutant]:
    names = [f.name for f in fields(Mutant)]
    out = []
    for i, entry in enumerate(tomllib.loads(path.read_text())["mutant"]):
        if sorted(entry) != sorted(names):
            raise TableError(f"mutant {i + 1} ({entry.get('id')}) must have {', '.join(names)} and nothing else")
        out.append(Mutant(**{k: v.strip("\n") if k in ("old", "new") else v for k, v in entry.items()}))
    return out


def check(mutants: list[Mutant], root: Path, complete: bool) -> list[str]:
    """What is wrong with the table, before anything runs."""
    wrong = [f"{id} is there {n} times" for id, n in Counter(m.id for m in mutants).items() if n > 1]
    for m in mutants:
        if m.invariant not in INVARIANTS:
            wrong.append(f"{m.id}: the ID must start with one of {', '.join(INVARIANTS)}")
        if m.old == m.new or not m.old:
            wrong.append(f"{m.id}: old and new text must differ")
        if not m.mistake.endswith(".") or "\n" in m.mistake:
            wrong.append(f"{m.id}: the mistake must be one sentence")
        if not m.file.endswith(".go") or m.file.endswith("_test.go"):
            wrong.append(f"{m.id}: {m.file} is no shipped Go file")
        try:
            m.changed(root)
        except TableError as error:
            wrong.append(str(error))
    if complete:
        counts = Counter(m.invariant for m in mutants)
        wrong += [f"{i} has {counts[i]} mutants, fewer than {EACH}" for i in INVARIANTS if counts[i] < EACH]
        if len(mutants) < IN_ALL:
            wrong.append(f"{len(mutants)} mutants in all, fewer than {IN_ALL}")
    return wrong


@dataclass
class TestRun:
    """What `go test -json` said."""

    status: int
    passed: set[str]
    failed: dict[str, str]  # name -> its output
    output: str
    seconds: float


def go_test(root: Path, package: str, pattern: str, seconds: int, overlay: Path | None = None) -> TestRun:
    # Not optimized: a mutant costs a compilation, and what it means is the same.
    command = ["go", "test", "-json", "-count=1", "-vet=off", "-gcflags=-N -l", f"-timeout={seconds}s"]
    if overlay:
        command.append(f"-overlay={overlay}")
    if pattern:
        command.append(f"-run={pattern}")
    begun = time.monotonic()
    done = subprocess.run(
        [*command, f"./{package}"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    passed, failed, lines = set[str](), set[str](), []
    own = defaultdict[str, list[str]](list)
    for line in done.stdout.splitlines():
        try:
            event = json.loads(line)
        except ValueError:  # the compiler speaks plainly
            lines.append(line + "\n")
            continue
        action, name = event.get("Action"), event.get("Test", "")
        if action in ("output", "build-output"):
            lines.append(event.get("Output", ""))
            own[name].append(event.get("Output", ""))
        elif name and action == "pass":
            passed.add(name)
        elif name and action == "fail":
            failed.add(name)
    texts = {n: "".join(own[n]) for n in failed}
    return TestRun(done.returncode, passed, texts, "".join(lines), time.monotonic() - begun)


def assertion(output: str) -> str:
    """The place of the first failed assertion, if there is one."""
    return next((found[1] for pattern in ASSERTIONS if (found := pattern.search(output))), "")


def judge(m: Mutant, run: TestRun) -> Verdict:
    """Only a failed assertion of the killing test counts."""
    verdict = Verdict(m, False, "SURVIVES", run.seconds, run.output)
    if run.status == 0:
        return verdict
    for how, pattern in OTHER_DEATHS:
        if pattern.search(run.output):
            verdict.how = f"{how}, which does not count"
            return verdict
    for name in sorted(run.failed, key=lambda n: (-n.count("/"), n)):  # the innermost has the assertion
        if place := assertion(run.failed[name]):
            verdict.killed, verdict.how = True, f"{name} at {place}"
            return verdict
    verdict.how = "fails without an assertion, which does not count"
    return verdict


class Runner:
    def __init__(self, root: Path, jobs: int, seconds: int) -> None:
        self.root, self.jobs, self.seconds = root, jobs, seconds
        self.say = threading.Lock()

    def baseline(self, mutants: Iterable[Mutant]) -> list[str]:
        """The killing tests must pass on the code as it is, and must be there. It also fills Go's cache."""
        wrong = []
        tests = defaultdict[str, set[str]](set)
        for m in mutants:
            tests[m.package].add(m.test)
        for package, patterns in sorted(tests.items()):
            tops = {pattern.split("/")[0].strip("^$") for pattern in patterns}
            run = go_test(self.root, package, f"^({'|'.join(sorted(tops))})$", self.seconds * 2)
            missing = sorted(t for t in tops if t not in run.passed)
            if run.status != 0 or missing:
                wrong.append(f"{package}: without a mutant must pass: {', '.join(missing) or 'all'}\n{run.output}")
            print(f"without a mutant  {package:<28} {len(tops):3d} tests {run.seconds:6.1f} s", flush=True)
        return wrong

    def one(self, m: Mutant, explore: bool) -> Verdict:
        text = m.changed(self.root)
        with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
            changed, overlay = Path(folder, Path(m.file).name), Path(folder, "overlay.json")
            changed.write_text(text)
            overlay.write_text(json.dumps({"Replace": {str(self.root / m.file): str(changed)}}))
            run = go_test(self.root, m.package, "" if explore else m.test, self.seconds, overlay)
        verdict = judge(m, run)
        with self.say:
            print(
                f"{m.id:<34} {'killed by' if verdict.killed else '--------'} {verdict.how} {run.seconds:6.1f} s",
                flush=True,
            )
            if explore:
                for name, output in sorted(run.failed.items()):
                    print(f"    {name} {assertion(output)}")
        return verdict

    def all(self, mutants: list[Mutant], explore: bool) -> list[Verdict]:
        with ThreadPoolExecutor(self.jobs) as pool:
            return list(pool.map(lambda m: self.one(m, explore), mutants))


def write_junit(path: Path, verdicts: list[Verdict]) -> None:
    """For CI, which counts each mutant as a test."""
    suite = ET.Element("testsuite", name="mutants")
    for v in verdicts:
        case = ET.SubElement(
            suite, "testcase", file="tests/mutants/mutants.toml", name=v.mutant.id, time=f"{v.seconds:.1f}"
        )
        if not v.killed:
            ET.SubElement(case, "failure", message=v.how)
    ET.ElementTree(suite).write(path)


def table(mutants: list[Mutant]) -> str:
    """docs/mutants.md."""
    lines = [
        "# Mutants",
        "",
        "Each row is a mistake that a person could make in the shipped code, and the test whose assertion fails when it is",
        "made. `make mutants` makes them one by one, in copies, and fails if one survives. The numbers are those of the",
        "invariants (S: safety, L: liveness). This page is written by `tests/mutants/run.py --write` from",
        "[mutants.toml](../tests/mutants/mutants.toml), which has the exact change of each.",
        "",
        f"{len(mutants)} mutants.",
        "",
        "| invariant | mutant | mistake | in | killed by |",
        "| --- | --- | --- | --- | --- |",
    ]
    for m in mutants:
        test = m.test.replace("^", "").replace("$", "").replace("|", "\\|")
        lines.append(
            f"| {m.invariant} | `{m.id}` | {m.mistake} | [{m.file.removeprefix('gocore/')}](../{m.file}) "
            f"| `{test}` in `{m.package.removeprefix('gocore/')}` |"
        )
    return "\n".join(lines) + "\n"


def selected(mutants: list[Mutant], names: list[str]) -> list[Mutant]:
    out = [m for m in mutants if not names or m.id in names or m.invariant in names]
    if unknown := [n for n in names if not any(n in (m.id, m.invariant) for m in mutants)]:
        raise TableError(f"no such mutant or invariant: {', '.join(unknown)}")
    return out


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="an invariant or a mutant; default all")
    parser.add_argument("--root", type=Path, default=HERE.parent.parent, help="the tree to mutate copies of")
    parser.add_argument("--table", type=Path, default=HERE / "mutants.toml")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, help="mutants at a time")
    parser.add_argument("--seconds", type=int, default=SECONDS, help=f"for one mutant; default {SECONDS}")
    parser.add_argument("--junit", type=Path, help="also write the result here")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument("--check", action="store_true", help="only compare the table with the code and the page")
    mode.add_argument("--write", action="store_true", help="write docs/mutants.md")
    mode.add_argument("--explore", action="store_true", help="run all tests of the package on each mutant")
    options = parser.parse_args(arguments)
    root, ours = options.root.resolve(), options.table.resolve() == HERE / "mutants.toml"
    try:
        mutants = load(options.table)
        wrong = check(mutants, root, complete=ours)
        chosen = selected(mutants, options.names)
    except (TableError, KeyError, ValueError, OSError) as error:
        wrong, mutants, chosen = [str(error)], [], []
    page = root / "docs/mutants.md"
    if ours and not wrong:
        if options.write:
            page.write_text(table(mutants))
        elif not page.is_file() or page.read_text() != table(mutants):
            wrong.append("docs/mutants.md is not in step with the table: run tests/mutants/run.py --write")
    for line in wrong:
        print(line)
    if wrong or options.write or options.check:
        return 2 if wrong else 0

    begun = time.monotonic()
    runner = Runner(root, options.jobs, options.seconds)
    if not options.explore and (broken := runner.baseline(chosen)):
        print("\n".join(broken))
        return 1
    verdicts = runner.all(chosen, options.explore)
    print(f"\n{'mutant':<34} {'invariant':<10} {'seconds':>7}  killed by")
    for v in verdicts:
        print(f"{v.mutant.id:<34} {v.mutant.invariant:<10} {v.seconds:7.1f}  {v.how}")
    if options.junit:
        write_junit(options.junit, verdicts)
    alive = [v for v in verdicts if not v.killed]
    for v in alive:
        print(
            f"\n{v.mutant.id} {v.how}: {v.mutant.mistake}\n  {v.mutant.file}, -run '{v.mutant.test}' {v.mutant.package}"
        )
        print("\n".join("    " + line for line in v.output.splitlines()[-40:]))
    print(
        f"\n{len(verdicts) - len(alive)} of {len(verdicts)} mutants killed in {time.monotonic() - begun:.0f} s",
        flush=True,
    )
    return 1 if alive else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
