"""Whether what a server said is what was counted: the response logs of a bundle, and the documents made of them.

1. A run has a response log iff it asked a server; one that was stopped may lack it.
2. The log is as `ResponseLog` writes it, and about the questions of this run and its plan.
3. All tests of a run rest on the same documents: of the answers to requests 0, 1, 2 …, as many as its rule counts.
4. Each is named as what it was made of. The server's token ids are compared; a text that was tokenised again only where
   a tokenizer is at hand.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, NoReturn, Protocol

import numpy as np

from detect.bundles.custody import Log
from detect.bundles.entries import answers_of
from detect.bundles.material import E_PROCESS, WEIGHTS, document_name
from detect.bundles.members import is_count
from detect.bundles.order import end_of
from detect.bundles.refused import Refused
from detect.bundles.seal import FILES
from detect.bundles.verify.logged import CODE, Logged
from detect.bundles.verify.manifest import Files
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.retally import observed_of, rows_of
from detect.bundles.verify.runs import RecordedTest, asks_server
from detect.counting import window_rule
from detect.observation import Excess
from detect.plans.plan import Plan
from detect.questioned.responses import SPELLINGS, Response
from detect.questioned.schedule import DEFAULT_TOKENS, EMPTY_RUN
from detect.sequential import STALE_RUN
from detect.wording import amount
from watermark.errors import TokenizerMismatchError
from watermark.keys.commitment import CREATED_FORMAT
from watermark.windows import Reason

_READABLE = re.compile("[0-9A-Za-z]")  # no tokenizer makes nothing of these


class Read(Protocol):
    """An answer's tokens, see `detect.questioned.answer_ids.AnswerIds`."""

    @property
    def ids(self) -> list[int]: ...

    @property
    def returned(self) -> bool: ...


class Reads(Protocol):
    """See `detect.questioned.answer_ids.AnswerReader`."""

    def read(self, response: Response) -> Read: ...


@dataclass(frozen=True)
class Tokens:
    """A tokenizer, to make tokens of answers again.

    Attributes:
        sha256: its fingerprint, as keys have it: over its tokens and special ids.
        special_ids: ascending.
        reader: from how many tokens were asked for of an answer.
    """

    sha256: str
    special_ids: tuple[int, ...] = field(repr=False)
    reader: Callable[[int], Reads] = field(repr=False)


@dataclass(frozen=True)
class Answered:
    """What was found of the finished runs that asked a server.

    Attributes:
        documents: how many there are.
        again: of them, those of a text that was tokenised again.
        given: of these, those to whose answers the server gave token ids, which were set aside.
        remade: they were tokenised here, too.
        odd: what answers say of themselves that the run does not, in words.
    """

    runs: int = 0
    documents: int = 0
    again: int = 0
    remade: bool = False
    odd: tuple[str, ...] = ()
    given: int = 0

    def __str__(self) -> str:
        if not self.runs:
            return "none: no run that finished asked a server"
        ids = f"{self.documents - self.again} of the server's token ids"
        how = f"{self.again} of text tokenised again{', and so here' if self.remade else ', which was not done here'}"
        return f"{amount(self.documents, 'document')} of {amount(self.runs, 'run')} are its answers: {ids}, {how}"


def check_responses(
    files: Files, tests: Sequence[RecordedTest], log: Log, marked: Marked, tokens: Tokens | None
) -> Answered:
    """Check the response logs of all runs.

    Raises:
        Refused: "responses".
        TokenizerMismatchError: the tokenizer is not the mark's.
    """
    if tokens is not None and marked.mark.tokenizer_sha256 not in (None, tokens.sha256):
        expected = str(marked.mark.tokenizer_sha256)
        raise TokenizerMismatchError(
            "--tokenizer is not that of the mark; give the one of its key", expected=expected, found=tokens.sha256
        )
    found = Answered(remade=tokens is not None)
    for _, begun in log.of("begun"):
        details, ended = begun.details, end_of(log, begun.details["run"])
        assert ended is not None  # or the log would not be sealed
        name, finished = answers_of(details["run"]), ended.event == "finished"
        if not asks_server(details):
            if name in ended.subjects:
                raise Refused(CODE, f"{name}: of a run that asked no server")
        elif name in ended.subjects:
            logged = Logged.read(files[f"{FILES}/{name}"], name)
            plan = marked.plans.get(details["plan"])
            _check_questions(logged, details, plan, name)
            if finished:
                own = [test for test in tests if test.run == details["run"]]
                documents, again, given = _Run(logged, details, plan, own, marked, name).check(tokens)
                found = replace(
                    found,
                    runs=found.runs + 1,
                    documents=found.documents + documents,
                    again=found.again + again,
                    given=found.given + given,
                    odd=(*found.odd, *_odd(logged, details, log)),
                )
        elif finished:
            raise Refused(CODE, f"{name} is not there, and the run asked a server")
    return found


