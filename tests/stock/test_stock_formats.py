"""Our descriptors in the eyes of stock Mooncake, and its own in ours: the wheel of today, over HTTP and etcd."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from peers import Helper, StockEngine, Store

READ, READ_WRITE, READY = 1, 3, 1
ADDRESS = 0x7F1234567000
Starts = Callable[..., StockEngine]


def buffer(number: int, address: int, **more: Any) -> dict[str, Any]:
    """A descriptor.Buffer, by the names of its fields."""
    return {
        "ID": number,
        "Addr": address,
        "Length": 4096,
        "State": READY,
        "Perm": READ_WRITE,
        "Location": "cpu:0",
    } | more


def publish(helper: Helper, store: Store, name: str, prefix: str = "mooncake/", **segment: Any) -> dict[str, str]:
    segment = {"protocol": "tcp", "tcp_host": "127.0.0.1", "tcp_port": 15001, "rpc_port": 15002} | segment
    documents = helper.encode(name=name, **segment)
    for key, document in documents.items():
        store.put(prefix + key, document)
    return documents


def test_stock_reads_what_we_publish(store: Store, helper: Helper, start_engine: Starts) -> None:
    publish(helper, store, "ours", buffers=[buffer(3, ADDRESS), buffer(7, ADDRESS + 8192, Perm=READ, Label="kv")])
    assert start_engine("127.0.0.1:20001", store).call("first", "ours") == ADDRESS


def test_stock_reads_rdma(store: Store, helper: Helper, start_engine: Starts) -> None:
    devices = [{"Name": "mlx5_0", "GID": "fe80::1"}, {"Name": "mlx5_1", "GID": "fe80::2"}]
    documents = publish(
        helper, store, "rails", protocol="rdma", devices=devices, buffers=[buffer(1, ADDRESS, Keys=[5, 6])]
    )
    engine = start_engine("127.0.0.1:20002", store)
    assert engine.call("first", "rails") == ADDRESS

    # Why zeros stand for local keys: without them stock readers refuse all of it.
    document = json.loads(documents["ram/rails"])
    document["name"], document["buffers"][0]["lkey"] = "keyless", []
    store.put("mooncake/ram/keyless", json.dumps(document))
    assert engine.call("first", "keyless") == 0


def test_stock_reads_a_cluster_of_ours(store: Store, helper: Helper, start_engine: Starts) -> None:
    publish(helper, store, "apart", prefix="mooncake/west/", buffers=[buffer(1, ADDRESS)])
    assert start_engine("127.0.0.1:20003", store, MC_METADATA_CLUSTER_ID="west").call("first", "apart") == ADDRESS
    assert start_engine("127.0.0.1:20004", store).call("first", "apart") == 0


def test_stock_follows_a_new_descriptor(store: Store, helper: Helper, start_engine: Starts) -> None:
    publish(helper, store, "moving", buffers=[buffer(1, ADDRESS)])
    publish(helper, store, "moving", buffers=[buffer(2, ADDRESS + 4096)])
    assert start_engine("127.0.0.1:20005", store).call("first", "moving") == ADDRESS + 4096


@pytest.mark.parametrize("lengths", [[], [8192], [1, 65536, 4097]], ids=["none", "one", "three"])
def test_we_read_what_stock_publishes(store: Store, helper: Helper, start_engine: Starts, lengths: list[int]) -> None:
    name = f"127.0.0.1:{21000 + len(lengths)}"
    engine = start_engine(name, store)
    addresses = [engine.call("register", length) for length in lengths]
    document = store.get(f"mooncake/ram/{name}")
    shown = helper.decode(f"mooncake/ram/{name}", document)

    # Field by field: everything that the stock writer said, and nothing that it did not.
    said = json.loads(document)
    assert [(entry["addr"], entry["length"]) for entry in said["buffers"]] == list(zip(addresses, lengths, strict=True))
    assert shown["buffers"] == [
        {
            "id": str(place + 1),
            "addr": entry["addr"],
            "length": entry["length"],
            "state": "READY",
            "perm": "rw",
            "label": "",
            "location": "*" if entry["name"] == name else entry["name"],
        }
        for place, entry in enumerate(said["buffers"])
    ]
    assert set(said) <= {
        *("buffers", "name", "protocol", "rdma_server_name", "tcp_data_host", "tcp_data_port", "tcp_proto_version"),
        "timestamp",
    }, "this wheel says more than it did: read it"
    assert shown["stock"] == {
        "protocol": [said["protocol"]],
        "tcp_data_host": said["tcp_data_host"],
        "tcp_data_port": said["tcp_data_port"],
        "tcp_proto_version": said["tcp_proto_version"],
        "rdma_server_name": said["rdma_server_name"],
        "timestamp": said["timestamp"],
        "priority_matrix": None,
    }
    assert (shown["name"], shown["legacy"], shown["instance_id"]) == (name, True, "")
    assert (shown["metadata_version"], shown["owner_epoch"], shown["store_id"]) == (1, "0", "")
    assert (shown["devices"], shown["addresses"], shown["data_addresses"]) == ([], [], [])

    rpc = json.loads(store.get(f"mooncake/rpc_meta/{name}"))
    assert rpc["rpc_port"] == engine.call("rpc_port")
