"""What can be registered, what is refused and why, and what is held."""

from __future__ import annotations

import array as array_module
import ctypes
import gc
import mmap
import sys
import weakref
from typing import Any

import pytest

import mooncake_te as te
from mooncake_te._memory import describe


def test_bytearray_is_pinned() -> None:
    data = bytearray(100)
    memory = describe(data)
    assert (memory.nbytes, memory.layout.dtype, memory.readonly) == (100, None, None)
    assert memory.address == ctypes.addressof(ctypes.c_char.from_buffer(data))
    with pytest.raises(BufferError):
        data.extend(b"x")
    del memory
    gc.collect()
    data.extend(b"x")


def test_bytes_are_read_only() -> None:
    memory = describe(b"abc")
    assert memory.readonly == "the bytes is read-only"
    assert ctypes.string_at(memory.address, 3) == b"abc"


def test_memoryview_and_array() -> None:
    numbers = array_module.array("d", [1.0, 2.0])
    memory = describe(numbers)
    assert (memory.layout.dtype, memory.layout.shape) == ("float64", (2,))
    part = describe(memoryview(numbers)[1:])
    assert part.address == memory.address + 8
    grid = describe(memoryview(bytearray(12)).cast("B", (3, 4)))
    assert (grid.layout.dtype, grid.layout.shape) == ("uint8", (3, 4))
    assert not describe(memoryview(bytearray(12))[::2]).layout.contiguous
    assert describe(memoryview(bytearray(12)).toreadonly()).readonly


def test_mmap_cannot_be_closed_while_held() -> None:
    with mmap.mmap(-1, 4096) as area:
        memory = describe(area)
        assert memory.nbytes == 4096
        with pytest.raises(BufferError):
            area.close()
        del memory
        gc.collect()


def test_address_and_length() -> None:
    memory = describe((4096, 8192))
    assert (memory.address, memory.nbytes, memory.readonly) == (4096, 8192, None)


@pytest.mark.parametrize(
    "obj",
    [(4096, 0), (0, 4096), (4096, -1), (2**64 - 1, 2), (4096,), (1, 2, 3), (4096, 1.0), (True, 4096), bytearray(), b""],
)
def test_bad_ranges_and_zero_length(obj: Any) -> None:
    with pytest.raises(te.InvalidArgument):
        describe(obj)


@pytest.mark.parametrize("obj", ["text", [1, 2], {"a": 1}, 7, None, object()])
def test_no_memory(obj: Any) -> None:
    with pytest.raises(te.InvalidType, match="not memory that can be registered"):
        describe(obj)


class TestNumpy:
    @pytest.fixture(autouse=True)
    def _numpy(self, needs_numpy: Any) -> None:
        self.np = needs_numpy

    def test_array(self) -> None:
        array = self.np.zeros((3, 4), dtype=self.np.float32)
        memory = describe(array)
        assert (memory.layout.dtype, memory.layout.shape, memory.nbytes) == ("float32", (3, 4), 48)
        assert memory.address == array.ctypes.data
        assert describe(array[:, 1]).layout.strides == (16,)
        assert describe(self.np.array(1.0)).layout.shape == ()

    def test_read_only(self) -> None:
        array = self.np.zeros(3)
        array.flags.writeable = False
        assert describe(array).readonly == "the numpy array is read-only"

    def test_names_are_those_of_torch(self) -> None:
        for name in ("bool", "int8", "uint8", "int64", "float16", "complex64"):
            assert describe(self.np.zeros(2, dtype=name)).layout.dtype == name

    def test_bfloat16(self, needs_ml_dtypes: Any) -> None:
        memory = describe(self.np.zeros(2, dtype=needs_ml_dtypes.bfloat16))
        assert (memory.layout.dtype, memory.nbytes) == ("bfloat16", 4)

    def test_refused(self) -> None:
        with pytest.raises(te.Unsupported, match="objects"):
            describe(self.np.array([object()]))
        with pytest.raises(te.Unsupported, match="masked"):
            describe(self.np.ma.zeros(3))
        with pytest.raises(te.InvalidType, match="scalar"):
            describe(self.np.float32(1))
        with pytest.raises(te.InvalidArgument, match="zero length"):
            describe(self.np.zeros((3, 0)))

    def test_is_held(self) -> None:
        array = self.np.zeros(1000)
        gone = weakref.ref(array)
        memory = describe(array)
        del array
        gc.collect()
        assert gone() is not None
        del memory
        gc.collect()
        assert gone() is None


