"""The public surface: __all__ is sorted, complete and documented; importing loads nothing heavy."""

from __future__ import annotations

import inspect

import mooncake_te as te


def test_all_is_sorted_and_exists() -> None:
    assert te.__all__ == sorted(te.__all__)
    for name in te.__all__:
        assert hasattr(te, name)


def test_every_public_name_is_in_all() -> None:
    public = {n for n, v in vars(te).items() if not n.startswith("_") and not inspect.ismodule(v)}
    assert public == {n for n in te.__all__ if not n.startswith("_")}


def test_every_error_class_is_exported() -> None:
    from mooncake_te import _errors

    kinds = {n for n, v in vars(_errors).items() if isinstance(v, type) and issubclass(v, Exception)}
    assert kinds <= set(te.__all__)


def test_everything_public_has_a_docstring() -> None:
    for name in te.__all__:
        value = getattr(te, name)
        if not inspect.isclass(value):
            continue
        assert value.__doc__, name
        for attribute, member in vars(value).items():
            if not attribute.startswith("_") and (inspect.isfunction(member) or isinstance(member, property)):
                assert member.__doc__, f"{name}.{attribute}"


def test_import_loads_neither_library_nor_frameworks(run_python) -> None:
    done = run_python(
        "import sys, mooncake_te\n"
        "assert not {'numpy', 'torch'} & set(sys.modules)\n"
        "assert 'libmooncake_te' not in open('/proc/self/maps').read()\n"
    )
    assert done.returncode == 0, done.stderr
