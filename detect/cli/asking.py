"""`taggant suspect --api`: a questioned model behind a server is asked, and its answers are counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import FILE, Command, tokenizer_for
from detect.cli.output import detail, note, progress
from detect.cli.types import Number

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from detect.counting import Tally
    from detect.questioned.answer_ids import AnswerReader
    from detect.questioned.api_key import ApiKey
    from detect.questioned.questions import Prompt, Questions
    from detect.questioned.responses import Response
    from watermark.keys import Key
    from watermark.windows import Document

DEFAULT_TOKENS, MAX_NEW_TOKENS = 20_000, 256


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
                 help="--api: seconds without any answer."),
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


@dataclass
class ApiExamination:
    """A questioned model behind a server, the key, and the questions."""

    ctx: click.Context
    key: Key
    tokenizer: PreTrainedTokenizerBase
    rows: list[Any]
    questions: Questions
    how_asked: dict[str, Any] = field(repr=False)

    @classmethod
    def begin(cls, ctx: click.Context, key: Key, rows: list[Any], how_asked: dict[str, Any]) -> ApiExamination:
        from detect.questioned.questions import ApiSampling, Questions

        longest, budget = how_asked["max_new_tokens"] or MAX_NEW_TOKENS, how_asked["max_tokens"]
        if budget is not None and budget < longest:
            raise click.UsageError(f"--max-tokens {budget} is less than one answer may take ({longest})", ctx)
        tokenizer = tokenizer_for(key, how_asked["tokenizer"])
        sampling = ApiSampling(longest, how_asked["temperature"], how_asked["top_p"], how_asked["logprobs"])
        questions = Questions.distinct(
            how_asked["api_server"],
            how_asked["api_model"],
            how_asked["endpoint"],
            _as_sent(rows, how_asked["endpoint"], len(tokenizer)),
            sampling,
            how_asked["sample_seed"],
        )
        return cls(ctx, key, tokenizer, rows, questions, how_asked)

    def sampled(self) -> tuple[Tally, list[str]]:
        """Ask, and count."""
        from detect.cli.asking_notes import notes_on_asking, notes_on_tokens
        from detect.counting import tally
        from detect.questioned.answer_ids import AnswerReader

        n_tokens = self.how_asked["sample_tokens"] or DEFAULT_TOKENS
        reader = AnswerReader(self.tokenizer)
        responses = self._ask(n_tokens, reader)
        answers = [ids for one in responses if (ids := reader.read(one).ids)]
        prompts = [*map(self._prompt_ids, self.questions.prompts), *self._plain_prompts()]
        counted = tally(self.key, answers, prompts, test="sampled", tokenizer_checked=True)
        drawn = [row.token_ids for row in self.rows if row.token_ids is not None]
        return counted, [
            *notes_on_asking(self.questions, n_tokens, reader, responses),
            *notes_on_tokens(self.tokenizer, self.key.context_width, reader, responses, drawn),
        ]

    def _ask(self, n_tokens: int, reader: AnswerReader) -> list[Response]:
        from detect.questioned.api import ask
        from detect.questioned.api_key import ApiKey
        from detect.questioned.patience import Patience
        from detect.questioned.responses import ResponseLog
        from detect.questioned.schedule import Budget

        how, api_key = self.how_asked, ApiKey.from_environment()
        self._say_where(api_key)
        path = how["log_file"] or Path(f"responses-{self.questions.sha256[:16]}.jsonl")
        with ResponseLog(path, self.questions) as log, _going_on(self.ctx, path):
            if log.answered:
                note(self.ctx, f"{len(log.answered)} answers are in {path} already; going on")
            with progress(self.ctx, "asking", n_tokens, "token") as advance:
                responses = ask(
                    self.questions,
                    log,
                    n_tokens,
                    length=reader.length,
                    budget=Budget(how["max_tokens"], how["max_requests"]),
                    patience=Patience(how["concurrency"], how["timeout"], how["give_up_after"]),
                    api_key=api_key,
                    on_tokens=advance,
                )
            note(self.ctx, f"{len(log.answered)} answers, of which {len(responses)} count: {path}")
        return responses

    def _say_where(self, api_key: ApiKey) -> None:
        from detect.questioned.questions import is_this_machine

        server = self.questions.server
        detail(self.ctx, f"API key: {api_key.variable or 'none'}; {server}")
        if api_key.secret is not None and server.startswith("http://") and not is_this_machine(server):
            note(self.ctx, f"The API key in {api_key.variable} goes over the network unencrypted: {server}")

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        """A prompt as the model sees it, if its tokenizer and template are the key's."""
        from watermark.engines.answers import chat_prompt_ids

        if not isinstance(prompt, str):
            return list(prompt)
        if self.questions.endpoint == "chat":
            return chat_prompt_ids(self.tokenizer, prompt)
        return list(self.tokenizer(prompt)["input_ids"])

    def _plain_prompts(self) -> list[Document]:
        """Prompts in every other form they were given in, for exclusion."""
        from detect.questioned.probes import plain_prompts

        given: list[Document] = [row.prompt_ids for row in self.rows if row.prompt_ids is not None]
        return [*plain_prompts((row.prompt for row in self.rows), self.tokenizer), *given]


def _as_sent(rows: list[Any], endpoint: str, vocabulary: int) -> list[Prompt]:
    """The prompts of the rows in the form they are sent.

    Raises:
        InputError: there is none, or one that this endpoint cannot take.
    """
    from detect.readers import refuse_foreign_ids
    from watermark.errors import InputError

    prompts: list[Prompt] = []
    for row in rows:
        refuse_foreign_ids(row, vocabulary)
        if endpoint == "completions" and row.prompt_ids is not None:
            prompts.append(tuple(int(token) for token in row.prompt_ids))
        elif row.prompt is not None:
            prompts.append(row.prompt)
        elif row.prompt_ids is not None:
            raise InputError(
                f"{row.source}: chat takes words, not token ids; give `prompt`, or use --endpoint completions"
            )
    if not prompts:
        raise InputError("the probes hold no prompts, which --api needs: give rows with `prompt` or `prompt_ids`")
    return prompts


@contextmanager
def _going_on(ctx: click.Context, path: Path) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        note(ctx, f"The answers so far are in {path}; the same command goes on from there.")
        raise
