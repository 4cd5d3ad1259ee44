"""Options of `taggant suspect` about a server that runs the questioned model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from detect.cli.options import FILE, Command
from detect.cli.types import Number


def _address(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    from detect.questioned.questions import server_address
    from watermark.errors import InputError

    try:
        return None if value is None else server_address(value)
    except InputError as error:
        raise click.BadParameter(f"{error}.", ctx, param) from None


_AT_LEAST_1 = click.IntRange(min=1)
_OPTIONS: list[Callable[[Any], Any]] = [
    click.option("--api", "api_server", metavar="URL", callback=_address,
                 help="Address of an OpenAI-compatible server that runs the questioned model."),
    click.option("--model-name", "api_model", metavar="NAME", help="The name the server knows it by."),
    click.option("--endpoint", type=click.Choice(["chat", "completions"]), default="chat", show_default=True,
                 help="--api: chat sends `prompt` as a user's message, completions as it is; prompt_ids go to "
                 "completions only."),
    click.option("--log", "log_file", type=FILE,
                 help="--api: the response log.  [default: ./responses-<digest of the questions>.jsonl]"),
    click.option("--concurrency", type=click.IntRange(1, 256), default=4, show_default=True,
                 help="--api: requests under way at a time."),
    click.option("--max-tokens", type=_AT_LEAST_1, help="--api: budget of answer tokens, all runs together."),
    click.option("--max-requests", type=_AT_LEAST_1, help="--api: budget of questions, all runs together."),
    click.option("--timeout", type=Number(0.1, 86400), default=120.0, show_default=True,
                 help="--api: seconds for one attempt."),
    click.option("--give-up-after", type=Number(0, 1e6), default=300.0, show_default=True,
                 help="--api: seconds without any answer, however long --timeout is; 0: try nothing again."),
    click.option("--top-p", type=Number(0, 1, min_open=True), default=1.0, show_default=True,
                 help="--api: probability kept; 1: all."),
    click.option("--logprobs", type=click.IntRange(1, 20),
                 help="--api: ask for the log-probabilities of this many likeliest tokens, into the log."),
]  # fmt: skip
API_ONLY = ("endpoint", "log_file", "concurrency", "max_tokens", "max_requests", "timeout", "give_up_after", "top_p",
            "logprobs", "api_model")  # fmt: skip


def api_options(command: Command) -> Command:
    """Everything about a server; the values arrive under the names in `API_ONLY`, and `api_server`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command