def _most_of(response: Response, longest: int) -> int:
    """Tokens that there can be of an answer's text: one a byte and one that is put before it; not far more than asked.

    Bytes of the text or of what tokenizers normalise it to, whichever are more.
    """
    said = response.completion_tokens
    most = longest * (SPELLINGS if said is not None and said <= longest else 1)
    texts = (response.text, unicodedata.normalize("NFKD", response.text))
    return min(most, 1 + max(len(text.encode("utf-8", "replace")) for text in texts))


def _odd(logged: Logged, details: Mapping[str, Any], log: Log) -> list[str]:
    """In what answers contradict the log, as the server says of them: nobody signed that, so it refutes nothing."""
    questioned, answers = details["questioned"], logged.responses.values()
    first = next(one.time for _, one in log.of("begun") if one.details["questioned"] == questioned)
    begun = datetime.strptime(first, CREATED_FORMAT).replace(tzinfo=UTC).timestamp()
    other = sum(one.model not in (None, questioned["model_name"]) for one in answers)
    early = sum(one.created is not None and one.created < begun for one in answers)
    what = f"run {details['run']}: why {{}} of {amount(len(answers), 'answer')} {{}}"
    return [
        *([what.format(other, f"name another model than {questioned['model_name']}")] if other else []),
        *([what.format(early, "say that they were made before the model was first asked")] if early else []),
    ]


def _check_questions(logged: Logged, details: Mapping[str, Any], plan: Plan | None, name: str) -> None:
    """Raise Refused unless the log is about the server, the model and the plan of the run, asked as the plan says."""
    work = logged.work
    if work is None:
        return
    questioned = details["questioned"]
    said = {"server": work["server"], "model": work["model"], "plan": work.get("plan")}
    right = {"server": questioned["server"], "model": questioned["model_name"], "plan": details["plan"]}
    if plan is not None and plan.sampling is not None:
        one = plan.sampling
        said |= {**work["sampling"], "seed": work["seed"], "endpoint": work["endpoint"]}
        right |= {part: getattr(one, part) for part in (*work["sampling"], "seed")} | {"endpoint": plan.access}
        said["prompts"], right["prompts"] = work["prompts"], plan.probes.prompts
        if work["endpoint"] == "chat":  # it is asked words, and the plan counts ids where there are any
            right["prompts"] = min(work["prompts"], plan.probes.rows)
    for part, value in right.items():
        if said[part] != value:
            raise Refused(CODE, f"{name}: its {part} is {said[part]}, the run's is {value}")