class TestTorch:
    @pytest.fixture(autouse=True)
    def _torch(self, needs_torch: Any) -> None:
        self.torch = needs_torch

    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32", "int64", "bool", "float8_e4m3fn", "complex64"])
    def test_dtypes(self, dtype: str) -> None:
        memory = describe(self.torch.zeros(4, dtype=getattr(self.torch, dtype)))
        assert memory.layout.dtype == dtype

    def test_views_and_0d(self) -> None:
        base = self.torch.zeros(4, 6)
        view = describe(base[1:, 2])
        assert view.address == base.data_ptr() + 4 * (6 + 2)
        assert (view.layout.shape, view.layout.strides) == ((3,), (24,))
        assert describe(self.torch.tensor(1.0)).layout.shape == ()

    def test_storage_is_held_not_just_the_tensor(self) -> None:
        tensor = self.torch.arange(1000, dtype=self.torch.uint8)
        memory = describe(tensor)
        tensor.set_(self.torch.zeros(1, dtype=self.torch.uint8))
        gc.collect()
        assert ctypes.string_at(memory.address, 10) == bytes(range(10))
        memory.require_alive("x")

    def test_freed_storage_is_noticed(self) -> None:
        tensor = self.torch.zeros(1000)
        memory = describe(tensor)
        tensor.untyped_storage().resize_(0)
        with pytest.raises(te.InvalidArgument, match="freed or moved"):
            memory.require_alive("into")
        with pytest.raises(te.InvalidArgument, match="freed"):
            describe(tensor)

    @pytest.mark.parametrize("dtype", ["uint8", "bfloat16", "float32", "complex64", "bool", "float8_e4m3fn"])
    def test_registered_memory_cannot_be_freed(self, engine: te.Engine, dtype: str) -> None:
        torch = self.torch
        for whole in (torch.zeros(64, 4).to(getattr(torch, dtype)), torch.tensor(1.0).to(getattr(torch, dtype))):
            engine.register(whole)
            for free in (lambda whole=whole: whole.resize_(100_000), lambda w=whole: w.untyped_storage().resize_(0)):
                with pytest.raises(RuntimeError, match="not resizable"):
                    free()

    def test_registered_views_hold_the_whole_storage(self, engine: te.Engine) -> None:
        base = self.torch.zeros(10, 4)
        engine.register(base[3:5])
        learned = self.torch.zeros(100, requires_grad=True)
        engine.register(learned, readonly=True)
        for tensor in (base, learned):
            with pytest.raises(RuntimeError, match="not resizable"):
                tensor.untyped_storage().resize_(0)

    def test_a_tensor_named_in_a_transfer_is_not_pinned(self) -> None:
        tensor = self.torch.zeros(10)
        describe(tensor)
        tensor.resize_(1000)

    def test_requires_grad_is_readable_only(self) -> None:
        tensor = self.torch.zeros(4, requires_grad=True)
        assert "detach" in (describe(tensor).readonly or "")
        assert describe(tensor.detach()).readonly is None

    @pytest.mark.filterwarnings("ignore:Sparse CSR", "ignore:torch.quantize_per_tensor")
    def test_refused_by_name(self) -> None:
        torch = self.torch
        with pytest.raises(te.InvalidArgument, match="meta tensor"):
            describe(torch.zeros(4, device="meta"))
        with pytest.raises(te.Unsupported, match="sparse"):
            describe(torch.eye(4).to_sparse())
        with pytest.raises(te.Unsupported, match="sparse"):
            describe(torch.eye(4).to_sparse_csr())
        with pytest.raises(te.Unsupported, match="quantised"):
            describe(torch.quantize_per_tensor(torch.zeros(4), 1.0, 0, torch.qint8))
        with pytest.raises(te.InvalidArgument, match="zero length"):
            describe(torch.zeros(0, 4))
        with pytest.raises(te.InvalidArgument, match="conjugate"):
            describe(torch.zeros(4, dtype=torch.complex64).conj())

    def test_other_devices_are_refused_by_name(self) -> None:
        class OnCuda:
            """What the code looks at of a CUDA tensor, on a machine that has none."""

            device = self.torch.device("cuda", 1)
            layout = self.torch.strided
            is_quantized = False
            is_nested = False

        from mooncake_te._torch import describe_tensor

        with pytest.raises(te.Unsupported, match=r"CUDA tensors.*cuda:1"):
            describe_tensor(self.torch, OnCuda())


