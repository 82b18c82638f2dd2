"""The module that gopy builds from gocore/pyapi: it answers what Go answers, and what the ctypes package says."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mooncake_te as te

ROOT = Path(__file__).resolve().parents[2]
Ask = Callable[..., list[dict[str, str]]]


def documents() -> list[str]:
    return [path.read_text() for path in sorted((ROOT / "gocore/descriptor/testdata").glob("*/*.json"))]


def value(answer: dict[str, str]) -> Any:
    assert not answer["error"]
    return json.loads(answer["value"])


def test_decodes_and_compares_as_go_does(python_client: Ask, go_client: Ask) -> None:
    known = documents()
    assert len(known) > 20
    calls = [("Decode", document) for document in [*known, "", "{}", '{"name":"é","name":1}']]
    calls += [("Diff", before, after) for before in known[:3] for after in ["", *known[-3:]]]
    answers = python_client(*calls)
    assert answers == go_client(*calls)
    assert all(answer["value"] for answer in answers[: len(known)])
    assert [answer["error"].split(":")[1].strip() for answer in answers[len(known) : len(known) + 3]] == [
        "METADATA_INVALID"
    ] * 3


def test_describes_a_real_engine(
    python_client: Ask, go_client: Ask, command_line: Callable[..., Any], server: str
) -> None:
    with te.Engine("decode-0", metadata=server) as engine:
        buffers = [engine.allocate(4096, name="kv"), engine.allocate(8192)]
        calls = [("Describe", "decode-0"), ("List",), ("Describe", "nobody"), ("Describe", "a/b")]
        answers = python_client(*calls, url=server)
        assert without_revision(answers) == without_revision(go_client(*calls, url=server))

        described = value(answers[0])
        for told in (
            engine.describe("decode-0"),
            command_line("describe", "decode-0", "--metadata", server, "--json"),
        ):
            assert settled(told) == settled(described)
        assert described["from"] == "owner"
        assert described["owner"]["instance_id"] == engine.instance == described["descriptor"]["instance_id"]
        assert described["descriptor"]["addresses"] == list(engine.info.addresses)
        assert [(int(b["id"]), b["length"], b["label"]) for b in described["descriptor"]["buffers"]] == [
            (b.id, b.nbytes, label) for b, label in zip(buffers, ["kv", ""], strict=True)
        ]
        assert [entry["name"] for entry in value(answers[1])] == ["decode-0"]
        assert value(answers[2])["descriptor"] is None
        assert "INVALID_ARGUMENT" in answers[3]["error"]

        engine.drain(buffers[1])
        after = python_client(("Describe", "decode-0"), url=server)[0]["value"]
        (changes,) = python_client(("Diff", answers[0]["value"], after))
        gone = [change for change in value(changes) if change["what"] == "buffer"]
        assert [(change["buffer"], change["to"]) for change in gone] == [(buffers[1].id, "")]


def settled(found: Any) -> Any:
    """Without what the store counts: it moves on between two questions."""
    return {key: item for key, item in found.items() if key not in ("revision", "head_revision")} if found else found


def without_revision(answers: list[dict[str, str]]) -> list[Any]:
    out: list[Any] = []
    for answer in answers:
        found = json.loads(answer["value"] or "null")
        out.append((list(map(settled, found)) if isinstance(found, list) else settled(found), answer["error"]))
    return out


def test_many_threads_get_the_same_answers(python_client: Ask) -> None:
    calls = [("Decode", document) for document in documents()] * 20
    assert len(python_client(*calls, threads=8)) == len(calls)


def test_a_dead_store_is_an_error(python_client: Ask) -> None:
    (answer,) = python_client(("Describe", "a"), url="http://127.0.0.1:1/metadata")
    assert "METADATA_UNAVAILABLE" in answer["error"]
