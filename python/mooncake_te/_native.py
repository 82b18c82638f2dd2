"""Finds and loads libmooncake_te.so at the first use, checks its ABI, and turns codes into exceptions.

The library is loaded lazily so that importing the package and forking afterwards is fine. It is never unloaded (it is a
Go runtime). Every call goes through ctypes.CDLL, which drops the GIL.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from . import _abi
from ._errors import ForkedProcessError, TransferError, Unsupported, from_details

LIBRARY = "libmooncake_te.so"
ENVIRONMENT = "MOONCAKE_TE_LIBRARY"
_ADDRESSES = (ctypes.c_uint64, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
_FORK_HINT = (
    "create engines in the child, in a process that was started with the 'spawn' or 'forkserver' method: "
    "multiprocessing.get_context('spawn'), VLLM_WORKER_MULTIPROC_METHOD=spawn"
)

_lock = threading.Lock()
_library: Library | None = None
_forked = False


class Library:
    """The loaded library. Attributes named te_* are its functions, with prototypes set."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._cdll = ctypes.CDLL(str(path))
        try:
            self._cdll.te_abi_version.restype = ctypes.c_uint32
            version = self._cdll.te_abi_version()
            if version >> 16 != _abi.ABI_MAJOR or version & 0xFFFF < _abi.ABI_MINOR:
                raise Unsupported(
                    f"{path} has ABI {version >> 16}.{version & 0xFFFF}, "
                    f"this package needs {_abi.ABI_MAJOR}.{_abi.ABI_MINOR} or a later minor version",
                    op="load library",
                    hint=f"install package and library from one build; {ENVIRONMENT} may name an old file",
                )
            for name, (result, arguments) in _abi.PROTOTYPES.items():
                function = getattr(self._cdll, name)
                function.restype, function.argtypes = result, arguments
                setattr(self, name, function)
            # The same as te_batch_submit for whoever has addresses already.
            self.submit_at = ctypes.CFUNCTYPE(ctypes.c_int32, *_ADDRESSES)(("te_batch_submit", self._cdll))
        except AttributeError as error:
            raise Unsupported(f"{path} is not a {LIBRARY} of this version: {error}", op="load library") from None

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)  # only for the type checker: te_* are set by __init__

    def check(self, code: int) -> None:
        """Raises the exception of a negative code, with the details that the library keeps for this thread."""
        if code != _abi.OK:
            raise self.error(code)

    def error(self, code: int) -> TransferError:
        """The exception of a code that a call on this thread just returned."""
        if code == _abi.FORKED:
            return forked_error()
        details = json.loads(self.text(self.te_last_error) or "{}")
        return from_details(code, details if details.get("code", code) == code else {})

    def text(self, function: Any, *arguments: Any) -> str:
        """Calls a function that gives text, with a larger buffer until it fits."""
        size, needed = 4096, ctypes.c_size_t(0)
        while True:
            buffer = ctypes.create_string_buffer(size)
            code = function(*arguments, ctypes.addressof(buffer), size, ctypes.byref(needed))
            if code == _abi.BUFFER_TOO_SMALL:
                size = max(needed.value, 2 * size)
                continue
            if code != _abi.OK:
                if function is self.te_last_error:
                    return ""
                raise self.error(code)
            return buffer.value.decode("utf-8", "replace")

    def version(self) -> dict[str, Any]:
        """The library's own account of its version, ABI and protocols."""
        result: dict[str, Any] = json.loads(self.text(self.te_version))
        return result


def candidates() -> Iterator[Path]:
    """Where the library may lie, in the order of preference."""
    named = os.environ.get(ENVIRONMENT)
    if named:
        yield Path(named)
        return
    package = Path(__file__).resolve().parent
    yield package / LIBRARY
    checkout = package.parent.parent
    if (checkout / "go.mod").is_file() and (checkout / "capi" / "te.h").is_file():
        yield checkout / "build" / LIBRARY


def load() -> Library:
    """The library, loaded once per process."""
    ensure_not_forked()
    global _library
    with _lock:
        if _library is None:
            _library = _find()
            os.register_at_fork(after_in_child=_after_fork)
        return _library


def _find() -> Library:
    tried = []
    for path in candidates():
        if path.is_file():
            try:
                return Library(path)
            except OSError as error:
                raise Unsupported(f"{path} cannot be loaded: {error}", op="load library") from error
        tried.append(str(path))
    raise Unsupported(
        f"{LIBRARY} was not found; looked at {', '.join(tried)}",
        op="load library",
        hint=f"in a checkout run 'make library'; else 'pip install mooncake-te', or name the file in {ENVIRONMENT}",
    )


def forked() -> bool:
    """Whether this is a child made by fork() after the library was loaded."""
    return _forked


def ensure_not_forked() -> None:
    """Raises in a forked child, before any lock is taken that a thread of the parent may have held."""
    if _forked:
        raise forked_error()


def forked_error() -> ForkedProcessError:
    """The error of every call in a forked child."""
    return ForkedProcessError("this process was forked after the library was loaded", hint=_FORK_HINT)


def _after_fork() -> None:
    global _forked
    _forked = True


def library_path() -> Path | None:
    """The file that would be loaded, or was; None if there is none. Loads nothing."""
    if _library is not None:
        return _library.path
    return next((path for path in candidates() if path.is_file()), None)
