"""`taggant suspect --api`: a questioned model behind a server is asked, and its answers are counted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import tokenizer_for
from detect.cli.output import detail, note
from detect.wording import amount

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from detect.cli.asked import Asked
    from detect.cli.extent import Counting, Extent
    from detect.examined import Examined
    from detect.questioned.answer_ids import AnswerReader
    from detect.questioned.api_key import ApiKey
    from detect.questioned.questions import Questions
    from detect.questioned.responses import Response, ResponseLog
    from watermark.keys import Key

MAX_NEW_TOKENS = 256


@dataclass
class ApiExamination:
    """A questioned model behind a server, the key, the questions, and the log of their answers."""

    ctx: click.Context
    key: Key
    tokenizer: PreTrainedTokenizerBase
    rows: list[Any]
    questions: Questions
    asked: Asked
    log: ResponseLog

    @classmethod
    def begin(cls, ctx: click.Context, key: Key, rows: list[Any], asked: Asked) -> ApiExamination:
        """Settle the questions and open their log; nothing is asked yet. Let go of it with `close`.

        Raises:
            UsageError: a budget that is less than one answer.
            InputError: no prompts, or ones that this endpoint cannot take; the log is of other work, or in use.
        """
        from detect.questioned.prompts import as_sent
        from detect.questioned.questions import ApiSampling, Questions
        from detect.questioned.responses import ResponseLog

        longest, budget = asked.max_new_tokens or MAX_NEW_TOKENS, asked.max_tokens
        if budget is not None and budget < longest:
            raise click.UsageError(f"--max-tokens {budget} is less than one answer may take ({longest})", ctx)
        tokenizer = tokenizer_for(key, asked.tokenizer)
        sampling = ApiSampling(longest, asked.temperature, asked.top_p, asked.logprobs)
        prompts = as_sent(rows, asked.endpoint, len(tokenizer))
        server, model, endpoint = str(asked.api_server), str(asked.api_model), asked.endpoint
        questions = Questions.distinct(server, model, endpoint, prompts, sampling, asked.sample_seed, asked.plan_digest)
        log = ResponseLog(asked.log_file or Path(f"responses-{questions.sha256[:16]}.jsonl"), questions)
        return cls(ctx, key, tokenizer, rows, questions, asked, log)

    def close(self) -> None:
        """Let go of the log."""
        self.log.close()

    def sampled(self, level: float) -> dict[str, Examined]:
        """Ask, and count the answers, or weigh them, or both, as a plan or the options say.

        Args:
            level: at which an e-process stops early.
        """
        from detect.bundles.material import document_name
        from detect.cli.asking_notes import notes_on_asking, notes_on_tokens, what_ended_it
        from detect.cli.extent import Counting, Extent
        from detect.cli.weighing import Answered, Weighing
        from detect.examined import Examined
        from detect.questioned.answer_ids import AnswerReader
        from detect.questioned.probes import apart_notes
        from detect.questioned.prompts import Prompts
        from detect.questioned.schedule import DEFAULT_TOKENS

        extent = Extent.of(self.asked, level, DEFAULT_TOKENS)
        prompts = Prompts.of(self.rows, self.tokenizer, self.questions.endpoint)
        counting = Counting(self.key, prompts.left_out, extent)
        weighing = Weighing.if_asked(self.ctx, self.key, self.tokenizer, self.asked)
        reader = AnswerReader(self.tokenizer, self.questions.sampling.max_new_tokens)
        responses = self._ask(extent, counting, reader)
        drawn = [row.token_ids for row in self.rows if row.token_ids is not None]
        short = what_ended_it(extent, counting, reader, responses)
        notes = [
            *notes_on_asking(self.questions, extent, short, responses),
            *apart_notes(self.rows, self.tokenizer, words_sent=self.questions.endpoint == "chat"),
            *notes_on_tokens(self.tokenizer, self.key.context_width, reader, responses, drawn),
        ]
        # An e-process may end anywhere; a number of tokens that was planned is another test when it is not reached
        deviation = short if extent.planned and extent.maximum_pairs is None else None
        read = [reader.read(one) for one in responses]
        names = [document_name(request, of_text=not one.returned) for request, one in enumerate(read)]
        texts = counting.texts([one.ids for one in read], names)
        found = {}
        if "sampled/distinct" in self.asked.sampled_tests:
            counted = counting.tally([one.ids for one in read if one.ids])
            found["sampled/distinct"] = Examined(counted, notes, deviation=deviation, observed=texts)
        if weighing is not None:
            answered = Answered.of_server(
                responses, reader, prompts, lists_wanted=self.questions.sampling.logprobs is not None
            )
            notes = [*notes, *weighing.notes(answered)]
            weighed = weighing.weigh(answered)
            found["sampled/excess"] = Examined(
                weighed.tally, notes, deviation=deviation, observed=weighed.excess, answers=texts
            )
        return found

    def _ask(self, extent: Extent, counting: Counting, reader: AnswerReader) -> list[Response]:
        from detect.questioned.api import ask
        from detect.questioned.api_key import ApiKey
        from detect.questioned.patience import Patience
        from detect.questioned.schedule import Budget

        how, api_key = self.asked, ApiKey.from_environment()
        stop = counting.stop
        self._say_where(api_key)
        log, path = self.log, self.log.path
        with _going_on(self.ctx, log):
            if log.answered:
                held = len(log.answered)
                note(self.ctx, f"{amount(held, 'answer')} {'is' if held == 1 else 'are'} in {path} already; going on")
            with counting.progress(self.ctx, "asking") as advance:
                responses = ask(
                    self.questions,
                    log,
                    extent.tokens,
                    length=reader.length,
                    stop=None if stop is None else lambda one: stop(one.request, reader.read(one).ids),
                    budget=Budget(how.max_tokens, how.max_requests),
                    patience=Patience(how.concurrency, how.timeout, how.give_up_after),
                    api_key=api_key,
                    on_tokens=advance,
                )
            note(self.ctx, f"{amount(len(log.answered), 'answer')}, of which {len(responses):,} count: {path}")
        return responses

    def _say_where(self, api_key: ApiKey) -> None:
        from detect.questioned.questions import is_this_machine

        server = self.questions.server
        shown = self.questions.shown_server
        detail(self.ctx, f"API key: {api_key.variable or 'none'}; {shown}")
        if api_key.secret is not None and server.startswith("http://") and not is_this_machine(server):
            note(self.ctx, f"The API key in {api_key.variable} goes over the network unencrypted: {shown}")


@contextmanager
def _going_on(ctx: click.Context, log: ResponseLog) -> Iterator[None]:
    """Interrupted, say where the answers are."""
    try:
        yield
    except KeyboardInterrupt:
        if log.answered:
            note(ctx, f"The answers so far are in {log.path}; the same command goes on from there.")
        raise
