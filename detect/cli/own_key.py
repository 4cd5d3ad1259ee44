"""`taggant attribute --case`: what a case records of a search among many keys, the test of its own key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from detect.cli.options import TokenizerAtHand

if TYPE_CHECKING:
    from detect.attribution import Candidate
    from detect.bundles.run import Run
    from detect.counting import Tally
    from detect.evidence import Assessment
    from detect.observation import Observed
    from detect.readers import Row
    from watermark.keys import Key

NAME = "attribution"


@dataclass(frozen=True)
class OwnKey:
    """The case's key among those that are listed.

    Attributes:
        how: as the test of this key is judged.
        listed: number of keys among which its mark is looked for.
    """

    key: Key
    how: Assessment
    listed: int

    @classmethod
    def among(cls, key: Key, how: Assessment, candidates: Sequence[Candidate]) -> OwnKey:
        """Raise InputError where it is none of them."""
        from watermark.errors import InputError

        if all(candidate.key.key_id != key.key_id for candidate in candidates):
            raise InputError(f"key {key.short_id} is none of the {len(candidates):,} listed; list it, or give another")
        return cls(key, how, len(candidates))

    def record_rows(self, run: Run, rows: Sequence[Row], tokenizer: str | None, *, sampled: bool) -> None:
        """The test of texts, or of a questioned model's answers."""
        from detect.counting import tally
        from detect.observation import Texts
        from detect.readers import tokenized

        at_hand, identity = TokenizerAtHand(self.key, tokenizer), self.key.tokenizer
        vocab_size = None if identity is None else identity.vocab_size
        read = tokenized(rows, self.key.context_width, at_hand.load, vocab_size=vocab_size)
        counted = tally(
            self.key,
            read.documents,
            read.prompts,
            test="sampled" if sampled else "text",
            tokenizer_checked=at_hand.checked,
        )
        self._record(run, counted, Texts(read.documents, read.prompts, read.ids), read.notes)

    def record_saved(self, run: Run, path: Path) -> None:
        """The test of weights that were saved."""
        from detect.counting import weigh
        from detect.observation import load_observed

        observed = load_observed(path)
        self._record(run, weigh(self.key, observed), observed, [])

    def _record(self, run: Run, counted: Tally, observed: Observed, notes: Sequence[str]) -> None:
        from detect.bundles.material import ATTRIBUTE, Family, Tested, write_run
        from detect.evidence import assess_family

        (evidence,) = assess_family([counted], self.how, notes=[notes], keys=self.listed)
        tested = Tested.of(counted, evidence.to_dict(), observed)
        write_run(run, ATTRIBUTE, [Family({NAME: tested}, self.how.key_check is True, self.listed)])
