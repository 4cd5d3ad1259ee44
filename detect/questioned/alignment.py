"""Two tokenizers on one text: the places where both have a boundary, and the tokens both know.

Everything is counted in bytes of UTF-8, since a token may end within a character. What a tokenizer spells a token as
(Ġthe, ▁the, <0x0A>) is undone first. Pure functions of tokenizers and texts: no model, no key.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from watermark.errors import UnsupportedError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

NOWHERE = -1  # the place of a boundary that stands at no byte of the text, or at an unknown one
_BYTE_TOKENS = {f"<0x{byte:02X}>": bytes([byte]) for byte in range(256)}  # sentencepiece's byte fallback


@dataclass(frozen=True, eq=False)
class Spelled:
    """A text in one tokenizer's tokens.

    Attributes:
        ids: int64 [n].
        places: int64 [n + 1]; the boundary before token i, or after the last, stands at byte places[i] of the text.
    """

    ids: NDArray[np.int64]
    places: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """A tokenizer, and the text of each of its tokens.

    Attributes:
        spelling: of each id the bytes it adds to a text; a special token's are those of its name.
        special: ids that are marked special.
        fallback: ids that stand for one byte where the tokenizer has no better token.
        adds_space: whether a text is tokenised as if a space stood before it.
    """

    tokenizer: PreTrainedTokenizerBase
    spelling: tuple[bytes, ...]
    special: frozenset[int]
    fallback: frozenset[int]
    adds_space: bool

    def __len__(self) -> int:
        return len(self.spelling)

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> Vocabulary:
        """Spell out a fast tokenizer, byte-level or of sentencepiece's kind.

        Raises:
            UnsupportedError: it is neither.
        """
        core = getattr(tokenizer, "backend_tokenizer", None)
        if core is None:
            raise UnsupportedError(
                f"{_name(tokenizer)}: a tokenizer without a tokenizer.json gives no offsets, which an aligned reading "
                "needs; convert it to a fast one, or use the sampled test alone"
            )
        spell = _speller(json.loads(core.to_str())["decoder"], _name(tokenizer))
        added = tokenizer.added_tokens_decoder
        names = [added[i].content if i in added else core.id_to_token(i) or "" for i in range(len(tokenizer))]
        spelling = tuple(name.encode() if i in added else spell(name) for i, name in enumerate(names))
        bytewise = (i for i, name in enumerate(names) if name in _BYTE_TOKENS and spelling[i] != name.encode())
        single = core.encode("x", add_special_tokens=False).ids
        return cls(
            tokenizer,
            spelling,
            special=frozenset(i for i, token in added.items() if token.special),
            fallback=frozenset(bytewise),
            adds_space=b"".join(spelling[i] for i in single) == b" x",
        )

    def tokens(self) -> dict[bytes, int]:
        """Text → id, of every token with a text of its own that is not special.

        Where several have the same, an ordinary token comes before a fallback, then the lowest id.
        """
        found: dict[bytes, int] = {}
        for i in sorted(range(len(self)), key=lambda i: (i in self.fallback, i)):
            if self.spelling[i] and i not in self.special:
                found.setdefault(self.spelling[i], i)
        return found

    def read(self, ids: Sequence[int] | NDArray[Any]) -> tuple[str, Spelled]:
        """The text of token ids, special tokens left out, and the places of their boundaries in it.

        A text ends where its bytes stop to be characters: at a cut within one, mostly.
        """
        parts = [b"" if int(i) in self.special else self.spelling[int(i)] for i in ids]
        data = b"".join(parts)
        skip = 1 if self.adds_space and data.startswith(b" ") else 0  # decoders drop it, too
        text = _characters(data[skip:])
        places = np.array(list(accumulate(map(len, parts), initial=-skip)), dtype=np.int64)
        places[places > len(text.encode())] = NOWHERE
        return text, Spelled(np.asarray(ids, dtype=np.int64).reshape(-1), places)

    def tokenise(self, text: str) -> Spelled:
        """Tokenise a text, without added specials.

        Where the tokens' texts join to another text (a normaliser changed it), the tokenizer's own offsets tell the
        places, and a boundary counts only where the token after it begins where the one before it ended.
        """
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = np.array(encoding["input_ids"], dtype=np.int64)
        parts, data = [self.spelling[i] for i in ids], text.encode()
        joined = b"".join(parts)
        if joined in (data, b" " + data):
            places = accumulate(map(len, parts), initial=len(data) - len(joined))
            return Spelled(ids, np.array(list(places), dtype=np.int64))
        return Spelled(ids, _from_offsets(text, encoding["offset_mapping"]))


def shared_tokens(vocabularies: Sequence[Vocabulary]) -> list[NDArray[np.int64]]:
    """Of every vocabulary the ids, [S], of the tokens that all have, by text; column by column the same token.

    Ordered by the ids of the first.
    """
    tokens = [vocabulary.tokens() for vocabulary in vocabularies]
    common = [text for text in tokens[0] if all(text in other for other in tokens[1:])]
    common.sort(key=tokens[0].__getitem__)
    return [np.array([one[text] for text in common], dtype=np.int64) for one in tokens]


def meeting(places: NDArray[np.int64], others: Sequence[Spelled]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Where boundaries of a text meet boundaries of all its other tokenisations.

    Args:
        places: int64 [n], of the boundaries in question.
        others: M tokenisations of the same text.

    Returns:
        Which of `places` meet one in each: [P]; and the tokens before it there: [P, M]. Of several boundaries at one
        place (tokens without text) the last is taken.
    """
    boundaries = [{place: i for i, place in enumerate(other.places.tolist()) if place >= 0} for other in others]
    found = [i for i, place in enumerate(places.tolist()) if all(place in one for one in boundaries)]
    tokens = [[one[int(places[i])] for one in boundaries] for i in found]
    return np.array(found, dtype=np.intp), np.array(tokens, dtype=np.intp).reshape(len(found), len(others))


