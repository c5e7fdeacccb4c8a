"""The command line: parser, commands, terminal tables; imports lazily."""

from itda_core.cli.command_line import main

__all__ = ["main"]
