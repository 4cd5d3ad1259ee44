"""The command line. Modules here import click and the standard library only; work is imported when it is done."""

from detect.cli.main import cli, main

__all__ = ["cli", "main"]