def pieces(
    tokens: NDArray[np.intp], longest: Sequence[int], warm_up: int
) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp], slice]]:
    """Cut an answer that M models read, each in its own tokens, into pieces that fit into all of them.

    Args:
        tokens: [P, M], how many tokens of each model stand before each position that is to be read.
        longest: tokens in a piece, for each model; above `warm_up`.
        warm_up: tokens before its first position that a later piece begins with.

    Yields:
        start [M] and end [M] of a piece in tokens, and which positions are read from it: each from one.
    """
    first = 0
    while first < len(tokens):
        start = np.maximum(0, tokens[first] - warm_up)
        fits = (tokens[first:] - start <= np.asarray(longest)).all(axis=1)
        last = first + (len(fits) if fits.all() else int(fits.argmin()))
        yield start, tokens[first:last].max(axis=0), slice(first, last)
        first = last


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return str(getattr(tokenizer, "name_or_path", "")) or type(tokenizer).__name__


def _speller(decoder: dict[str, Any] | None, name: str) -> Callable[[str], bytes]:
    """Token as the vocabulary has it → bytes, told from the steps by which the tokenizer decodes."""
    steps = [] if decoder is None else decoder.get("decoders", [decoder])
    kinds = {step["type"] for step in steps}
    if "ByteLevel" in kinds:
        return _of_byte_level
    spaces = [step["pattern"].get("String") for step in steps if step["type"] == "Replace" and step["content"] == " "]
    spaces += [step["replacement"] for step in steps if step["type"] == "Metaspace"]
    if not spaces or not spaces[0]:
        raise UnsupportedError(
            f"{name}: neither a byte-level tokenizer nor one of sentencepiece's kind, so what text its tokens "
            "stand for is unknown; use the sampled test alone"
        )
    known = _BYTE_TOKENS if "ByteFallback" in kinds else {}
    return lambda token: known.get(token) or token.replace(spaces[0], " ").encode()


def _byte_alphabet() -> dict[str, int]:
    """The letters in which byte-level tokenizers write bytes: printable Latin-1 as it is, the rest from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in set(plain)]
    return {chr(byte): byte for byte in plain} | {chr(0x100 + n): byte for n, byte in enumerate(rest)}


_ALPHABET = _byte_alphabet()


def _of_byte_level(token: str) -> bytes:
    return bytes(_ALPHABET[char] for char in token) if set(token) <= _ALPHABET.keys() else token.encode()


def _characters(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        return data[: error.start].decode()


def _from_offsets(text: str, offsets: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Boundaries from ranges of characters: at a byte where one range ends and the next begins, else nowhere."""
    byte = list(accumulate((len(char.encode()) for char in text), initial=0))
    if not offsets:
        return np.zeros(1, dtype=np.int64)
    ends = [offsets[0][0], *(end for _, end in offsets)]
    starts = [*(start for start, _ in offsets), offsets[-1][1]]
    pairs = zip(ends, starts, strict=True)
    return np.array([byte[end] if end == start else NOWHERE for end, start in pairs], dtype=np.int64)
