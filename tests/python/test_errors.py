"""The tree of exceptions: the same table as C and Go, built-in bases, whole through pickle."""

from __future__ import annotations

import pickle
import re

import pytest

import mooncake_te as te
from checkout import ROOT
from mooncake_te._errors import CODES, from_details


def test_codes_equal_the_header() -> None:
    header = (ROOT / "capi/te.h").read_text()
    table = {int(number): name for name, number in re.findall(r"TE_E_(\w+) = (-\d+)", header)}
    assert {code: kind._name for code, kind in CODES.items()} == table


def test_codes_equal_the_core() -> None:
    source = (ROOT / "gocore/errcode/errcode.go").read_text()
    numbers = {name: int(n) for name, n in re.findall(r"^\t(\w+) +Code = (-?\d+)", source, re.M)}
    names = dict(re.findall(r"(\w+): \"([A-Z_]+)\"", source))
    assert {numbers[go]: text for go, text in names.items() if go != "OK"} == {c: k._name for c, k in CODES.items()}


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (te.ForkedProcessError, RuntimeError),
        (te.InvalidArgument, ValueError),
        (te.InvalidType, TypeError),
        (te.InvalidType, ValueError),
        (te.WaitTimeout, TimeoutError),
        (te.DeadlineExceeded, TimeoutError),
        (te.Stalled, TimeoutError),
        (te.PeerUnreachable, ConnectionError),
        (te.PeerDead, ConnectionError),
        (te.SegmentNotFound, LookupError),
        (te.StaleBuffer, LookupError),
        (te.OutOfBounds, IndexError),
        (te.PermissionDenied, PermissionError),
        (te.MemoryFault, BufferError),
        (te.Unsupported, NotImplementedError),
    ],
)
def test_builtin_bases(kind: type[te.TransferError], builtin: type[Exception]) -> None:
    with pytest.raises(builtin):
        raise kind("x")
    assert issubclass(kind, te.TransferError)


@pytest.mark.parametrize("kind", [*CODES.values(), te.InvalidType], ids=lambda kind: kind.__name__)
def test_pickle_keeps_everything(kind: type[te.TransferError]) -> None:
    error = kind("what", segment="s", peer="p", device="d", hint="do", outcome="UNKNOWN", remote_quiet=False)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert str(again) == str(error)
    assert (again.code, again.name, again.segment, again.peer, again.device) == (error.code, error.name, "s", "p", "d")
    assert (again.hint, again.outcome, again.remote_quiet) == ("do", "UNKNOWN", False)


def test_text_names_what_and_hint() -> None:
    error = te.StaleBuffer("buffer 7", segment="prefill-0", hint="ask again")
    assert str(error) == "STALE_BUFFER: buffer 7 [segment prefill-0] (ask again)"


def test_unknown_code_is_internal_and_keeps_its_number() -> None:
    error = from_details(-999, {"name": "NEW", "detail": "d"})
    assert isinstance(error, te.InternalError)
    assert (error.code, error.name) == (-999, "NEW")
