"""What options and arguments accept, beyond what click knows."""

from __future__ import annotations

import math
import re
from typing import Any

import click
from click.shell_completion import CompletionItem


class Number(click.FloatRange):
    """A finite number in a range; click lets nan through every range and inf through an open one."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


class HexSeed(click.ParamType):  # type: ignore[type-arg]
    """32 bytes in hex."""

    name = "hex"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> bytes:
        if isinstance(value, bytes):
            return value
        if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            self.fail("must be 64 hex digits.", param, ctx)
        return bytes.fromhex(value)


class Label(click.ParamType):  # type: ignore[type-arg]
    """An account's or a month's label, by the rules of derivation."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.name = {"account": "id", "epoch": "yyyy-mm"}[kind]

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from watermark.errors import KeyFileError
        from watermark.keys.derive import normal_label

        try:
            return normal_label(self.kind, value)
        except KeyFileError as error:
            self.fail(f"{error}.", param, ctx)


class NamedFiles(click.ParamType):  # type: ignore[type-arg]
    """NAME=FILE: (name, path). The name stands in tables, so it is plain."""

    name = "name=file"
    _NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}")

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        if isinstance(value, tuple):
            return value
        name, equals, path = value.partition("=")
        if not equals or not path:
            self.fail("must be NAME=FILE.", param, ctx)
        if not self._NAME.fullmatch(name):
            self.fail(
                "a name has 1 to 40 letters, digits, spaces, dots, - or _, the first a letter or digit.", param, ctx
            )
        return name, path


class Place(click.ParamType):  # type: ignore[type-arg]
    """Text that may be a path, for completion only: `kind` is "dir" for DIR|ID, "file" for FILES; or one of `words`."""

    def __init__(self, name: str, kind: str, words: tuple[str, ...] = ()) -> None:
        self.name, self.kind, self.words = name, kind, words

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        words = [word for word in self.words if incomplete and word.startswith(incomplete)]
        return [*map(CompletionItem, words), CompletionItem(incomplete, type=self.kind)]


ACCOUNT, EPOCH = Label("account"), Label("epoch")
FRACTION = Number(0, 1, min_open=True, max_open=True)
DIRECTORY_OR_ID = Place("dir|id", "dir")
ROWS = Place("file", "file")
PROBES = Place("file", "file", ("builtin",))  # as detect.readers.builtin names them
