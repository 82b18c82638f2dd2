"""RemoteBuffer as a value: it travels whole, is checked when read, and can be indexed."""

from __future__ import annotations

import json
import pickle
from array import array
from dataclasses import replace
from typing import Any

import pytest

import mooncake_te as te
from mooncake_te._layout import contiguous, typed

HANDLE = te.RemoteBuffer("prefill-0", "ab" * 16, 7, 640, typed((10, 4, 8), 2, "bfloat16"), name="k.0")


@pytest.mark.parametrize(
    "handle",
    [
        HANDLE,
        HANDLE[3],
        HANDLE[:, 1],
        HANDLE.as_bytes(),
        HANDLE[0, 0, 0],
        replace(HANDLE, layout=contiguous(640), perm="r", ranges=((0, 64), (128, 64))),
    ],
    ids=repr,
)
def test_travels_whole(handle: te.RemoteBuffer) -> None:
    for again in (te.RemoteBuffer.from_json(handle.to_json()), pickle.loads(pickle.dumps(handle))):
        assert again == handle
        assert hash(again) == hash(handle)
        assert again.name == handle.name
        assert (again.dtype, again.shape, again.nbytes) == (handle.dtype, handle.shape, handle.nbytes)


def test_json_is_small_and_plain() -> None:
    plain = replace(HANDLE, layout=contiguous(640), name="")
    assert json.loads(plain.to_json()) == {
        "v": 1,
        "segment": "prefill-0",
        "instance": "ab" * 16,
        "id": 7,
        "length": 640,
        "perm": "rw",
    }
    assert len(HANDLE.to_json()) < 220


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"v": None},
        {"instance": "short"},
        {"instance": "XY" * 16},
        {"id": 0},
        {"id": -1},
        {"id": 1.5},
        {"id": True},
        {"length": 0},
        {"length": 8},
        {"perm": "x"},
        {"shape": [10, 4, 9]},
        {"shape": [0]},
        {"shape": 7},
        {"offset": 600},
        {"offset": -1},
        {"itemsize": 0},
        {"strides": [2]},
        {"strides": [-64, 16, 2]},
        {"ranges": [[0]]},
        {"ranges": [[0, 0]]},
        {"ranges": []},
        {"ranges": 7},
        {"ranges": [[64, 64], [0, 64]]},
        {"ranges": [[0, 64], [32, 64]]},
        {"ranges": [[0, 641]]},
        {"ranges": {"0": 1}},
        {"segment": 7},
        {"segment": None},
        {"segment": "\ud800"},
        {"name": ["x"]},
        {"dtype": 7},
        {"perm": ["r"]},
        {"perm": ""},
        {"instance": 7},
        {"id": 10**30},
        {"length": 10**30},
        {"length": "640"},
        {"offset": None},
        {"shape": [2**40] * 1000},
        {"shape": "444"},
        {"strides": [1.5, 16, 2]},
        {"strides": [10**30, 16, 2]},
    ],
    ids=str,
)
def test_bad_handles_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(te.InvalidArgument, match="handle"):
        te.RemoteBuffer.from_dict({**HANDLE.to_dict(), **change})


@pytest.mark.parametrize("missing", ["v", "segment", "instance", "id", "length", "perm", "offset", "itemsize"])
def test_missing_fields_are_named(missing: str) -> None:
    fields = HANDLE[1].to_dict()
    del fields[missing]
    with pytest.raises(te.InvalidArgument, match=f"handle.{missing}"):
        te.RemoteBuffer.from_dict(fields)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "null", "{}", "7", '"x"', b"\xff\xfe\xfa", "[" * 100_000, '{"v": 1' + "0" * 5000 + "}", None, 7],
    ids=lambda text: repr(text)[:12],
)
def test_not_a_handle(text: Any) -> None:
    with pytest.raises(te.InvalidArgument, match="handle"):
        te.RemoteBuffer.from_json(text)


def test_typed_knows_its_dtypes(needs_numpy: Any) -> None:
    plain = HANDLE.as_bytes()
    for dtype in ("float16", needs_numpy.float16, needs_numpy.dtype("float16")):
        assert plain.typed(dtype, (320,), 2).dtype == "float16"
    for dtype, itemsize in (("float8_e4m3fn", 1), ("bool", 1), ("complex64", 8)):
        assert plain.typed(dtype, (640 // itemsize,), itemsize).dtype == dtype
    for dtype in ("flot16", "", None, 7, "float17"):
        with pytest.raises(te.InvalidArgument, match="dtype"):
            plain.typed(dtype, (320,), 2)
    with pytest.raises(te.InvalidArgument, match="itemsize: an element of float16 has 2 bytes, not 4"):
        plain.typed("float16", (160,), 4)
    with pytest.raises(te.InvalidType, match="shape"):
        plain.typed("float16", 320, 2)


def test_index_and_typed() -> None:
    assert HANDLE[2].layout.offset == 128
    assert HANDLE[2].shape == (4, 8)
    assert len(HANDLE) == 10
    plain = HANDLE.as_bytes()
    assert (plain.dtype, plain.shape) == (None, (640,))
    assert plain.typed("bfloat16", (10, 4, 8), 2) == HANDLE
    with pytest.raises(te.InvalidArgument, match="typed"):
        plain.typed("float32", (10, 4, 8), 4)
    with pytest.raises(te.InvalidArgument, match="contiguous"):
        HANDLE[:, 1].as_bytes()
    with pytest.raises(te.InvalidType):
        len(HANDLE[0, 0, 0])


def test_granted_ranges_are_checked() -> None:
    grant = replace(HANDLE, ranges=((64, 64), (256, 128)))
    grant._require_granted(array("Q", [64, 320]), array("Q", [64]))
    grant._require_granted(array("Q", [100]), array("Q", [1]))
    for offset, length in ((0, 64), (63, 2), (64, 65), (128, 1), (383, 2), (2**64 - 1, 1)):
        with pytest.raises(te.OutOfBounds):
            grant._require_granted(array("Q", [offset]), array("Q", [length]))


def test_permission_is_checked() -> None:
    replace(HANDLE, perm="r")._require("r")
    with pytest.raises(te.PermissionDenied, match="write"):
        replace(HANDLE, perm="r")._require("w")


def test_repr_names_it() -> None:
    assert repr(HANDLE) == "<RemoteBuffer 7 'k.0' at prefill-0: bfloat16[10, 4, 8]>"
    assert "of 640 bytes" in repr(HANDLE[3])
