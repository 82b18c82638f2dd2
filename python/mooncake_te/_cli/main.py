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


@cli.command("metadata-server", short_help="Run the HTTP metadata server of a cluster.")
@click.option(
    "--listen",
    default="127.0.0.1:8080",
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; 0.0.0.0 is every interface, port 0 any free port.",
)
@click.option("--path", default="/metadata", show_default=True, help="Path of the URL that engines are given.")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False),
    help="File with a token that every request must carry (stock Mooncake clients cannot).",
)
@click.option("--tls-cert", type=click.Path(dir_okay=False), help="PEM file of the certificate chain, for https.")
@click.option("--tls-key", type=click.Path(dir_okay=False), help="PEM file of its key.")
@click.option(
    "--max-bytes",
    default=1 << 30,
    show_default=True,
    type=click.IntRange(min=1),
    help="Most that may be held; the rest is refused.",
)
def metadata_server(
    listen: str, path: str, token_file: str | None, tls_cert: str | None, tls_key: str | None, max_bytes: int
) -> None:
    """Run the HTTP metadata server of a cluster until SIGINT or SIGTERM.

    Engines find each other through it (metadata="http://HOST:PORT/metadata"), and stock Mooncake clients find their
    peers. It keeps everything in memory: after a restart the owners of segments publish again by themselves.
    """
    from . import metaserver as command

    options = {
        "listen": listen,
        "path": path,
        "token_file": token_file or "",
        "tls_cert": tls_cert or "",
        "tls_key": tls_key or "",
        "max_bytes": max_bytes,
    }
    try:
        command.serve(options, lambda said: click.echo(said["url"]))
    except TransferError as error:
        raise click.ClickException(str(error)) from error


@cli.command(short_help="Show what is known of a segment.")
@click.argument("name")
@click.option(
    "--metadata",
    required=True,
    envvar="MOONCAKE_TE_METADATA",
    metavar="URL",
    help="The metadata store, as engines are given it: etcd://HOST:2379, http://HOST:PORT/metadata.",
)
@click.option("--watch", is_flag=True, help="Go on, and show it again after every change, until Ctrl-C.")
@click.option(
    "--every",
    default=1.0,
    show_default=True,
    type=click.FloatRange(min=0.05),
    help="With --watch: seconds between looks.",
)
@click.option(
    "--timeout", default=5.0, show_default=True, type=click.FloatRange(min=0.01), help="Seconds for one look."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: one document, or with --watch one a line.")
def describe(name: str, metadata: str, watch: bool, every: float, timeout: float, as_json: bool) -> None:
    """Show what the metadata store knows of segment NAME, and what its owner says of itself.

    The head comes from the store, the buffers from the owner; if the owner does not answer, that is said. Ends with
    status 1 if nothing is published under the name.
    """
    from . import describe as command

    found: dict[str, Any] = {"from": ""}
    try:
        if not watch:
            found = command.look(metadata, name, timeout)
            _emit(found) if as_json else click.echo(command.render(found))
        else:
            for found in command.watch(metadata, name, timeout, every):
                click.echo(json.dumps(found) if as_json else command.render(found) + "\n")
                sys.stdout.flush()
    except TransferError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        sys.exit(0)
    sys.exit(0 if found["from"] else 1)
