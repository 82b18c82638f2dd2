"""Bad input gets a typed error that names what was wrong, before a byte moves."""

from __future__ import annotations

import socket
from array import array
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

import mooncake_te as te


@pytest.fixture
def local(pair) -> te.Buffer:
    return pair.user.register(bytearray(1000))


@pytest.fixture
def remote(pair) -> te.RemoteBuffer:
    return pair.offer(bytearray(1000))


def test_closed_engine(make_engine: Callable[..., te.Engine]) -> None:
    engine = make_engine("gone")
    buffer = engine.register(bytearray(10))
    peer = engine.open(engine.address)
    handle = buffer.remote()
    engine.close()
    for call in (
        lambda: engine.register(bytearray(10)),
        lambda: engine.open("127.0.0.1:1"),
        lambda: engine.allocate(10),
        lambda: engine.status(),
        lambda: engine.metrics(),
        lambda: engine.notifications(),
        lambda: buffer.remote(),
        lambda: buffer.grant(),
        lambda: peer.read(into=buffer, from_=handle),
        lambda: peer.buffers(),
        lambda: peer.ping(),
        lambda: peer.notify(b"x"),
        lambda: peer.refresh(),
    ):
        with pytest.raises(te.Closed, match="closed"):
            call()
    assert engine.closed
    engine.close()
    buffer.close()
    peer.close()


