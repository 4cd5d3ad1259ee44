"""Which notes people are told at once, and in which words; with -v all of them. JSON has every note as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from detect.visible import one_line

# What changes no conclusion: records for another examiner, and what the lines above the notes say already
_ROUTINE = (
    r"[\d,]+ tokens? in [\d,]+ (documents?|answers?), ",
    r"[\d,]+ positions? of [\d,]+ contexts? read ",
    r"[\d,]+ special ids ",
    r"The key names no tokenizer: ",
    r"A commitment's date is the owner's own statement",
    r"S = ",
    r"answers weighed ",
    r"below 10\^-\d+ errors of procedure",
    r"line-up: the decoys are counted on ",
    r"log10_e: of this test alone",
    r"log10_p of the comparison tests: of this test alone",
    r"log10_p_adjusted: ",
    r"no key check was at hand",
    r"no reference; K = ",
    r"normalisation changes no token",
    r"our ids of the answers, ",
    r"probes: [\d,]+ rows?, SHA-256 ",
    r"prompts: [\d,]+, SHA-256 ",
    r"questioned model: digest ",
    r"questioned server ",
    r"reference: digest ",
    r"response log: SHA-256 ",
    r"sampling: ",
    r"the key's check: passed ",
    r"the number of tokens was as planned",
    r"the plan's primary test, .* is judged by itself",
    r"the pooled test is judged by itself",
    r"the probes' own token ids, ",
    r"plan: SHA-256 ",
    r"key commitment: root ",
    r"the plan's date is the planner's own statement",
    r"token ids: ",
    r"tokenizer and chat template are the questioned model's own",
    r"tokenised again: as many tokens ",
)
# What holds of every result of its kind, shortened
_SHORTER = (
    (r"what was observed but occurs in a prompt is left out, ([\d,]+ pairs?) distinct; .*",
     r"what occurs in a prompt is left out: \1"),
    (r"p presupposes that the reference does not depend on the key: .*",
     "p presupposes a reference that was published before the key's first use"),
    (r"p presupposes that probes, and frequencies .*",
     "p presupposes probes (and frequencies) that were chosen without the key"),
    (r"the probes, and frequencies if any: SHA-256 .*",
     "publish the digests of probes (and frequencies) before the key exists, to show that they were chosen without it"),
    (r"the number of tokens was fixed when the command was given: (a second, larger look .*)", r"\1"),
)  # fmt: skip
_WORDS = {
    "log10_p_adjusted": "adjusted p",
    "log10_p": "log10 p",
    "log10_e": "the e-value",
    "n_excluded": "pairs left out",
    "n_green": "green pairs",
    "n_scored": "pairs counted",
    "n_tokens": "tokens",
    "p_rank": "the rank's p",
    "positive_control": "positive control",
    "prompt_ids": "prompt ids",
    "token_ids": "token ids",
    "top_k": "top-k",
    "top_p": "top-p",
}
_MEMBER = re.compile(rf"(?<![\w./-])({'|'.join(_WORDS)})(?![./-]?\w)")  # not within a path
_IS_ROUTINE = re.compile("|".join(_ROUTINE))
LONGEST = 400  # characters of a note


@dataclass(frozen=True)
class Told:
    """Notes, for people.

    Attributes:
        notes: those that are shown.
        held_back: the others, as they came.
    """

    notes: tuple[str, ...]
    held_back: frozenset[str] = frozenset()

    @classmethod
    def of(cls, notes: Sequence[str], *, verbose: bool = False) -> Told:
        """Those that change what a reader concludes; with `verbose` all."""
        if verbose:
            return cls(tuple(map(in_words, notes)))
        routine = frozenset(note for note in notes if _IS_ROUTINE.match(note))
        return cls(tuple(in_words(_shorter(note)) for note in notes if note not in routine), routine)

    def lines(self) -> list[str]:
        return [_line(note) for note in self.notes]


def more_line(held_back: int) -> list[str]:
    """How many notes are held back, if any."""
    return [_line(more_words(held_back))] if held_back else []


def more_words(held_back: int) -> str:
    return f"{held_back} more {'note' if held_back == 1 else 'notes'}: -v or --json"


def in_words(note: str) -> str:
    """A note with the members of JSON that it names in words."""
    return _MEMBER.sub(lambda found: _WORDS[found[1]], note)


def _line(text: str) -> str:
    return f"  note         {one_line(text, limit=LONGEST)}"


def _shorter(note: str) -> str:
    for long, short in _SHORTER:
        if re.fullmatch(long, note):
            return re.sub(long, short, note)
    return note