class Wrapped:
    """Any array as a bare DLPack object of another library."""

    def __init__(self, array: Any, *, versioned: bool = True) -> None:
        self._array, self._versioned = array, versioned

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    def __dlpack__(self, **keywords: Any) -> Any:
        if not self._versioned and keywords:
            raise TypeError("no keywords before version 1.0")
        return self._array.__dlpack__(**keywords)


class TestDLPack:
    def test_numpy_through_dlpack(self, needs_numpy: Any) -> None:
        array = needs_numpy.arange(12, dtype=needs_numpy.int16).reshape(3, 4)
        memory = describe(Wrapped(array, versioned=False), writable=True)
        assert (memory.layout.dtype, memory.layout.shape, memory.readonly) == ("int16", (3, 4), None)
        assert memory.address == array.ctypes.data
        assert describe(Wrapped(array, versioned=False)).readonly

    def test_torch_through_dlpack(self, needs_torch: Any) -> None:
        tensor = needs_torch.zeros(3, 4, dtype=needs_torch.bfloat16)
        memory = describe(Wrapped(tensor[:, 1:3]))
        assert (memory.layout.dtype, memory.layout.shape, memory.layout.strides) == ("bfloat16", (3, 2), (8, 2))
        assert memory.address == tensor.data_ptr() + 2

    def test_deleter_runs_when_nothing_holds_it(self, needs_numpy: Any) -> None:
        array = needs_numpy.zeros(1000)
        gone = weakref.ref(array)
        memory = describe(Wrapped(array))
        del array
        memory.obj = None
        gc.collect()
        assert gone() is not None
        del memory
        gc.collect()
        assert gone() is None

    def test_other_devices_are_refused(self) -> None:
        class OnGpu:
            def __dlpack_device__(self) -> tuple[int, int]:
                return (2, 0)

            def __dlpack__(self, **_: Any) -> Any:
                raise AssertionError("not asked for")

        with pytest.raises(te.Unsupported, match="CUDA memory"):
            describe(OnGpu())

    def test_used_capsule_is_refused(self, needs_numpy: Any) -> None:
        class Again:
            def __init__(self) -> None:
                self.capsule = needs_numpy.zeros(3).__dlpack__()

            def __dlpack_device__(self) -> tuple[int, int]:
                return (1, 0)

            def __dlpack__(self) -> Any:
                return self.capsule

        again = Again()
        describe(again)
        with pytest.raises(te.InvalidArgument, match="used before"):
            describe(again)


def test_registered_numpy_array_cannot_be_resized(engine: te.Engine, needs_numpy: Any) -> None:
    array = needs_numpy.zeros(1000)
    whole, part = engine.register(array), engine.register(array[10:20].view("uint8")[8:])
    for _ in range(2):
        with pytest.raises(ValueError, match="cannot resize"):
            array.resize(1_000_000, refcheck=False)
        whole.close()
    part.close()
    del whole, part
    gc.collect()
    array.resize(1_000_000, refcheck=False)


def test_registered_bytearray_cannot_be_resized(engine: te.Engine) -> None:
    data = bytearray(100)
    buffer = engine.register(data)
    for change in (data.clear, lambda: data.extend(b"x"), data.pop):
        with pytest.raises(BufferError):
            change()
    buffer.close()
    data.extend(b"x")


class _Broken:
    """Calls itself a DLPack producer."""

    def __init__(self, device: Any, capsule: Any) -> None:
        self._device, self._capsule = device, capsule

    def __dlpack_device__(self) -> Any:
        return self._device

    def __dlpack__(self, **_: Any) -> Any:
        if isinstance(self._capsule, Exception):
            raise self._capsule
        return self._capsule


@pytest.mark.parametrize(
    ("device", "capsule"),
    [(7, None), (("cpu", 0), None), ((1, 0, 0), None), ((1, 0), None), ((1, 0), 7), ((1, 0), OSError("broken"))],
    ids=str,
)
def test_broken_dlpack_producer_is_named(device: Any, capsule: Any) -> None:
    with pytest.raises(te.InvalidArgument, match=r"_Broken \(DLPack\)"):
        describe(_Broken(device, capsule))


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_empty_without_the_framework(engine: te.Engine, framework: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(te.Unsupported, match=f"{framework} is not installed"):
        engine.empty((3,), "float32", framework=framework)


@pytest.mark.parametrize("shape", [None, 1.5, "3"])
def test_shape_that_is_none(engine: te.Engine, shape: Any) -> None:
    with pytest.raises(te.InvalidType, match="shape"):
        engine.empty(shape)