def test_closed_buffer(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    local.close()
    with pytest.raises(te.Closed, match=f"buffer {local.id}"):
        pair.peer.read(into=local, from_=remote)
    with pytest.raises(te.Closed):
        local.remote()
    assert local.obj is None
    assert local.state == "closed"
    local.close()


def test_closed_segment(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    pair.peer.close()
    pair.peer.close()
    for call in (lambda: pair.peer.read(into=local, from_=remote), pair.peer.buffers, pair.peer.ping):
        with pytest.raises(te.Closed, match="segment"):
            call()


def test_moved_tensor(pair, needs_torch: Any, remote: te.RemoteBuffer) -> None:
    tensor = needs_torch.zeros(1000, dtype=needs_torch.uint8)
    buffer = pair.user.register(tensor)
    tensor.share_memory_()  # moves the data
    with pytest.raises(te.InvalidArgument, match="freed or moved"):
        pair.peer.read(into=buffer.as_bytes(), from_=remote)


def test_unreachable_peer(engine: te.Engine) -> None:
    with socket.socket() as taken:  # bound, not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(te.PeerUnreachable) as caught:
            engine.open(address, timeout=0.5)
        assert address in str(caught.value)
        with pytest.raises(ConnectionError):
            engine.open(address, timeout=0.5)


def test_somebody_else_listens_there(engine: te.Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(te.TransferError) as caught:
        engine.open(f"127.0.0.1:{server.getsockname()[1]}", timeout=1)
    assert isinstance(caught.value, (te.PeerUnreachable, te.Unsupported, te.DeadlineExceeded))


@pytest.mark.parametrize("name", ["no-such-host.invalid:17001", "prefill-0", "127.0.0.1:99999", ":::"])
def test_unresolvable_and_unknown_names(engine: te.Engine, name: str) -> None:
    with pytest.raises(te.TransferError) as caught:
        engine.open(name, timeout=0.5)
    assert isinstance(caught.value, (te.PeerUnreachable, te.SegmentNotFound, te.InvalidArgument))
    assert name.split(":")[0] in str(caught.value)


@pytest.mark.parametrize("name", ["", "a\0b", None, 17001])
def test_names_that_are_none(engine: te.Engine, name: Any) -> None:
    with pytest.raises(te.InvalidArgument, match="name"):
        engine.open(name)


def test_wrong_dtype_and_shape(pair, needs_numpy: Any) -> None:
    np = needs_numpy
    remote = pair.offer(np.zeros((2, 3), dtype=np.float32))
    with pytest.raises(te.InvalidArgument, match=r"dtype: 'into' is int32\[2, 3\], 'from_' is float32\[2, 3\]"):
        pair.peer.read(into=pair.user.register(np.zeros((2, 3), dtype=np.int32)), from_=remote)
    with pytest.raises(te.InvalidArgument, match=r"shape: .*\[3, 2\].*\[2, 3\]"):
        pair.peer.read(into=pair.user.register(np.zeros((3, 2), dtype=np.float32)), from_=remote)
    with pytest.raises(te.InvalidArgument, match="size: 'into' has 23 bytes"):
        pair.peer.read(into=pair.user.register(bytearray(23)), from_=remote)


def test_zero_length(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    with pytest.raises(te.InvalidArgument, match="zero length"):
        pair.user.register(bytearray())
    with pytest.raises(te.InvalidArgument, match="zero length"):
        pair.peer.read(into=local, from_=remote, into_offsets=[0], from_offsets=[0], lengths=[0])
    with pytest.raises(te.InvalidArgument, match="selects nothing"):
        remote[5:5]


def test_read_only_memory_as_a_target(pair, needs_numpy: Any, remote: te.RemoteBuffer) -> None:
    frozen = needs_numpy.zeros(1000, dtype="uint8")
    frozen.flags.writeable = False
    for obj, keywords in ((b"x" * 1000, {}), (frozen, {}), (bytearray(1000), {"readonly": True})):
        buffer = pair.user.register(obj, **keywords)
        assert buffer.readonly
        assert buffer.perm == "r"
        with pytest.raises(te.PermissionDenied, match="read-only|readonly"):
            pair.peer.read(into=buffer.as_bytes(), from_=remote)
    with pytest.raises(te.PermissionDenied, match="read-only"):
        pair.user.register(b"x", readonly=False)
    with pytest.raises(te.PermissionDenied, match="read-only"):
        pair.user.register(b"x", perm="rw")
    handle = pair.offer(b"constant" * 125)
    with pytest.raises(te.PermissionDenied, match="allows 'r' only"):
        pair.peer.write(from_=bytearray_of(pair), into=handle)
    with pytest.raises(te.PermissionDenied):  # the owner's own check, with a handle that lies
        pair.peer.write(from_=bytearray_of(pair), into=replace(handle, perm="rw")).wait(timeout=30)


def bytearray_of(pair) -> te.Buffer:
    return pair.user.register(bytearray(1000))


def test_grad_as_a_target(pair, needs_torch: Any) -> None:
    weight = needs_torch.zeros(10, requires_grad=True)
    remote = pair.offer(needs_torch.ones(10))
    with pytest.raises(te.PermissionDenied, match="detach"):
        pair.peer.read(into=pair.user.register(weight), from_=remote)
    pair.user.register(weight.detach())
    with pytest.raises(te.PermissionDenied, match="detach"):
        pair.peer.read(into=weight, from_=remote)
    pair.peer.read(into=weight.detach(), from_=remote).wait(timeout=30)
    assert weight.detach().eq(1).all()


def test_overlap_at_the_target(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    for call in (
        lambda: pair.peer.read(into=local, from_=remote, blocks=[(1, 0), (1, 2)], block_bytes=10),
        lambda: pair.peer.write(from_=local, into=remote, blocks=[(1, 0), (1, 2)], block_bytes=10),
        lambda: pair.peer.read(into=local, from_=remote, into_offsets=[0, 9], from_offsets=[0, 500], lengths=10),
        lambda: pair.peer.read(into=[local[:10], local[5:15]], from_=[remote[:10], remote[10:20]]),
        lambda: pair.peer.write(from_=[local[:10], local[10:20]], into=[remote[:10], remote[5:15]]),
    ):
        with pytest.raises(te.InvalidArgument, match="overlap at the target"):
            call()
    pair.peer.read(into=local, from_=remote, blocks=[(0, 1), (2, 1)], block_bytes=10).wait(timeout=30)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"blocks": [1, 2], "into_blocks": [1]}, "into_blocks has 1 entries"),
        ({"into_offsets": [1], "from_offsets": [1, 2], "lengths": 1}, "entries"),
        ({"blocks": [-1]}, "negative"),
        ({"blocks": [0.5]}, "float"),
        ({"blocks": [False]}, "bool"),
        ({"blocks": [100]}, "block 100 is outside"),
        ({"blocks": []}, "empty"),
        ({"blocks": range(2**20 + 1)}, "outside|too many"),
    ],
)
def test_bad_block_lists(pair, local: te.Buffer, remote: te.RemoteBuffer, keywords: dict[str, Any], text: str) -> None:
    if "blocks" in keywords:
        keywords = {**keywords, "block_bytes": 10}
    with pytest.raises(te.TransferError, match=text) as caught:
        pair.peer.read(into=local, from_=remote, **keywords)
    assert isinstance(caught.value, (te.InvalidArgument, te.OutOfBounds))


def test_lists_of_different_lengths(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    with pytest.raises(te.InvalidArgument, match="into has 2 entries, from_ has 1"):
        pair.peer.read(into=[local[:1], local[1:2]], from_=[remote[:1]])
    with pytest.raises(te.InvalidArgument, match="two lists or none"):
        pair.peer.read(into=[local], from_=remote)
    with pytest.raises(te.InvalidArgument, match="empty"):
        pair.peer.read(into=[], from_=[])


def test_too_many_requests(pair) -> None:
    many = 2**20 + 1
    local, remote = pair.user.register(bytearray(many)), pair.offer(bytearray(many))
    with pytest.raises(te.InvalidArgument, match="too many requests"):
        pair.peer.read(into=local, from_=remote, blocks=array("Q", range(many)), block_bytes=1)


def test_wrong_sides(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    buffer = pair.owner.buffers()[0]
    for into, from_, text in (
        (local, buffer, "use .remote"),
        (remote, remote, "is remote"),
        (bytearray(1000), remote, "not registered"),
        (buffer, remote, "another engine"),
        (local, "handle", "want a RemoteBuffer"),
        (local.grant(), remote, "Grant is for peers"),
        ([1], [remote], "not memory"),
    ):
        with pytest.raises(te.InvalidArgument, match=text):
            pair.peer.read(into=into, from_=from_)


def test_handle_of_another_segment(pair, make_engine: Callable[..., te.Engine], local: te.Buffer) -> None:
    stranger = make_engine("stranger").register(bytearray(1000)).remote()
    with pytest.raises(te.InvalidArgument, match="belongs to segment 'stranger', this is 'owner'"):
        pair.peer.read(into=local, from_=stranger)


def test_handle_of_another_instance(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    old = replace(remote, instance="0123456789abcdef" * 2)
    with pytest.raises(te.StaleInstance, match=r"segment was opened to instance .*refresh\(\)") as caught:
        pair.peer.read(into=local, from_=old)
    assert caught.value.peer == pair.owner.instance
    two = pair.user.register_all([bytearray(1000), bytearray(1000)])
    with pytest.raises(te.InvalidArgument, match="two instances"):
        pair.peer.read(into=two, from_=[remote, old])


def test_handles_of_engines_without_a_name(make_engine: Callable[..., te.Engine], local: te.Buffer) -> None:
    nameless = make_engine(None)
    peer = local.engine.open(nameless.address)
    handle = nameless.register(bytearray(1000)).remote()
    assert handle.segment == nameless.address == peer.name
    peer.read(into=local, from_=handle).wait(timeout=30)
    with pytest.raises(te.StaleInstance):
        peer.read(into=local, from_=replace(handle, instance="0123456789abcdef" * 2))


def test_handle_of_a_buffer_that_never_was(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    with pytest.raises(te.StaleBuffer):
        pair.peer.read(into=local, from_=replace(remote, id=999_999)).wait(timeout=30)


def test_handle_that_lies_about_its_length(pair, remote: te.RemoteBuffer) -> None:
    from mooncake_te._layout import contiguous

    big = pair.user.register(bytearray(2000))
    with pytest.raises(te.OutOfBounds):
        pair.peer.read(into=big, from_=replace(remote, length=2000, layout=contiguous(2000))).wait(timeout=30)


def test_port_in_use(make_engine: Callable[..., te.Engine]) -> None:
    first = make_engine("first")
    with pytest.raises(te.InvalidArgument, match="in use") as caught:
        make_engine("second", listen=first.address)
    assert first.address.split(":")[1] in str(caught.value)


def test_unresolvable_listen_name(make_engine: Callable[..., te.Engine]) -> None:
    with pytest.raises(te.TransferError, match=r"no-such-host\.invalid"):
        make_engine("x", listen="no-such-host.invalid:0")


def test_bad_configuration_names_all_problems(make_engine: Callable[..., te.Engine]) -> None:
    with pytest.raises(te.InvalidArgument) as caught:
        make_engine("x", chunk_bytes=1, typo=3, drain_ms="soon", log_level="loud")
    for word in ("chunk_bytes", "typo", "drain_ms", "log_level"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("keywords", "text"),
    [
        ({"remote": "sometimes"}, "remote"),
        ({"perm": "x"}, "perm"),
        ({"readonly": 1.5}, "readonly"),
        ({"name": 5}, "name"),
        ({"name": "n" * 257}, "256 bytes"),
        ({"location": 5}, "location"),
    ],
)
def test_bad_register_keywords(engine: te.Engine, keywords: dict[str, Any], text: str) -> None:
    with pytest.raises(te.InvalidArgument, match=text):
        engine.register(bytearray(10), **keywords)


def test_non_contiguous_registration(engine: te.Engine, needs_numpy: Any) -> None:
    with pytest.raises(te.InvalidArgument, match="not contiguous: its strides are"):
        engine.register(needs_numpy.zeros((4, 4))[:, 1])


@pytest.mark.parametrize(
    ("keywords", "error"),
    [
        ({"deadline": -1}, te.InvalidArgument),
        ({"deadline": "1"}, te.InvalidType),
        ({"stall": float("nan")}, te.InvalidArgument),
        ({"traffic": "fast"}, te.InvalidArgument),
        ({"checksum": 1}, te.InvalidType),
        ({"trace": -1}, te.InvalidArgument),
        ({"trace": 2**32}, te.InvalidArgument),
    ],
)
def test_bad_options(pair, local: te.Buffer, remote: te.RemoteBuffer, keywords: dict[str, Any], error: Any) -> None:
    with pytest.raises(error, match=next(iter(keywords))):
        pair.peer.read(into=local, from_=remote, **keywords)


def test_bad_wait_and_drain_arguments(pair, local: te.Buffer, remote: te.RemoteBuffer) -> None:
    batch = pair.peer.read(into=local, from_=remote)
    for timeout in (-1, "1", True):
        with pytest.raises(te.InvalidArgument, match="timeout"):
            batch.wait(timeout=timeout)
    batch.wait(timeout=30)
    with pytest.raises(te.InvalidType, match="drain"):
        pair.user.drain([remote])
    with pytest.raises(te.InvalidArgument, match="another engine"):
        pair.user.drain(pair.owner.buffers())
    with pytest.raises(te.InvalidArgument, match="timeout"):
        local.close(timeout=-1)


def test_bad_notify(pair) -> None:
    with pytest.raises(te.InvalidType, match="payload"):
        pair.peer.notify("text")
    with pytest.raises(te.InvalidType, match="tag"):
        pair.peer.notify(b"x", tag=3)
    with pytest.raises(te.InvalidArgument, match="after"):
        pair.peer.notify(b"x", after=object())
    with pytest.raises(te.TransferError, match=r"bytes|payload"):
        pair.peer.notify(bytes(5 << 20))


def test_bad_allocation(engine: te.Engine) -> None:
    for size in (0, -1, 1.5, True):
        with pytest.raises(te.InvalidArgument, match="nbytes"):
            engine.allocate(size)
    with pytest.raises(te.InvalidArgument, match="shape"):
        engine.empty((2, 0))
    with pytest.raises(te.InvalidArgument, match="framework"):
        engine.empty(3, framework="jax")
    with pytest.raises(te.InvalidArgument, match="dtype"):
        engine.empty(3, "no-such-dtype")
