"""Make PyPI's torch importable where there is no GPU and no nvidia package.

For x86-64 Linux PyPI has only the CUDA build of torch. On a machine without a GPU none of its CUDA code runs, but the
dynamic loader still wants about fifteen libraries (several GB of packages) and every symbol in them. This script
compiles small stand-ins and puts them into torch/lib, which is on the run path of every library of torch: functions
return cudaErrorNoDevice, the hooks that run at load time return 0, so `torch.cuda.is_available()` is False.

Run it with the interpreter that torch was installed for (`pip install --no-deps torch`). It needs gcc and binutils, does
nothing where torch already imports, and may be run again. Exit status 0: torch imports.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

NO_DEVICE = 100  # cudaErrorNoDevice
STAMP = "cuda_stubs_made"  # in torch/lib: says that these stand-ins are ours, and complete


def output(*command: str | Path) -> str:
    """What a tool wrote to stdout; raises if it failed."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def torch_imports() -> bool:
    """Whether `import torch` works, tried in a process of its own."""
    return subprocess.run([sys.executable, "-c", "import torch"], capture_output=True).returncode == 0


def needed(library: Path) -> set[str]:
    """The sonames that a library is linked against."""
    return set(re.findall(r"\(NEEDED\).*\[(.*)\]", output("readelf", "-d", library)))


def symbols(library: Path, which: str) -> dict[str, tuple[str, str]]:
    """Dynamic symbols by name: (nm's letter, symbol version or ""). `which`: "--defined-only", "--undefined-only"."""
    found = {}
    for line in output("nm", "-D", which, library).splitlines():
        letter, versioned = line.split()[-2:]
        name, _, version = versioned.partition("@")
        found[name] = (letter, version.lstrip("@"))
    return found


def version_homes(library: Path) -> dict[str, str]:
    """For each symbol version that a library asks for, the soname it asks it of."""
    homes, soname = {}, ""
    for line in output("readelf", "-V", "-W", library).splitlines():
        if match := re.search(r"File: (\S+)", line):
            soname = match.group(1)
        elif soname and (match := re.search(r"Name: (\S+)\s+Flags", line)):
            homes[match.group(1)] = soname
    return homes


def system_libraries() -> dict[str, Path]:
    """What the dynamic loader finds by itself, by soname."""
    ldconfig = shutil.which("ldconfig", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin") or "ldconfig"
    lines = re.findall(r"^\s+(\S+) \(.*x86-64.*\) => (\S+)$", output(ldconfig, "-p"), re.MULTILINE)
    return {soname: Path(path) for soname, path in lines}


def assembly(names: Iterable[str]) -> str:
    """Source of a library in which every function does nothing."""
    lines = [".text"]
    for label, value in (("return_zero", 0), ("return_no_device", NO_DEVICE)):
        lines += [".p2align 4", f"{label}:", f" movl ${value}, %eax", " ret"]
    data = []
    for name in sorted(names):
        if name.startswith(("_ZTI", "_ZTV", "_ZTS")):  # C++ type information: zeros are enough to link against
            data += [f'.globl "{name}"', f'.type "{name}", @object', f'.size "{name}", 256', f'"{name}":', " .zero 256"]
            continue
        target = "return_zero" if name.startswith("__cuda") else "return_no_device"
        lines += [f'.globl "{name}"', f'.type "{name}", @function', f'.set "{name}", {target}']
    return "\n".join([*lines, ".data", ".p2align 4", *data, '.section .note.GNU-stack,"",@progbits', ""])


def compile_stub(soname: str, by_version: dict[str, list[str]], folder: Path) -> None:
    """Compile one stand-in, symbol versions included, into `folder`."""
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "stub.s")
        source.write_text(assembly(name for names in by_version.values() for name in names))
        command: list[str | Path] = [
            "gcc",
            "-shared",
            "-fPIC",
            "-nostdlib",
            f"-Wl,-soname,{soname}",
            "-o",
            str(folder / soname),
            source,
        ]
        if versions := {version: names for version, names in by_version.items() if version}:
            script = Path(scratch, "stub.map")
            script.write_text(
                "".join(
                    "%s { global: %s };\n" % (version, " ".join(f'"{name}";' for name in names))  # noqa: UP031
                    for version, names in versions.items()
                )
            )
            command.append(f"-Wl,--version-script,{script}")
        output(*command)


def make_stubs(folder: Path) -> list[str]:
    """Make every library that torch's own in `folder` want and nobody has. Returns their sonames."""
    own = sorted(path for path in folder.iterdir() if ".so" in path.name)
    wanted = set().union(*map(needed, own)) - {path.name for path in own}
    system = system_libraries()
    missing = sorted(wanted - system.keys())
    if not missing:
        return []
    defined: set[str] = set()
    for library in [*own, *(system[soname] for soname in wanted & system.keys())]:
        defined |= symbols(library, "--defined-only").keys()
    homes: dict[str, str] = {}
    undefined: dict[str, str] = {}
    for library in own:
        homes |= version_homes(library)
        for name, (letter, version) in symbols(library, "--undefined-only").items():
            if letter == "U" and name not in defined and not name.startswith(("Py", "_Py")):  # weak ones may stay open
                undefined[name] = version
    # A symbol without a version may come from any library: all go into the one that every library of torch asks for.
    holder = next((soname for soname in missing if soname.startswith("libcudart.")), missing[0])
    stubs: dict[str, dict[str, list[str]]] = {soname: defaultdict(list) for soname in missing}
    for name, version in undefined.items():
        home = homes.get(version, holder)
        if home in stubs:
            stubs[home][version].append(name)
    for soname, by_version in stubs.items():
        compile_stub(soname, by_version, folder)
    return missing


def main() -> int:
    """Make the stand-ins if they are needed; the exit status."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        print("torch is not installed for " + sys.executable, file=sys.stderr)
        return 1
    folder = Path(spec.origin).parent / "lib"
    stamp = folder / STAMP
    if stamp.exists() or torch_imports():
        return 0
    if absent := [tool for tool in ("gcc", "nm", "readelf") if shutil.which(tool) is None]:
        print(f"torch lacks its CUDA libraries and {', '.join(absent)} to make stand-ins is missing: "
              "install gcc and binutils", file=sys.stderr)  # fmt: skip
        return 1
    try:
        made = make_stubs(folder)
    except subprocess.CalledProcessError as error:
        print(f"no stand-ins for torch's CUDA libraries: {error}\n{error.stderr}", file=sys.stderr)
        return 1
    if not torch_imports():
        print(f"torch does not import, even with stand-ins for {', '.join(made) or 'nothing'}", file=sys.stderr)
        return 1
    stamp.write_text("\n".join(made) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
