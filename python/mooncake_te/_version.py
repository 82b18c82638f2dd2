"""The version: the one place where it stands. The build reads it for the wheel and writes it into the library."""

__version__ = "0.1.0"
