"""Arguments and environment to the JSON document."""

from __future__ import annotations

import json
import math
import re

import pytest

import mooncake_te as te
from checkout import ROOT
from mooncake_te import _config


def test_keys_are_those_of_the_core() -> None:
    source = (ROOT / "gocore/config/config.go").read_text()
    assert set(_config.KEYS) == set(re.findall(r"`json:\"(\w+)\"`", source))


def test_precedence() -> None:
    environment = {
        "MOONCAKE_TE_DRAIN_MS": "7",
        "MOONCAKE_TE_STALL_MS": "500",
        "MC_TRANSFER_TIMEOUT": "9",
        "MC_LOG_LEVEL": "WARN",
    }
    document = json.loads(_config.document({"drain_ms": 1, "listen": None}, {"drain_ms": 2, "crc": False}, environment))
    sources = {"stall_ms": "MOONCAKE_TE_STALL_MS", "log_level": "MC_LOG_LEVEL"}
    assert document == {"drain_ms": 1, "crc": False, "stall_ms": 500, "log_level": "warning", "sources": sources}


def test_lists_and_booleans_from_the_environment() -> None:
    environment = {"MOONCAKE_TE_ADVERTISE": "a:1, b:2", "MOONCAKE_TE_CRC": "off"}
    document = json.loads(_config.document({}, None, environment))
    assert set(document.pop("sources")) == {"advertise", "crc"}
    assert document == {"advertise": ["a:1", "b:2"], "crc": False}


def test_bad_environment_is_named_all_at_once() -> None:
    with pytest.raises(te.InvalidArgument) as caught:
        _config.document({}, None, {"MOONCAKE_TE_CRC": "perhaps", "MOONCAKE_TE_DRAIN_MS": "soon"})
    assert "MOONCAKE_TE_CRC" in str(caught.value)
    assert "MOONCAKE_TE_DRAIN_MS" in str(caught.value)


def test_what_comes_from_the_environment_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mooncake_te")
    _config.document({}, None, {"MOONCAKE_TE_PSK": "very secret indeed", "MC_LOG_LEVEL": "INFO"})
    assert "MC_LOG_LEVEL, MOONCAKE_TE_PSK" in caplog.text
    assert "secret" not in caplog.text


def test_unknown_variable_is_logged_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    assert _config.document({}, None, {"MOONCAKE_TE_TYPO": "1", "MOONCAKE_TE_LIBRARY": "x"}) == "{}"
    assert "MOONCAKE_TE_TYPO" in caplog.text
    assert "MOONCAKE_TE_LIBRARY" not in caplog.text


def test_value_that_is_no_json() -> None:
    with pytest.raises(te.InvalidArgument):
        _config.document({"drain_ms": object()}, None, {})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_named(value: float) -> None:
    with pytest.raises(te.InvalidArgument, match="drain_ms: "):
        _config.document({"drain_ms": value}, None, {})


def test_config_is_a_mapping() -> None:
    for config in (3, "drain_ms", ["drain_ms"]):
        with pytest.raises(te.InvalidType, match="config: want a mapping"):
            te.Engine(config=config)


def test_every_variable_is_documented() -> None:
    text = (ROOT / "docs/config.md").read_text()
    for variable in _config.MOONCAKE:
        assert variable in text
    assert "MOONCAKE_TE_LIBRARY" in text
