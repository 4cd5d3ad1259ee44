"""The command line. Modules here import click and the standard library only; work is imported when it is done."""
