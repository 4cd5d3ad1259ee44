"""What a questioned server answered, and the append-only log it is written to before it counts.

An answer is *recorded* when its line is on disk. A question whose answer is recorded is never asked again. One that
was under way when the process was killed may be: its answer, if it was on its way, was not recorded.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from detect.questioned.questions import Questions, prompt_of
from watermark.errors import InputError
from watermark.greenlist import MAX_TOKEN_ID
from watermark.journal import Journal

SPELLINGS = 4  # tokens of the key's for one of a server's that counts its own: bytes for words, at worst
LARGEST = 1e30  # of a log-probability's size; servers write -9999 for impossible
Position = dict[str, Any]  # {"token": text, "logprob": number, "top": [[text, number], …]}


class UnusableAnswer(InputError):
    """What came is no answer of an OpenAI-compatible server; another attempt may bring one."""


@dataclass(frozen=True)
class Response:
    """One recorded answer.

    Attributes:
        request: its number.
        prompt: the number of the prompt that was asked.
        text: the answer; half surrogate pairs, which no tokenizer reads, became U+FFFD.
        token_ids: as the server gave them, in the server's vocabulary; None: it gave none.
        finish_reason: "stop", "length", "content_filter" or the server's own word.
        logprobs: one item a position; None: the server gave none.
        prompt_tokens: as the server counted.
        completion_tokens: as the server counted, usually with the end-of-text token.
        model: the name the server answered under.
    """

    request: int
    prompt: int
    text: str
    token_ids: tuple[int, ...] | None = None
    finish_reason: str | None = None
    logprobs: tuple[Position, ...] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    response_id: str | None = None
    created: int | None = None
    model: str | None = None
    system_fingerprint: str | None = None

    @classmethod
    def read(cls, request: int, questions: Questions, body: Any) -> Response:
        """Take from a server's JSON what is recorded; the rest is dropped.

        Raises:
            UnusableAnswer: it holds no answer.
        """
        choice = _choice(body)
        logprobs = _member(choice, "logprobs", dict)
        if questions.endpoint == "chat":
            message = _member(choice, "message", dict)
            if message is None:
                raise UnusableAnswer("the answer lacks choices[0].message")
            text, positions = message.get("content"), _chat_positions(logprobs)
        else:
            text, positions = choice.get("text"), _completion_positions(logprobs)
        if not isinstance(text, str | None):
            raise UnusableAnswer("the answer's text is no text")
        return cls(
            request=request,
            prompt=questions.prompt_of(request),
            text=_whole_characters(text or ""),
            token_ids=_token_ids(choice.get("token_ids")),
            finish_reason=_short(choice.get("finish_reason")),
            logprobs=positions,
            **_circumstances(body),
        )

    def counted(self) -> dict[str, Any]:
        """What of it counts. Left out is what two servers that answer alike would differ in: names, times, costs."""
        return {
            "request": self.request,
            "prompt": self.prompt,
            "text": self.text,
            "token_ids": None if self.token_ids is None else list(self.token_ids),
            "finish_reason": self.finish_reason,
            "logprobs": None if self.logprobs is None else list(self.logprobs),
        }

    def to_entry(self) -> dict[str, Any]:
        """The log's line."""
        return {
            **self.counted(),
            "usage": {"prompt_tokens": self.prompt_tokens, "completion_tokens": self.completion_tokens},
            "id": self.response_id,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.system_fingerprint,
        }

    @classmethod
    def from_entry(cls, entry: Any, prompts: int) -> Response:
        """What `to_entry` wrote.

        Args:
            prompts: how many the questions have.

        Raises:
            UnusableAnswer: it was written by something else.
        """
        request = _count(entry.get("request")) if isinstance(entry, dict) else None
        if request is None or entry.get("prompt") != prompt_of(request, prompts):
            raise UnusableAnswer("no request and prompt of these questions")
        if not isinstance(entry.get("text"), str):
            raise UnusableAnswer("no text")
        positions = entry.get("logprobs")
        response = cls(
            request=request,
            prompt=entry["prompt"],
            text=entry["text"],
            token_ids=_token_ids(entry.get("token_ids")),
            finish_reason=_short(entry.get("finish_reason")),
            logprobs=None if not isinstance(positions, list) else tuple(map(_logged, positions)),
            **_circumstances(entry),
        )
        if response.to_entry() != entry:
            raise UnusableAnswer("members that the log does not have")
        return response