@dataclass(frozen=True)
class _Run:
    """A finished run, and its log."""

    logged: Logged
    details: Mapping[str, Any]
    plan: Plan | None
    tests: Sequence[RecordedTest]
    marked: Marked
    name: str

    def check(self, tokens: Tokens | None) -> tuple[int, int, int]:
        """Of how many documents; of how many of them a text was tokenised again; of these, with ids given (Refused)."""
        work = self.logged.work
        if work is None or not self.logged.whole or not self.logged.unbroken:
            self._refuse("it holds no answer, or its last line is not ended, and the run finished")
        if len({test.material["documents"] for test in self.tests}) != 1:
            self._refuse("the tests of the run rest on different documents, or there is none")
        rows = rows_of(self.tests[0], "documents")
        documents = [row["token_ids"] for row in rows]
        if not 0 < len(rows) <= self.logged.unbroken:
            self._refuse(f"{amount(len(rows), 'document')}, of {amount(self.logged.unbroken, 'answer')} without a gap")
        longest = work["sampling"]["max_new_tokens"]
        reader = None if tokens is None else tokens.reader(longest)
        again = [self._is_of_text(number, row, longest, reader) for number, row in enumerate(rows)]
        self._check_number(documents)
        for test in self.tests:
            if test.kind == WEIGHTS:
                self._check_weights(test, documents)
            elif len(rows_of(test, "prompts")) < work["prompts"]:
                self._refuse(f"{test.what}: fewer prompts than were asked")
        given = sum(self.logged.responses[number].token_ids is not None for number, one in enumerate(again) if one)
        return len(rows), sum(again), given

    def _is_of_text(self, number: int, row: Mapping[str, Any], longest: int, reader: Reads | None) -> bool:
        """Whether a document is of text that was tokenised again, as its name says (Refused: it is not the answer)."""
        response, ids = self.logged.responses[number], row["token_ids"]
        if row["id"] not in (document_name(number), document_name(number, of_text=True)):
            self._refuse(f"document {number} is called {row['id']!r}")
        of_text = bool(row["id"] != document_name(number))
        if not of_text and (response.token_ids is None or list(response.token_ids[:longest]) != ids):
            self._refuse(f"document {number} is not what the server gave as token ids of its answer")
        if of_text and (ids if not response.text else not ids and _READABLE.search(response.text)):
            self._refuse(f"document {number} is empty and its answer is not, or the other way round")
        if of_text and len(ids) > _most_of(response, longest):
            self._refuse(
                f"document {number} has {amount(len(ids), 'token')}, more than its text, or than was asked for"
            )
        if reader is not None:
            read = reader.read(response)
            if (list(read.ids), read.returned) != (ids, not of_text):
                self._refuse(f"document {number} is not what the tokenizer makes of the answer")
        return of_text

    def _check_number(self, documents: Sequence[Sequence[int]]) -> None:
        """Raise Refused unless as many answers count as the rule that ended the asking says."""
        tokens, last = sum(map(len, documents)), len(documents[-1])
        process = next((test for test in self.tests if test.kind == E_PROCESS), None)
        target = self._target(process is None)
        reached = target is not None and tokens >= target
        if target is not None and tokens - last >= target:
            self._refuse(f"answers count beyond the {target:,} tokens that were wanted")
        if process is not None and process.evidence["sequential"]["n_answers"] != len(documents):
            self._refuse("there are documents that the e-process did not look at")
        ended = reached or (process is not None and self._ended(process, documents))
        if len(documents) < self.logged.unbroken and not ended:
            left = self.logged.unbroken - len(documents)
            self._refuse(f"{amount(left, 'answer')} left out, where nothing had ended the asking")
        if process is None and not reached:
            for test in self.tests:
                if test.evidence.get("status") == "confirmatory":
                    self._refuse(f"{test.what} is called confirmatory, with {tokens:,} of {target:,} planned tokens")

    def _target(self, fixed: bool) -> int | None:
        """Tokens with which the asking ended; None: it did not by their number."""
        if self.plan is not None and self.plan.sampling is not None:
            asked = self.plan.sampling.tokens
        else:
            option = self.details["options"].get("sample_tokens")
            asked = option if is_count(option) and option else None
        return DEFAULT_TOKENS if asked is None and fixed else asked

    def _ended(self, process: RecordedTest, documents: Sequence[Sequence[int]]) -> bool:
        """Whether an e-process ended with its last document, whatever was answered beyond it."""
        if process.evidence["sequential"]["stopped"] != "exhausted":
            return True
        if len(documents) >= EMPTY_RUN and not any(documents[-EMPTY_RUN:]):
            return True
        prompts = [row["token_ids"] for row in rows_of(process, "prompts")]
        labels = window_rule(self.marked).label(documents, prompts)
        new = [number for number, reasons in enumerate(labels, start=1) if (reasons == Reason.COUNTED).any()]
        return len(documents) - max(new, default=0) >= max(STALE_RUN, len(prompts))

    def _check_weights(self, test: RecordedTest, documents: Sequence[Sequence[int]]) -> None:
        """Raise Refused unless the weights are of contexts of the documents, and of as many tokens."""
        observed, h = observed_of(test), self.marked.context_width
        contexts = {tuple(ids[at - h : at]) for ids in documents for at in range(h, len(ids))}
        if not isinstance(observed, Excess) or observed.n_tokens != sum(map(len, documents)):
            self._refuse(f"{test.what}: weighed were other answers than the documents")
        if not contexts.issuperset(map(tuple, np.unique(observed.pairs.contexts, axis=0).tolist())):
            self._refuse(f"{test.what}: weights of a context that no answer has")
        if not observed.n_listed:  # what was said less what was expected: above 0 only where it was said
            pairs = {tuple(ids[at - h : at + 1]) for ids in documents for at in range(h, len(ids))}
            liked = np.column_stack((observed.pairs.contexts, observed.pairs.tokens))[observed.weights > 0]
            if not pairs.issuperset(map(tuple, liked.tolist())):
                self._refuse(f"{test.what}: a weight above 0 of a pair that no answer has")

    def _refuse(self, why: str) -> NoReturn:
        raise Refused(CODE, f"{self.name}: {why}")
