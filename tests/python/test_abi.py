"""_abi.py against capi/te.h: numbers, structures, prototypes."""

from __future__ import annotations

import ctypes
import re

from checkout import ROOT
from mooncake_te import _abi

HEADER = re.sub(r"/\*.*?\*/", "", (ROOT / "capi/te.h").read_text(), flags=re.S)
SIZES = {"uint32_t": 4, "int32_t": 4, "uint64_t": 8, "int64_t": 8}


def _c_fields(struct: str) -> list[tuple[str, int]]:
    body = re.search(r"typedef struct " + struct + r" \{(.*?)\}", HEADER, re.S)
    assert body
    fields = []
    for kind, star, name in re.findall(r"([\w ]+?)\s+(\*?)(\w+);", body[1]):
        fields.append((name, 8 if star else SIZES[kind.strip()]))
    return fields


def test_structures() -> None:
    pairs = {
        "te_registration": _abi.Registration,
        "te_batch_request": _abi.BatchRequest,
        "te_batch_status": _abi.BatchStatus,
    }
    for name, structure in pairs.items():
        ours = [(field[0], ctypes.sizeof(field[1])) for field in structure._fields_]
        assert ours == _c_fields(name)


def test_every_function_has_a_prototype_of_the_right_length() -> None:
    found = {}
    for name, arguments in re.findall(r"\b(te_\w+)\(([^)]*)\);", HEADER):
        found[name] = 0 if arguments.strip() == "void" else arguments.count(",") + 1
    assert found == {name: len(arguments) for name, (_, arguments) in _abi.PROTOTYPES.items()}


def test_constants() -> None:
    numbers = {name: int(n) for name, n in re.findall(r"\bTE_(\w+) = (\d+)", HEADER)}
    defines = {name: int(n) for name, n in re.findall(r"#define TE_(\w+) (\d+)", HEADER)}
    assert (_abi.ABI_MAJOR, _abi.ABI_MINOR) == (defines["ABI_MAJOR"], defines["ABI_MINOR"])
    assert (_abi.READ, _abi.WRITE) == (numbers["READ"], numbers["WRITE"])
    assert _abi.CLASSES == {"latency": numbers["CLASS_LATENCY"], "bulk": numbers["CLASS_BULK"]}
    read, write = numbers["PERM_READ"], numbers["PERM_WRITE"]
    assert _abi.PERMISSIONS == {"r": read, "w": write, "rw": read | write}
    assert [numbers[name] for name in _abi.OUTCOMES] == [0, 1, 2, 3, 4]
    assert (_abi.CRC_OFF, _abi.CRC_ON) == (numbers["BATCH_CRC_OFF"], numbers["BATCH_CRC_ON"])
    remote = (_abi.REMOTE_NONE, _abi.REMOTE_ALL, _abi.REMOTE_GRANTS)
    assert remote == (numbers["REMOTE_NONE"], numbers["REMOTE_ALL"], numbers["REMOTE_GRANTS"])
