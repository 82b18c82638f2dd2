"""The command line: parses, calls, prints. What a command does stands in a module of its own, loaded when it runs."""

from __future__ import annotations

import json
import sys
from typing import Any

import click

from .. import _native
from .._errors import TransferError
from .._version import __version__


def _version_text() -> str:
    try:
        library = _native.load().version()
    except TransferError as error:
        return f"mooncake-te {__version__}\nlibrary: not usable: {error}"
    low, high = library["protocol_min"], library["protocol_max"]
    protocol = f"{high}" if low == high else f"{low} to {high}"
    return (
        f"mooncake-te {__version__}\n"
        f"library {library['library']} (ABI {library['abi']}, {library['go']}, {_native.library_path()})\n"
        f"protocol {protocol}, TCP data protocol {library['tcp_protocol']}"
    )


def _print_version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not context.resilient_parsing:
        click.echo(_version_text())
        context.exit()


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    expose_value=False,
    is_eager=True,
    callback=_print_version,
    help="Show the versions of package, library and protocol.",
)
def cli() -> None:
    """Move tensors and KV-cache blocks between processes."""


def _emit(document: dict[str, Any]) -> None:
    click.echo(json.dumps(document, indent=2))


@cli.command(short_help="Move memory between two processes and check every byte.")
@click.option(
    "--size",
    default=128,
    show_default=True,
    metavar="MIB",
    type=click.IntRange(1, 16384),
    help="Size of the moved memory in MiB.",
)
@click.option(
    "--block",
    default=64,
    show_default=True,
    metavar="KIB",
    type=click.IntRange(1, 65536),
    help="Size of one scattered block in KiB.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def demo(size: int, block: int, as_json: bool) -> None:
    """Move memory between two processes of this machine, check every byte, compare with a plain copy."""
    from . import demo as command

    try:
        result = command.run(size << 20, block << 10)
    except (TransferError, command.DemoFailed) as error:
        raise click.ClickException(str(error)) from error
    _emit(result) if as_json else click.echo(command.render(result))


@cli.command(short_help="Check this machine, and say what to do.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")
def doctor(as_json: bool) -> None:
    """Check what the engine needs on this machine, and say what to do where something is missing.

    Ends with status 1 if something will not work; a note is no failure.
    """
    from . import doctor as command

    checks = command.examine()
    if as_json:
        _emit({"ok": command.healthy(checks), "checks": [check.as_dict() for check in checks]})
    else:
        click.echo(command.render(checks))
    sys.exit(0 if command.healthy(checks) else 1)
