"""Turns keyword arguments and the environment into the engine's one JSON document (docs/config.md).

The Go library does not see what a program puts into os.environ after its start, so the environment is read here. An
explicit argument wins over MOONCAKE_TE_*, which wins over Mooncake's MC_* name for the same thing.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Mapping
from typing import Any

from ._errors import InvalidArgument, InvalidType

_logger = logging.getLogger("mooncake_te")
_PREFIX = "MOONCAKE_TE_"
# Read by the package itself, not settings of an engine.
_OURS = {
    "MOONCAKE_TE_CACHE",
    "MOONCAKE_TE_LIBRARY",
    "MOONCAKE_TE_OUTAGE",
    "MOONCAKE_TE_PREBUILT",
    "MOONCAKE_TE_PYTHON",
    "MOONCAKE_TE_TRIALS",
}


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "true", "yes", "on"):
        return True
    if word in ("0", "false", "no", "off"):
        return False
    raise ValueError("want 1 or 0")


def _list(text: str) -> list[str]:
    return [entry.strip() for entry in text.split(",") if entry.strip()]


def _level(text: str) -> str:
    return {"TRACE": "debug", "WARN": "warning", "FATAL": "error"}.get(text.upper(), text.lower())


# Key of the document -> how its text in the environment is read.
KEYS: dict[str, Callable[[str], Any]] = {
    "name": str,
    "metadata": str,
    "metadata_cluster_id": str,
    "metadata_token": str,
    "metadata_tls_cert": str,
    "metadata_tls_key": str,
    "metadata_tls_ca": str,
    "metadata_timeout_ms": int,
    "lease_ttl_ms": int,
    "lease_renew_ms": int,
    "takeover": _boolean,
    "name_wait_ms": int,
    "interop": str,
    "listen": str,
    "advertise": _list,
    "data_listen": str,
    "data_advertise": _list,
    "transports": _list,
    "crc": _boolean,
    "chunk_bytes": int,
    "connections_per_peer": int,
    "drain_ms": int,
    "heartbeat_ms": int,
    "dial_timeout_ms": int,
    "open_timeout_ms": int,
    "stall_ms": int,
    "metadata_cache_ttl_ms": int,
    "dereg_grace_ms": int,
    "disable_metacache": _boolean,
    "max_batches": int,
    "max_queued_requests": int,
    "max_peer_bytes_in_flight": int,
    "max_inbound_connections": int,
    "max_sessions": int,
    "max_notify_bytes": int,
    "max_notifications": int,
    "max_grants": int,
    "max_allocated_bytes": int,
    "psk": str,
    "tls_cert": str,
    "tls_key": str,
    "tls_ca": str,
    "log_level": _level,
}

# Mooncake's names that mean the same as a key of ours: (key, how its text is read). Others are ignored.
MOONCAKE: dict[str, tuple[str, Callable[[str], Any]]] = {
    "MC_LOG_LEVEL": ("log_level", _level),
    "MC_METADATA_CLUSTER_ID": ("metadata_cluster_id", str),
    "MC_METADATA_CACHE_TTL_MS": ("metadata_cache_ttl_ms", int),
    "MC_METADATA_DEREG_GRACE_MS": ("dereg_grace_ms", int),
    "MC_DISABLE_METACACHE": ("disable_metacache", _boolean),
    "MC_TRANSFER_TIMEOUT": ("stall_ms", lambda text: 1000 * int(text)),
}


def from_environment(environment: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The settings in the environment, the variable that each came from, and what is wrong with them."""
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    problems: list[str] = []
    named = {variable: entry for variable, entry in MOONCAKE.items() if variable in environment}
    for variable in sorted(v for v in environment if v.startswith(_PREFIX) and v not in _OURS):
        key = variable.removeprefix(_PREFIX).lower()
        if key in KEYS:
            named[variable] = (key, KEYS[key])
        else:
            _logger.warning("%s is not a setting of mooncake_te; it is ignored", variable)
    if named:
        _logger.info("settings from the environment: %s", ", ".join(named))
    for variable, (key, read) in named.items():
        text = environment[variable]
        try:
            found[key], sources[key] = read(text), variable
        except ValueError as error:
            problems.append(f"{variable}={text!r}: {error}")
    return found, sources, problems


def document(
    settings: Mapping[str, Any], config: Mapping[str, Any] | None, environment: Mapping[str, str] | None = None
) -> str:
    """The JSON document of an engine. Values are checked by the library, which reports all problems at once."""
    if config is not None and not isinstance(config, Mapping):
        raise InvalidType(f"config: want a mapping, got {type(config).__name__}", hint="see docs/config.md")
    found, sources, problems = from_environment(os.environ if environment is None else environment)
    given = {**(config or {}), **{key: value for key, value in settings.items() if value is not None}}
    merged = {**found, **given}
    if sources := {key: variable for key, variable in sources.items() if key not in given}:
        merged["sources"] = sources
    for key, value in merged.items():
        if isinstance(value, float) and not math.isfinite(value):
            problems.append(f"{key}: {value} is not a number that can be meant")
    try:
        text = json.dumps(merged)
    except (TypeError, ValueError) as error:
        problems.append(str(error))
        text = "{}"
    if problems:
        raise InvalidArgument(
            f"{len(problems)} problem(s): " + "; ".join(problems), op="read configuration", hint="see docs/config.md"
        )
    return text
