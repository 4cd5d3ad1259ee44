"""From recorded answers to token ids of the key's tokenizer, and what a detour through text may have cost.

A server's own ids are used only where they are the key's: their text, decoded by the key's tokenizer, must be the text
the server sent, and they must split it much as that tokenizer does. Else the text is tokenised again: a server that
spells an answer out byte by byte would otherwise hide every pair of it. That may split words otherwise than the model
did.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from detect.questioned.responses import Position, Response
from watermark.windows import Document

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_ID_NAME = "token_id:"  # how vLLM names a token by its id
_LONGEST_ID_NAME = len(_ID_NAME) + 10
SPELLED_ALIKE = 0.8  # least share of a server's windows of two tokens; sampled at temperature 1.3, 0.9 are (facts.md)


@dataclass(frozen=True)
class Listed:
    """What a server listed at one position of an answer.

    Attributes:
        log_probabilities: token id → nats; the token that was said, and those of the likeliest whose id is known.
        least: the smallest among the likeliest, nats: no token that is not listed is likelier. None: none were listed.
    """

    log_probabilities: dict[int, float]
    least: float | None


@dataclass(frozen=True)
class AnswerIds:
    """One answer in ids of the key's tokenizer.

    Attributes:
        ids: the answer's tokens.
        returned: the server gave them; else its text was tokenised again.
        spelled_otherwise: the server's are the text's, but too few of their windows are the tokenizer's own.
    """

    ids: list[int]
    returned: bool
    spelled_otherwise: bool = False


class AnswerReader:
    """Recorded answers in ids of one tokenizer.

    Args:
        tokenizer: the key's.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._known: dict[int, AnswerIds] = {}
        self._names: dict[str, int] | None = None
        self._special = {one for one, token in tokenizer.added_tokens_decoder.items() if token.special}

    def read(self, response: Response) -> AnswerIds:
        """The answer's ids; worked out once for each request."""
        if response.request not in self._known:
            self._known[response.request] = self._read(response)
        return self._known[response.request]

    def length(self, response: Response) -> int:
        """Tokens in the answer."""
        return len(self.read(response).ids)

    def alternatives(self, response: Response) -> list[Listed] | None:
        """The log-probabilities the server gave, at each token of the answer.

        None: it gave none, or its positions are not those of the ids. A token whose name belongs to several ids, or to
        none, is left out.
        """
        answer, positions = self.read(response), response.logprobs
        if positions is None or len(positions) < len(answer.ids):
            return None
        found = []
        for token, position in zip(answer.ids, positions, strict=False):  # an end-of-text may follow
            named = {self._id_of(name, answer.returned): value for name, value in position["top"]}
            chosen = self._id_of(position["token"], answer.returned)
            if chosen not in (None, token):
                return None
            named[token] = position["logprob"]
            known = {one: value for one, value in named.items() if one is not None}
            found.append(Listed(known, _least(position)))
        return found

    def _read(self, response: Response) -> AnswerIds:
        own = [int(token) for token in self._tokenizer(response.text, add_special_tokens=False)["input_ids"]]
        words = None if response.token_ids is None else self._words(response.token_ids, response.text)
        if words is None or response.token_ids is None:
            return AnswerIds(own, False)
        before, shared = _shared_windows(words, own, 2)
        if before and shared < SPELLED_ALIKE * before:
            return AnswerIds(own, False, spelled_otherwise=True)
        return AnswerIds(list(response.token_ids), True)

    def _words(self, ids: Sequence[int], text: str) -> list[int] | None:
        """The ids without special tokens at the end, if they are this text; else None.

        An end within a character is shown by some servers and not by others. Special tokens stand at the end, if at
        all: between others they would keep pairs from being counted, unseen.
        """
        if max(ids, default=0) >= len(self._tokenizer):
            return None
        words = list(ids)
        while words and words[-1] in self._special:
            words.pop()
        if self._special & set(words):
            return None
        decoded = str(self._tokenizer.decode(words))
        return words if decoded.strip().rstrip("\ufffd") == text.strip().rstrip("\ufffd") else None

    def _id_of(self, name: str, returned: bool) -> int | None:
        if name.startswith(_ID_NAME) and name[len(_ID_NAME) :].isdecimal():
            return int(name[len(_ID_NAME) :]) if returned and len(name) <= _LONGEST_ID_NAME else None
        if self._names is None:
            self._names = _unambiguous_names(self._tokenizer)
        return self._names.get(name)


def _least(position: Position) -> float | None:
    """The smallest log-probability among the likeliest tokens; some servers add the one that was said to them."""
    others = [value for name, value in position["top"] if name != position["token"]]
    return min(others, default=position["logprob"] if position["top"] else None)


def _unambiguous_names(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """Text of a token → its id, for texts that one token alone has."""
    names = [str(tokenizer.decode([token])) for token in range(len(tokenizer))]
    counts = Counter(names)
    return {name: token for token, name in enumerate(names) if counts[name] == 1}


@dataclass(frozen=True)
class Detour:
    """What tokenising again may have cost, measured against the number of tokens the server says it wrote.

    Attributes:
        answers: tokenised again, with a number from the server.
        alike: of them, those of the same number of tokens.
        tokens: that the server counted in them.
        missing: Σ |the server's number − ours|.
    """

    answers: int
    alike: int
    tokens: int
    missing: int

    @classmethod
    def measured(cls, reader: AnswerReader, responses: Iterable[Response]) -> Detour:
        """An answer that ended by itself may or may not have been counted with its end-of-text: the nearer is taken."""
        sizes, differences = [], []
        for response in responses:
            answer, counted = reader.read(response), response.completion_tokens
            if answer.returned or counted is None or not answer.ids:
                continue
            possible = [counted] if response.finish_reason == "length" else [counted, counted - 1]
            differences.append(min(abs(size - len(answer.ids)) for size in possible))
            sizes.append(counted)
        return cls(len(sizes), differences.count(0), sum(sizes), sum(differences))

    def share_of_pairs(self, context_width: int) -> float:
        """An estimate: a token too many or too few spoils the h + 1 pairs it is in, and one more at the join."""
        return min(1.0, self.missing * (context_width + 2) / max(1, self.tokens))


def surviving_share(tokenizer: PreTrainedTokenizerBase, documents: Iterable[Document], width: int) -> float | None:
    """Share of the windows of `width` tokens that are there again after decoding a document and tokenising its text.

    None: there is no such window. For ids that a model drew, this is what a detour through text leaves of them.
    """
    before, after = 0, 0
    for document in documents:
        ids = [int(token) for token in document]
        again = tokenizer(tokenizer.decode(ids), add_special_tokens=False)["input_ids"]
        windows, shared = _shared_windows(ids, again, width)
        before += windows
        after += shared
    return after / before if before else None


def _shared_windows(ids: Sequence[int], again: Sequence[int], width: int) -> tuple[int, int]:
    """How many windows of `width` tokens there are in the first, and how many of these in the second as well."""
    windows, others = (
        Counter(tuple(one[start : start + width]) for start in range(len(one) - width + 1)) for one in (ids, again)
    )
    return windows.total(), (windows & others).total()
