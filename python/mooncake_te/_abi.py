"""Constants, structures and prototypes of capi/te.h, as ctypes sees them. Nothing is loaded here.

A test compares the numbers, the structures and the prototypes with the header.
"""

from __future__ import annotations

import ctypes as c
from typing import Any

ABI_MAJOR = 1
ABI_MINOR = 0

READ, WRITE = 1, 2
CLASSES = {"latency": 0, "bulk": 1}
PERMISSIONS = {"r": 1, "w": 2, "rw": 3}
REMOTE_NONE, REMOTE_ALL, REMOTE_GRANTS = 0, 1, 2
OUTCOMES = ("PENDING", "COMPLETED", "NOT_APPLIED", "UNKNOWN", "PARTIAL")
COMPLETED = 1
CRC_OFF, CRC_ON = 1, 2
MAX_REQUESTS = 1_048_576
MAX_LABEL_BYTES = 256

OK = 0
FORKED = -2
BUFFER_TOO_SMALL = -3
WAIT_TIMEOUT = -8


class Registration(c.Structure):
    """te_registration."""

    _fields_ = (
        ("struct_size", c.c_uint32),
        ("remote", c.c_uint32),
        ("perm", c.c_uint32),
        ("writable", c.c_uint32),
        ("address", c.c_uint64),
        ("length", c.c_uint64),
        ("label", c.c_char_p),
        ("location", c.c_char_p),
    )


class BatchRequest(c.Structure):
    """te_batch_request. The arrays are addresses here: they are made from array('Q')."""

    _fields_ = (
        ("struct_size", c.c_uint32),
        ("op", c.c_uint32),
        ("class_", c.c_uint32),
        ("flags", c.c_uint32),
        ("segment", c.c_uint64),
        ("n", c.c_uint64),
        ("local_ids", c.c_void_p),
        ("local_offsets", c.c_void_p),
        ("remote_ids", c.c_void_p),
        ("remote_offsets", c.c_void_p),
        ("lengths", c.c_void_p),
        ("local_id_count", c.c_uint32),
        ("remote_id_count", c.c_uint32),
        ("length_count", c.c_uint32),
        ("trace", c.c_uint32),
        ("deadline_ms", c.c_int64),
        ("stall_ms", c.c_int64),
        ("expected_instance", c.c_char_p),
    )


class BatchStatus(c.Structure):
    """te_batch_status: the library writes it, `state` last."""

    _fields_ = (
        ("state", c.c_uint32),
        ("outcome", c.c_uint32),
        ("cause", c.c_int32),
        ("remote_quiet", c.c_uint32),
        ("bytes_done", c.c_uint64),
        ("bytes_total", c.c_uint64),
    )


_u32, _u64, _i32, _i64, _size, _text, _address = (
    c.c_uint32,
    c.c_uint64,
    c.c_int32,
    c.c_int64,
    c.c_size_t,
    c.c_char_p,
    c.c_void_p,
)
_out_u64 = c.POINTER(c.c_uint64)
_out_text: tuple[Any, ...] = (c.c_void_p, c.c_size_t, c.POINTER(c.c_size_t))

# name -> (result, arguments)
PROTOTYPES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "te_abi_version": (_u32, ()),
    "te_version": (_i32, _out_text),
    "te_last_error": (_i32, _out_text),
    "te_runtime_set": (_i32, (_text, _i64)),
    "te_engine_create": (_i32, (_text, _out_u64)),
    "te_engine_close": (_i32, (_u64, _i64, _out_u64)),
    "te_engine_destroy": (_i32, (_u64,)),
    "te_engine_event_fd": (_i32, (_u64, c.POINTER(c.c_int))),
    "te_engine_query": (_i32, (_u64, _text, *_out_text)),
    "te_buffer_register": (_i32, (_u64, c.POINTER(Registration), _size, _address)),
    "te_buffer_drain": (_i32, (_u64, _address, _size, _i64, _out_u64)),
    "te_buffer_grant": (_i32, (_u64, _u64, _address, _address, _size, _u32, _text, _out_u64)),
    "te_memory_allocate": (_i32, (_u64, _u64, _out_u64)),
    "te_memory_free": (_i32, (_u64, _u64)),
    "te_segment_open": (_i32, (_u64, _text, _i64, _out_u64)),
    "te_segment_open_anew": (_i32, (_u64, _text, _i64, _out_u64)),
    "te_segment_lookup": (_i32, (_u64, _text, _out_u64)),
    "te_segment_describe": (_i32, (_u64, _text, _i64, _out_u64)),
    "te_engine_claim": (_i32, (_u64, _i32, _i64, _i64, _out_u64)),
    "te_engine_sync": (_i32, (_u64, _i64, _out_u64)),
    "te_segment_refresh": (_i32, (_u64, _u64, _i64, _out_u64)),
    "te_segment_query": (_i32, (_u64, _u64, *_out_text)),
    "te_segment_close": (_i32, (_u64, _u64)),
    "te_segment_ping": (_i32, (_u64, _u64, _i64, _out_u64)),
    "te_segment_notify": (_i32, (_u64, _u64, _text, _size, _text, _u64, _i64, _out_u64)),
    "te_batch_submit": (_i32, (_u64, c.POINTER(BatchRequest), _out_u64, c.POINTER(c.c_void_p))),
    "te_batch_wait": (_i32, (_u64, _u64, _i32)),
    "te_batch_arm": (_i32, (_u64, _u64)),
    "te_batch_cancel": (_i32, (_u64, _u64)),
    "te_batch_outcomes": (_i32, (_u64, _u64, _u64, _u64, _address, _address)),
    "te_batch_explain": (_i32, (_u64, _u64, *_out_text)),
    "te_batch_free": (_i32, (_u64, _u64)),
    "te_task_wait": (_i32, (_u64, _u64, _i32)),
    "te_task_arm": (_i32, (_u64, _u64)),
    "te_task_result": (_i32, (_u64, _u64, *_out_text)),
    "te_task_free": (_i32, (_u64, _u64)),
    "te_metadata_server_start": (_i32, (_text, _out_u64)),
    "te_metadata_server_address": (_i32, (_u64, *_out_text)),
    "te_metadata_server_stop": (_i32, (_u64,)),
}
