"""The demo's own two processes and its coordinator, with a tiny random model."""

import json
import signal
import subprocess
import sys
import time

import psutil
import pytest
from llm_handoff import demo, model

PROMPT = "Whenever the seals left the outer rock, Marta sent word, and somebody hung a red lantern on the hook."
LIMIT = 24
DEADLINE = 120.0  # seconds; a bound on a hanging test, not a measure


class Demo:
    """One run of the command, as a shell would start it."""

    def __init__(self, environment, folder, tmp_path, *options):
        prompt = tmp_path / "prompt.txt"
        prompt.write_text(PROMPT)
        self.json = tmp_path / "result.json"
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "llm_handoff.demo", "--model", str(folder), "--prompt-file", str(prompt)),
                *("--limit", str(LIMIT), "--json", str(self.json), *options),
            ],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def workers(self):
        """The two worker processes, as soon as both are there, by role."""
        deadline = time.monotonic() + DEADLINE
        while time.monotonic() < deadline and self.process.poll() is None:
            found = {}
            for child in psutil.Process(self.process.pid).children():
                command = child.cmdline()
                if "llm_handoff.worker" in command:
                    found[command[-1]] = child
            if len(found) == 2:
                return found
            time.sleep(0.005)
        raise AssertionError(f"no two workers; the demo said: {self.end()}")

    def end(self):
        """Exit status, stdout and stderr."""
        stdout, stderr = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, stdout, stderr


@pytest.fixture
def start(environment, tiny_model, tmp_path):
    runs = []

    def start_demo(*options, **variables):
        runs.append(Demo({**environment, **variables}, tiny_model, tmp_path, *options))
        return runs[-1]

    yield start_demo
    for run in runs:
        if run.process.poll() is None:
            run.process.kill()
            run.process.communicate()


def gone(processes):
    """Whether all of them end within the deadline. What only waits to be reaped, by whoever inherited it, has ended."""
    deadline = time.monotonic() + DEADLINE
    while any(runs(process) for process in processes.values()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def runs(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_tokens_are_those_of_one_process(start):
    run = start()
    workers = run.workers()
    status, stdout, stderr = run.end()
    assert status == 0, stderr
    assert gone(workers)
    result = json.loads(run.json.read_text())
    assert result["tokens"] == result["reference"]
    assert len(set(result["tokens"])) > LIMIT // 4, "a text that repeats one token would show nothing"
    assert (result["equal"], result["zero"]) == (True, False)
    assert result["prompt_tokens"] == len(PROMPT)
    assert result["tensors"] == 2 * 4
    assert result["bytes"] == 2 * 4 * 2 * 16 * 4 * len(PROMPT)  # K and V, layers, heads, head size, float32
    assert result["path"]
    assert result["gb_per_s"] == pytest.approx(result["bytes"] / result["seconds"] / 1e9)
    assert result["plain_copy_seconds"] > 0
    assert result["drain_acknowledged"] == 1
    assert (result["prefill_pid"], result["decode_pid"]) == (workers["prefill"].pid, workers["decode"].pid)
    assert "equal to those of a single process" in stdout


def test_zeroed_cache_gives_other_tokens(start):
    run = start(ZERO="1")
    status, stdout, stderr = run.end()
    assert status == 0, stderr
    result = json.loads(run.json.read_text())
    assert result["tokens"] != result["reference"]
    assert (result["equal"], result["zero"]) == (False, True)
    assert "as it must be" in stdout


@pytest.mark.parametrize(
    ("equal", "zero", "status"), [(True, False, 0), (False, False, 1), (True, True, 1), (False, True, 0)]
)
def test_exit_status(monkeypatch, tmp_path, equal, zero, status):
    """Above all: a negative control that changes nothing is a failure."""
    monkeypatch.setattr(demo, "check_machine", lambda _own_model: None)
    monkeypatch.setattr(demo, "hand_off", lambda *_: result(equal, zero))
    monkeypatch.delenv("JSON", raising=False)
    assert demo.main(["--model", str(tmp_path)]) == status


def test_missing_package_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(model, "TO_RUN", (*model.TO_RUN, "no_such_module"))
    assert demo.main(["--model", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(
        "demo: missing Python packages: no-such-module; `make demo` installs them"
    )


def test_unreadable_prompt_is_one_sentence(tmp_path, capsys):
    assert demo.main(["--model", str(tmp_path), "--prompt-file", str(tmp_path / "none.txt")]) == 1
    assert "No such file or directory" in capsys.readouterr().err


def result(equal, zero):
    tokens = [1, 2, 3]
    return demo.Result(
        prompt="text",
        prompt_tokens=4,
        text="text",
        tokens=tokens,
        reference=tokens if equal else tokens[::-1],
        equal=equal,
        zero=zero,
        tensors=2,
        bytes=8,
        path="path",
        why="",
        seconds=1.0,
        gb_per_s=8e-9,
        plain_copy_seconds=1.0,
        plain_copy_gb_per_s=8e-9,
        drain_seconds=1.0,
        drain_acknowledged=1,
        prefill_seconds=1.0,
        decode_seconds=1.0,
        prefill_pid=1,
        decode_pid=2,
    )


def test_interrupt_ends_all_with_130(start):
    run = start()
    workers = run.workers()
    run.process.send_signal(signal.SIGINT)
    status, _, stderr = run.end()
    assert status == 130
    assert "interrupted" in stderr
    assert "Traceback" not in stderr
    assert gone(workers)


def test_killed_coordinator_leaves_no_worker(start):
    run = start()
    workers = run.workers()
    run.process.send_signal(signal.SIGKILL)
    run.end()
    assert gone(workers)


@pytest.mark.parametrize("role", ["prefill", "decode"])
def test_killed_worker_ends_the_demo(start, role):
    run = start()
    workers = run.workers()
    workers[role].kill()
    status, _, stderr = run.end()
    assert status == 1
    assert f"the {role} process was ended by SIGKILL" in stderr
    assert gone(workers)
    assert not run.json.exists()


def test_failing_worker_says_why(environment, tmp_path):
    run = Demo(environment, tmp_path / "nowhere", tmp_path)
    status, _, stderr = run.end()
    assert status == 1
    assert "process failed" in stderr
    assert "nowhere" in stderr
    assert "Traceback" not in stderr
