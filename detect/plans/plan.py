"""The plan of an examination: all that is settled before the questioned model is touched, and the checks against it.

A plan's digest is the SHA-256 of its canonical JSON (RFC 8785). The file holds just these bytes, so that `sha256sum`
gives the digest, and a timestamp of the file vouches for it. It holds no secret; where the key was committed to, it
names the account and month of the mark.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from detect.exact.power import pairs_needed, planned_maximum
from detect.observation import DEFAULT_TOP
from detect.plans.content import COUNTED, E_PROCESS, FIXED, PlanContent
from detect.plans.parts import (
    NEED_REFERENCE,
    TESTS,
    Inclusion,
    PlannedExclusion,
    PlannedLineup,
    PlannedProbes,
    PlannedSampling,
    PositiveControl,
)
from detect.readers import Row
from detect.wording import amount
from watermark.errors import CommitmentError, InputError, KeyFileError
from watermark.files import new_file
from watermark.keys import UNTIMESTAMPED_NOTE, Key
from watermark.keys.commitment import CREATED_FORMAT
from watermark.keys.members import read_document
from watermark.windows import Document

DEFAULT_DECOYS = 1000
PREDATE_NOTE = (
    "the probes, and frequencies if any: SHA-256 {}; the plan fixes them, but whoever made it had the key: "
    "that they were chosen without it shows only where these digests were published before the key existed"
)
UNCOMMITTED_NOTE = (
    "the plan names no commitment to the key: results under it stay exploratory, as the key could have been chosen "
    "after looking"
)
_SAME_FILES = "give the same files in the same order as when the plan was made"
_SAME_PROBES = f"{_SAME_FILES}; where `plan --choose` chose the rows, give the file that it wrote (--chosen)"


@dataclass(frozen=True)
class Plan(PlanContent):
    """A frozen plan; valid once it exists. The checks of an examination against it are remembered, and nothing else."""

    _checked: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    @classmethod
    def make(
        cls,
        key: Key,
        rows: Iterable[Row],
        *,
        primary: str,
        also: Iterable[str] = (),
        alpha: float = 1e-6,
        power: float = 0.9,
        effect: float = 0.28,
        inclusion: Inclusion | None = None,
        key_check: str | None = None,
        access: str | None = None,
        tokenizer: str | None = None,
        left_out: PlannedExclusion | None = None,
        reference: str | None = None,
        frequencies: str | None = None,
        positive_control: PositiveControl | None = None,
        sampling: PlannedSampling | None = None,
        stopping: str | None = None,
        maximum_pairs: int | None = None,
        top: int = DEFAULT_TOP,
        decoys: int = DEFAULT_DECOYS,
        seed: bytes | None = None,
        created: datetime | None = None,
    ) -> Plan:
        """Plan an examination.

        Args:
            rows: of the probe files.
            access: default: "weights" where the model is read, else "chat".
            stopping: default: "e-process" where the primary test allows it.
            maximum_pairs: default: 1.6 × the fixed n.
            seed: of the decoys, 32 bytes; drawn by default.
            created: an aware time; now, by default.

        Raises:
            InputError: what does not fit together, and what to do.
        """
        rows = list(rows)
        wanted = {primary, *also}
        read = any(test.startswith("reading/") for test in wanted)
        if read and not any(map(_has_answer, rows)):
            raise InputError(
                "the probes hold prompts only, and `reading` needs answers: give rows with text or token_ids"
            )
        counts = primary == COUNTED
        stopping = stopping or (E_PROCESS if counts else FIXED)
        fixed = pairs_needed(effect, key.gamma, alpha=alpha, power=power) if counts else None
        if fixed is not None and stopping == E_PROCESS and maximum_pairs is None:
            maximum_pairs = planned_maximum(fixed)
        return cls(
            created=(created or datetime.now(UTC)).astimezone(UTC).strftime(CREATED_FORMAT),
            alpha=alpha,
            power=power,
            effect=effect,
            gamma=key.gamma,
            context_width=key.context_width,
            key_id=key.key_id,
            inclusion=inclusion,
            key_check=key_check,
            access=access or ("weights" if read else "chat"),
            tokenizer=tokenizer,
            primary=primary,
            tests=tuple(test for test in TESTS if test in wanted),
            probes=PlannedProbes.of(rows),
            left_out=left_out,
            reference=reference,
            frequencies=frequencies,
            positive_control=positive_control,
            sampling=sampling,
            stopping=stopping,
            fixed_pairs=fixed,
            maximum_pairs=maximum_pairs,
            top=top,
            lineup=PlannedLineup(decoys, (secrets.token_bytes(32) if seed is None else seed).hex()),
        )

    # --- the file ---

    def save(self, path: str | Path) -> None:
        """Write the plan, never over something that exists (InputError)."""
        with new_file(path) as handle:
            handle.write(self.canonical)

    @classmethod
    def load(cls, path: str | Path) -> Plan:
        """Read a plan's file.

        Raises:
            InputError: missing, unreadable or malformed.
        """
        advice = "get the plan again as it was written"
        try:
            return read_document(path, cls.from_json, private=False, advice=advice)
        except KeyFileError as error:
            problem = str(error)
        raise InputError(problem)

    # --- what is checked when the plan is carried out ---

    def check_key(self, key: Key) -> None:
        """Raise CommitmentError unless this is the planned key and, where one was planned, in the commitment."""
        if key.key_id != self.key_id:
            raise CommitmentError(f"the plan is for key {self.key_id[:16]}, this one is {key.short_id}; give that key")
        if (key.gamma, key.context_width) != (self.gamma, self.context_width):
            raise CommitmentError(
                f"the plan says gamma {self.gamma:g} and context width {self.context_width}, its key "
                f"{key.gamma:g} and {key.context_width}: the plan was changed or made by other means; make it again"
            )
        if self.inclusion is not None:
            self.inclusion.check(key.key_id)
        self._checked.add("key")

    def check_key_check(self, accepted: bool | None, corpus: str | None) -> None:
        """Raise CommitmentError unless the key's check on human text is the one the plan knows of.

        Args:
            accepted: what the record beside the key says; None: there is none (any more, where the plan knows of one).
            corpus: digest of its human text.
        """
        if accepted is not None and (not accepted or corpus != self.key_check):
            outcome = "passed" if accepted else "was refused by"
            raise CommitmentError(
                f"the key {outcome} a check on human text that the plan does not know of: a key is checked before its "
                "first use, and planned for then; make the plan again"
            )
        self._checked.add("key check")

    def check_access(self, access: str) -> None:
        """Raise InputError unless the questioned model is reached as planned."""
        if access != self.access:
            how = {"weights": "give --model, its weights"}
            advice = how.get(self.access, f"give --api with --endpoint {self.access}")
            raise InputError(f"access is {access}, the plan says {self.access}: {advice}")
        self._checked.add("access")

    def check_tokenizer(self, fingerprint: str | None) -> None:
        """Raise InputError unless text becomes ids by the planned tokenizer, where the plan names one."""
        if self.tokenizer is not None:
            _same("tokenizer", fingerprint, self.tokenizer)
        self._checked.add("tokenizer")

    def check_probes(self, rows: Iterable[Row]) -> None:
        """Raise InputError unless the rows are those of the plan, in its order."""
        found, planned = PlannedProbes.of(rows), self.probes
        if found.rows != planned.rows:
            raise InputError(
                f"the probes have {amount(found.rows, 'row')}, those of the plan {planned.rows:,}; {_SAME_PROBES}"
            )
        if found != planned:
            raise InputError(
                f"the probes' content or order is not the plan's (SHA-256 {found.sha256[:16]}, planned "
                f"{planned.sha256[:16]}); {_SAME_PROBES}"
            )
        self._checked.add("probes")

    def check_left_out(self, prompts: Sequence[Document]) -> None:
        """Raise InputError unless a count leaves out what the plan says, where it says so.

        Args:
            prompts: in the planned tokenizer's ids, in every form that is left out.
        """
        if self.left_out is not None and PlannedExclusion.of(prompts) != self.left_out:
            raise InputError(
                "the prompts' token ids are not those of the plan, although probes and tokenizer are: another version "
                "of Taggant, or of the tokenizer's library, made the plan; use that one"
            )
        self._checked.add("left out")

    def check_reference(self, digest: str | None) -> None:
        """Raise InputError unless this is the planned reference; None: there is none, or no planned test needs it."""
        if digest is not None or set(NEED_REFERENCE) & set(self.tests):
            _same("reference", digest, self.reference)
        self._checked.add("reference")

    def check_frequencies(self, rows: Iterable[Row] | None) -> None:
        """Raise InputError unless the text to count contexts in is the planned one; None: there is none."""
        found = None if rows is None else PlannedProbes.of(rows).sha256
        if found != self.frequencies:
            given = "none are given" if found is None else f"SHA-256 {found[:16]} is given"
            planned = "none are planned" if self.frequencies is None else f"{self.frequencies[:16]} is planned"
            raise InputError(f"frequencies: {given}, {planned}; {_SAME_FILES}")
        self._checked.add("frequencies")

    def check_positive_control(self, digest: str) -> None:
        """Raise InputError unless this is the planned positive control."""
        _same("positive control", digest, None if self.positive_control is None else self.positive_control.digest)
        self._checked.add("positive control")

    def check_sampling(self, **settings: Any) -> None:
        """Raise InputError unless each setting (the fields of PlannedSampling) is the planned one."""
        if self.sampling is None:
            raise InputError("the plan samples nothing; leave the sampled test out")
        given = PlannedSampling(**settings)
        for name, planned in asdict(self.sampling).items():
            _equal(f"sampling {name}", getattr(given, name), planned)
        self._checked.add("sampling")

    def check_settings(
        self, *, alpha: float, effect: float, tests: Sequence[str], top: int, decoys: int, seed: bytes
    ) -> None:
        """Raise InputError unless the examination is judged as planned."""
        _equal("alpha", alpha, self.alpha)
        _equal("effect", effect, self.effect)
        _equal("tests", " ".join(sorted(set(tests))), " ".join(sorted(self.tests)))
        _equal("top", top, self.top)
        _equal("decoys", decoys, self.lineup.decoys)
        _equal("seed", seed.hex(), self.lineup.seed)
        self._checked.add("settings")

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Which of the checks above have not been passed."""
        needed = ["key", "key check", "access", "tokenizer", "probes", "reference", "frequencies", "settings"]
        needed += ["sampling"] if self.sampling is not None else []
        needed += ["left out"] if self.left_out is not None else []
        return tuple(name for name in needed if name not in self._checked)

    @property
    def has_checked_control(self) -> bool:
        """Whether the positive control at hand is the planned one."""
        return "positive control" in self._checked

    @property
    def is_confirmatory(self) -> bool:
        """Whether the key was committed to, a tokenizer was named, and everything was checked against the plan."""
        return not self.shortcomings

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why no result under it can be confirmatory; empty: it can."""
        reasons = [] if not self.unchecked else [f"not checked against the plan: {', '.join(self.unchecked)}"]
        reasons += [] if self.inclusion is not None else ["no key commitment in the plan"]
        reasons += [] if self.tokenizer is not None else ["no tokenizer in the plan"]
        settled = self.left_out is not None or self.tokenizer is None or COUNTED not in self.tests
        reasons += [] if settled else ["the plan does not say in which ids a count leaves its prompts out"]
        return tuple(reasons)

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be known of the plan, for evidence."""
        plan = f"plan: SHA-256 {self.digest}, {self.created}; primary test {self.primary}, stopping {self.stopping}"
        digests = [self.probes.sha256] + ([] if self.frequencies is None else [self.frequencies])
        chosen = PREDATE_NOTE.format(" and SHA-256 ".join(digests))
        if self.inclusion is None:
            return plan, chosen, UNCOMMITTED_NOTE
        one = self.inclusion.commitment
        commitment = f"key commitment: root {one.root}, {amount(one.size, 'mark')}, {one.created}"
        return plan, chosen, commitment, UNTIMESTAMPED_NOTE


def _has_answer(row: Row) -> bool:
    return row.text is not None or row.token_ids is not None


def _same(what: str, digest: str | None, planned: str | None) -> None:
    if digest == planned:
        return
    named = [("none" if one is None else f"digest {one[:16]}") for one in (digest, planned)]
    raise InputError(f"{what}: {named[0]} is given, {named[1]} is planned; give the planned one")


def _equal(name: str, given: object, planned: object) -> None:
    if given != planned:
        raise InputError(f"{name} is {given}, the plan says {planned}; leave the option out to follow the plan")
