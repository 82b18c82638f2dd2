"""torch tensors as memory. Only imported when the application has imported torch."""

from __future__ import annotations

from typing import Any

from ._errors import InvalidArgument, Unsupported
from ._layout import Layout
from ._memory import Memory


def describe_tensor(torch: Any, tensor: Any) -> Memory:
    """Looks at a tensor. Refused by name: meta, sparse, nested, quantised, lazily conjugated, and devices without support.

    A tensor that requires grad may be read from, not written to: detach() it for that.
    """
    if tensor.device.type == "meta":
        raise InvalidArgument("memory: a meta tensor has no data")
    if getattr(tensor, "is_nested", False):
        raise Unsupported("memory: nested tensors are not supported; give their parts (.unbind())")
    if tensor.layout is not torch.strided:
        raise Unsupported(
            f"memory: sparse tensors are not supported (layout {tensor.layout})",
            hint="give the parts: .values(), .indices()",
        )
    if tensor.is_quantized:
        raise Unsupported(
            "memory: quantised tensors are not supported", hint="give .int_repr() and send the scales along"
        )
    if tensor.device.type != "cpu":
        raise Unsupported(
            f"memory: {tensor.device.type.upper()} tensors are not supported by this build (device {tensor.device})",
            hint="copy to pinned host memory first: tensor.to('cpu')",
        )
    if tensor.is_conj() or tensor.is_neg():
        raise InvalidArgument(
            "memory: the tensor is a lazy conjugate or negative", hint="call resolve_conj().resolve_neg()"
        )
    try:
        storage = tensor.untyped_storage()
        base, size, address = storage.data_ptr(), storage.nbytes(), tensor.data_ptr()
    except (RuntimeError, NotImplementedError) as error:
        raise Unsupported(f"memory: {type(tensor).__name__} has no memory of its own: {error}") from None
    itemsize = tensor.element_size()
    layout = Layout(
        0,
        tuple(tensor.shape),
        tuple(step * itemsize for step in tensor.stride()),
        itemsize,
        str(tensor.dtype).removeprefix("torch."),
    )
    if layout.nbytes:
        low, high = layout.span()
        if address == 0 or address + low < base or address + high > base + size:
            raise InvalidArgument("memory: the tensor's storage was freed or is too small for its shape")

    def pin() -> Any:
        # Memory that numpy may look into cannot be resized: torch refuses resize_() and untyped_storage().resize_(0),
        # which would free it, from here on. A torch without numpy gives no such protection.
        try:
            return torch.empty(0, dtype=torch.uint8, device="cpu").set_(storage).numpy()
        except RuntimeError:
            return None

    def alive() -> bool:
        return bool(storage.data_ptr() == base and storage.nbytes() >= size)

    reason = "the tensor requires grad; use tensor.detach()" if tensor.requires_grad else None
    return Memory(address, layout, "tensor", tensor, readonly=reason, keep=(storage,), pin=pin, alive=alive)
