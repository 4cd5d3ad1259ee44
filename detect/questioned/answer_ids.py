"""From recorded answers to token ids of the key's tokenizer, and what a detour through text may have cost.

A server's own ids are used only where they are the key's: their text, decoded by the key's tokenizer, must be the text
the server sent, and they must split it much as that tokenizer does. Else the text is tokenised again: a server that
spells an answer out byte by byte would otherwise hide every pair of it. That may split words otherwise than the model
did. An answer whose characters hide its tokens is tokenised as it looks, normalised: whether that is so depends on its
text alone, never on a key. No more of an answer counts than was asked for: a server that goes on and on in one would
spend what was planned for many.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from detect.normalise import normalise
from detect.questioned.responses import SPELLINGS, Position, Response
from detect.readers.agreement import said_by, shared_windows
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
        odd: how many characters of its text normalising would undo, and words of two scripts that nothing does.
        disguised: they were undone before it was tokenised.
        surplus: how many more tokens there were than were asked for: left out.
    """

    ids: list[int]
    returned: bool
    spelled_otherwise: bool = False
    odd: int = 0
    disguised: bool = False
    surplus: int = 0


class AnswerReader:
    """Recorded answers in ids of one tokenizer.

    Args:
        tokenizer: the key's.
        longest: tokens of an answer that were asked for; None: it does not matter. In the key's tokens, but
            SPELLINGS times as many where a text was tokenised again, of which the server says that it kept to it.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, longest: int | None = None) -> None:
        self._tokenizer, self._longest = tokenizer, longest
        self._known: dict[int, AnswerIds] = {}
        self._names: dict[str, int] | None = None

    def read(self, response: Response) -> AnswerIds:
        """The answer's ids; worked out once for each request."""
        if response.request not in self._known:
            self._known[response.request] = self._cut(self._read(response), response)
        return self._known[response.request]

    def length(self, response: Response) -> int:
        """Tokens in the answer."""
        return len(self.read(response).ids)

    def alternatives(self, response: Response) -> list[Listed] | None:
        """The log-probabilities the server gave, at each token of the answer.

        None: it gave none, or its positions are not those of the ids, as a disguised answer's never are. A token whose
        name belongs to several ids, or to none, is left out.
        """
        answer, positions = self.read(response), response.logprobs
        if positions is None or answer.disguised or len(positions) < len(answer.ids):
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

    def _cut(self, answer: AnswerIds, response: Response) -> AnswerIds:
        if self._longest is None:
            return answer
        most, said = self._longest, response.completion_tokens
        if not answer.returned and said is not None and said <= most:
            most *= SPELLINGS
        return replace(answer, ids=answer.ids[:most], surplus=max(0, len(answer.ids) - most))

    def _read(self, response: Response) -> AnswerIds:
        looks = normalise(response.text)
        odd = sum(looks.changes.values()) + looks.mixed
        if looks.is_disguise:
            return AnswerIds(self._tokenised(looks.text), False, odd=odd, disguised=True)
        own = self._tokenised(response.text)
        words = None if response.token_ids is None else said_by(self._tokenizer, response.token_ids, response.text)
        if words is None or response.token_ids is None:
            return AnswerIds(own, False, odd=odd)
        before, shared = shared_windows(words, own, 2)
        if before and shared < SPELLED_ALIKE * before:
            return AnswerIds(own, False, spelled_otherwise=True, odd=odd)
        return AnswerIds(list(response.token_ids), True, odd=odd)

    def _tokenised(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer(text, add_special_tokens=False)["input_ids"]]

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
        answers: tokenised again as they came, whole, with a number from the server.
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
            if answer.returned or answer.disguised or answer.surplus or counted is None or not answer.ids:
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
        windows, shared = shared_windows(ids, again, width)
        before += windows
        after += shared
    return after / before if before else None