class ResponseLog:
    """The answers to `questions`, in the order they came, at `path`.

    Attributes:
        answered: by number of request.

    Raises:
        InputError: the file holds answers to other questions or is damaged (it is kept), cannot be written, or another
            process is at it.
    """

    def __init__(self, path: Path, questions: Questions) -> None:
        self.path = path
        self.answered: dict[int, Response] = {}
        self._journal = Journal(path, questions.identity(), evidence=True)
        try:
            for number, entry in enumerate(self._journal.entries, start=2):
                self._take(number, entry, questions)
        except BaseException:
            self._journal.close()
            raise

    def record(self, response: Response) -> None:
        """On disk when this returns; then it counts."""
        if response.request in self.answered:
            raise ValueError(f"request {response.request} is answered already")
        self._journal.append(response.to_entry())
        self.answered[response.request] = response

    def read(self) -> bytes:
        """The log as it is now."""
        return self._journal.read()

    def copy_to(self, path: Path) -> None:
        """Keep a copy at `path`, see `Journal.copy_to`."""
        self._journal.copy_to(path)

    def close(self) -> None:
        """Let go; a log without answers is not left behind."""
        self._journal.close()

    def __enter__(self) -> ResponseLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self, line: int, entry: Any, questions: Questions) -> None:
        try:
            response = Response.from_entry(entry, len(questions.prompts))
        except (UnusableAnswer, TypeError, KeyError) as error:
            reason = str(error) if isinstance(error, UnusableAnswer) else "no such log-probabilities"
            raise InputError(f"{self.path}:{line}: not a recorded answer ({reason}); restore the file") from None
        if response.request in self.answered:
            raise InputError(f"{self.path}:{line}: request {response.request} was recorded before; restore the file")
        self.answered[response.request] = response


def responses_sha256(responses: Iterable[Response]) -> str:
    """SHA-256, hex, over what counts of each answer in the order asked: its canonical JSON (RFC 8785) and a newline."""
    digest = hashlib.sha256()
    for response in responses:
        digest.update(rfc8785.dumps(response.counted()) + b"\n")
    return digest.hexdigest()


def _circumstances(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not count of an answer, from the server's JSON or the log's: both name it alike."""
    usage = _member(answer, "usage", dict) or {}
    return {
        "prompt_tokens": _count(usage.get("prompt_tokens")),
        "completion_tokens": _count(usage.get("completion_tokens")),
        "response_id": _short(answer.get("id")),
        "created": _count(answer.get("created")),
        "model": _short(answer.get("model")),
        "system_fingerprint": _short(answer.get("system_fingerprint")),
    }


def _choice(body: Any) -> dict[str, Any]:
    choices = _member(body, "choices", list)
    if not choices or not isinstance(choices[0], dict):
        raise UnusableAnswer("the answer lacks choices[0]")
    return choices[0]


def _member(value: Any, name: str, kind: type) -> Any:
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, kind) else None


def _short(value: Any) -> str | None:
    return _whole_characters(value[:200]) if isinstance(value, str) else None


def _count(value: Any) -> int | None:
    return value if type(value) is int and 0 <= value < 2**53 else None


def _token_ids(value: Any) -> tuple[int, ...] | None:
    if not isinstance(value, list) or not all(type(one) is int and 0 <= one <= MAX_TOKEN_ID for one in value):
        return None
    return tuple(value)


def _whole_characters(text: str) -> str:
    """JSON can write half a surrogate pair, which is no character and cannot be written to a file."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _chat_positions(logprobs: dict[str, Any] | None) -> tuple[Position, ...] | None:
    content = _member(logprobs, "content", list)
    if content is None:
        return None
    try:
        return tuple(
            _position(one["token"], one["logprob"], [(top["token"], top["logprob"]) for top in one["top_logprobs"]])
            for one in content
        )
    except (TypeError, KeyError):
        raise UnusableAnswer("the answer's log-probabilities cannot be read") from None


def _completion_positions(logprobs: dict[str, Any] | None) -> tuple[Position, ...] | None:
    parts = [_member(logprobs, name, list) for name in ("tokens", "token_logprobs", "top_logprobs")]
    if any(part is None for part in parts):
        return None
    try:
        return tuple(
            _position(token, logprob, list((top or {}).items())) for token, logprob, top in zip(*parts, strict=True)
        )
    except (TypeError, ValueError, AttributeError):
        raise UnusableAnswer("the answer's log-probabilities cannot be read") from None


def _position(token: Any, logprob: Any, top: Any) -> Position:
    """One position's log-probabilities, checked."""
    if not isinstance(top, list) or not all(isinstance(one, list | tuple) and len(one) == 2 for one in top):
        raise UnusableAnswer("the answer's log-probabilities are no list of tokens with a number each")
    pairs = [[_token(name), _finite(value)] for name, value in top]
    return {"token": _token(token), "logprob": _finite(logprob), "top": pairs}


def _logged(one: Any) -> Position:
    if not isinstance(one, dict) or one.keys() != {"token", "logprob", "top"}:
        raise UnusableAnswer("log-probabilities of another form")
    return _position(one["token"], one["logprob"], one["top"])


def _token(value: Any) -> str:
    if not isinstance(value, str):
        raise UnusableAnswer("the answer's log-probabilities name a token that is no text")
    return _whole_characters(value)


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -LARGEST <= value <= LARGEST:
        raise UnusableAnswer("the answer's log-probabilities hold something that is no number")
    return float(value)
