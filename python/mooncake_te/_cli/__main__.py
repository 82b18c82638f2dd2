"""Runs the command as `python -m mooncake_te._cli`, for where its script is not on PATH."""

from .main import cli

cli()
