"""Converting the weights once: interrupted or done twice at a time, it leaves nothing broken. No real weights are used."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from llm_handoff import model

# A converter that writes one file, says so, waits for a line on stdin and writes the other.
CONVERTER = """
import sys
from pathlib import Path
from llm_handoff import model

model.converted_folder = lambda: Path(sys.argv[1])
model.weights_file = lambda: Path("weights.gguf")

def convert(source, target):
    (target / "config.json").write_text("{}")
    print("half", flush=True)
    sys.stdin.readline()
    (target / "model.safetensors").write_text(source.name)

print("done", model.converted(lambda message: print("say", message, flush=True), convert), flush=True)
"""


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "cache" / "model-1.0"


@pytest.fixture
def start(folder, environment):
    running = []

    def start_one():
        process = subprocess.Popen(
            [sys.executable, "-c", CONVERTER, str(folder)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start_one
    for process in running:
        process.kill()
        process.communicate()


def lines_until(process, first_word):
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith(first_word):
            return lines
    raise AssertionError(f"the converter ended without {first_word!r}: {lines}")


def names(folder):
    return sorted(path.name for path in folder.parent.iterdir())


def test_killed_conversion_leaves_nothing_that_looks_finished(folder, start):
    first = start()
    lines_until(first, "half")
    assert not folder.exists()
    first.send_signal(signal.SIGKILL)
    first.wait()
    assert names(folder) == ["model-1.0.lock", f"model-1.0.part{first.pid}"]

    second = start()
    lines_until(second, "half")
    second.communicate("\n")
    assert second.returncode == 0
    assert names(folder) == ["model-1.0", "model-1.0.lock"], "the killed one's leftovers are gone"
    assert (folder / "model.safetensors").read_text() == "weights.gguf"


def test_two_at_once_convert_once(folder, start):
    first = start()
    lines_until(first, "half")
    second = start()
    lines_until(second, "say waiting for another process")
    assert not folder.exists()
    first.communicate("\n")
    assert lines_until(second, "done") == [f"done {folder}"], "the second did not convert"
    assert (folder / "model.safetensors").read_text() == "weights.gguf"


def test_failed_conversion_leaves_no_folder(tmp_path, monkeypatch):
    folder = tmp_path / "model-1.0"
    monkeypatch.setattr(model, "converted_folder", lambda: folder)
    monkeypatch.setattr(model, "weights_file", lambda: Path("weights.gguf"))

    def convert(_source, target):
        (target / "config.json").write_text("{}")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        model.converted(lambda _message: None, convert)
    assert names(folder) == ["model-1.0.lock"]


def test_finished_conversion_is_used_as_it_is(tmp_path, monkeypatch):
    folder = tmp_path / "model-1.0"
    folder.mkdir()
    monkeypatch.setattr(model, "converted_folder", lambda: folder)

    def convert(_source, _target):
        raise AssertionError("converted again")

    assert model.converted(lambda _message: None, convert) == folder


def test_missing_packages_are_named_as_pip_knows_them():
    assert model.missing_packages(["json", "no_such_module"]) == ["no-such-module"]


def test_cache_folder_can_be_told(monkeypatch):
    monkeypatch.setenv("MOONCAKE_TE_CACHE", "somewhere")
    assert model.cache_root() == Path("somewhere")
    monkeypatch.delenv("MOONCAKE_TE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "base")
    assert model.cache_root() == Path("base") / "mooncake_te"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert model.cache_root() == Path(os.path.expanduser("~")) / ".cache" / "mooncake_te"
