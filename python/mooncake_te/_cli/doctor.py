"""First checks of a machine: each looks at one thing and says what to do where it is not as it should be."""

from __future__ import annotations

import faulthandler
import importlib.metadata
import resource
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from .. import _native
from .._errors import TransferError
from .._version import __version__

OK, NOTE, FAIL = "ok", "note", "fail"

# A clock before this release was made is certainly wrong.
_RELEASED = 1_767_225_600  # 2026-01-01 UTC
_PTRACE = Path("/proc/sys/kernel/yama/ptrace_scope")


@dataclass(frozen=True)
class Check:
    """One finding. `advice` is empty where there is nothing to do."""

    name: str
    status: str
    detail: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """As a JSON object."""
        return asdict(self)


def examine() -> list[Check]:
    """Runs every check, in an order in which an earlier failure explains a later one."""
    return [check for look in _CHECKS for check in look()]


def healthy(checks: list[Check]) -> bool:
    """Whether nothing failed."""
    return all(check.status != FAIL for check in checks)


def render(checks: list[Check]) -> str:
    """As text for a terminal."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        lines.append(f"{check.status:<4}  {check.name:<{width}}  {check.detail}")
        if check.advice:
            lines.append(f"{'':<4}  {'':<{width}}  -> {check.advice}")
    return "\n".join(lines)


def _fault_handler() -> Iterator[Check]:
    # Looked at before the library is loaded: the order of the two is what matters.
    advice = ""
    if faulthandler.is_enabled():
        status, detail = OK, "Python's faulthandler is enabled before the library is loaded"
    else:
        status, detail = OK, "Python's faulthandler is off, so the library's own handler stays in place"
        advice = (
            "if your program enables it (pytest does), do so before the first Engine, or set PYTHONFAULTHANDLER=1; "
            "enabled later, a fault in freed memory ends the process"
        )
    yield Check("fault handler", status, detail, advice)


def _library() -> Iterator[Check]:
    try:
        library = _native.load()
        version = library.version()
    except TransferError as error:
        yield Check("library", FAIL, str(error), error.hint or "")
        return
    yield Check("library", OK, f"{library.path}: {version['library']}, ABI {version['abi']}, {version['go']}")
    if version["library"] != __version__:
        yield Check(
            "library version",
            NOTE,
            f"the package is {__version__}, the library {version['library']}",
            "install both from one build: pip install --force-reinstall mooncake-te",
        )


def _transfer() -> Iterator[Check]:
    from .demo import DemoFailed, within_process

    try:
        _native.load()
    except TransferError:
        return  # said by the check above
    try:
        seconds = within_process(1 << 20)
    except (TransferError, DemoFailed) as error:
        yield Check("transfer", FAIL, f"{type(error).__name__}: {error}", getattr(error, "hint", None) or "")
        return
    yield Check(
        "transfer", OK, f"1 MiB between two engines of this process in {seconds * 1e3:.1f} ms, every byte right"
    )


def _loopback() -> Iterator[Check]:
    for name, family, address, needed in (
        ("loopback IPv4", socket.AF_INET, "127.0.0.1", True),
        ("loopback IPv6", socket.AF_INET6, "::1", False),
    ):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as listener:
                listener.bind((address, 0))
                listener.listen()
                with socket.create_connection((address, listener.getsockname()[1]), timeout=5):
                    pass
            yield Check(name, OK, f"{address} can be bound and reached")
        except OSError as error:
            advice = "bring the loopback interface up: ip link set lo up" if needed else "use IPv4 addresses"
            yield Check(name, FAIL if needed else NOTE, f"{address}: {error}", advice)


def _limits() -> Iterator[Check]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{_amount(soft)} open files (hard limit {_amount(hard)})"
    if soft != resource.RLIM_INFINITY and soft < 1024:
        yield Check("limit nofile", NOTE, detail, "each peer takes a few; raise it: ulimit -n 65536")
    else:
        yield Check("limit nofile", OK, detail)
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    detail = f"{_amount(soft, 'bytes')} of locked memory (hard limit {_amount(hard, 'bytes')})"
    if soft == resource.RLIM_INFINITY:
        yield Check("limit memlock", OK, detail)
    else:
        yield Check("limit memlock", NOTE, detail, "TCP does not need it; RDMA pins memory: ulimit -l unlimited")


def _amount(value: int, unit: str = "") -> str:
    text = "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"
    return f"{text} {unit}".rstrip()


def _ptrace() -> Iterator[Check]:
    try:
        scope = int(_PTRACE.read_text(encoding="ascii"))
    except (OSError, ValueError):
        yield Check("ptrace scope", OK, "no Yama: processes of one user may reach each other's memory")
        return
    meaning = {
        0: "any process of the user",
        1: "children, or whoever the target allows",
        2: "administrators",
        3: "nobody",
    }
    detail = f"{scope}: memory of another process can be reached by {meaning.get(scope, 'unknown')}"
    if scope <= 1:
        yield Check("ptrace scope", OK, detail)
    else:
        yield Check(
            "ptrace scope",
            NOTE,
            detail,
            "TCP does not need it; same-host copies will: sysctl kernel.yama.ptrace_scope=1",
        )


def _clock() -> Iterator[Check]:
    now = time.time()
    if now < _RELEASED:
        yield Check(
            "clock",
            NOTE,
            f"says {time.strftime('%Y-%m-%d', time.gmtime(now))}, before this release was made",
            "set the clock: metadata versions start from it, though safety never rests on it",
        )
        return
    yield Check("clock", OK, f"{time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(now))} UTC")


def _array_libraries() -> Iterator[Check]:
    for name in ("numpy", "torch"):
        try:
            yield Check(name, OK, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            yield Check(
                name, OK, "not installed; optional", f"to register its arrays: pip install 'mooncake-te[{name}]'"
            )


_CHECKS: tuple[Callable[[], Iterator[Check]], ...] = (
    _fault_handler,
    _library,
    _loopback,
    _transfer,
    _limits,
    _ptrace,
    _clock,
    _array_libraries,
)
