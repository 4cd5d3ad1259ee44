"""What a plan says: its values, the rules that make them a plan, and their canonical JSON."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import rfc8785

from detect.exact.arguments import require_probability
from detect.exact.power import pairs_needed, planned_maximum
from detect.plans.parts import (
    ACCESS,
    MOST,
    NEED_REFERENCE,
    TESTS,
    Inclusion,
    PlannedExclusion,
    PlannedLineup,
    PlannedProbes,
    PlannedSampling,
    PositiveControl,
    as_input,
    part,
)
from watermark.errors import InputError, KeyFileError
from watermark.keys.commitment import is_created
from watermark.keys.members import hex_digits, integer, members, number, one_of
from watermark.keys.parameters import MAX_CONTEXT_WIDTH

FORMAT = "taggant-plan/1"
ACCEPTED = "accepted"  # of a key's check; a plan for one that was refused is never made
E_PROCESS, FIXED = "e-process", "fixed"
COUNTED = "sampled/distinct"  # the one test that counts distinct pairs, and so has an e-process
GREENEST = 0.1  # above gamma: students of marked text are rarely greener
MEASURED = "those measured at gamma .25: 26 to 30 %"
_MEMBERS = (
    *("format", "created", "alpha", "power", "effect", "gamma", "context_width", "key", "access", "tokenizer"),
    *(
        "primary",
        "tests",
        "probes",
        "left_out",
        "reference",
        "frequencies",
        "positive_control",
        "sampling",
        "stopping",
        "fixed_pairs",
    ),
    *("maximum_pairs", "top", "lineup"),
)


def is_hopeful(effect: float, gamma: float) -> bool:
    """Whether a green fraction is one that a student of marked text hardly ever has."""
    return effect > gamma + GREENEST + 1e-9


@dataclass(frozen=True)
class PlanContent:
    """A plan's values; a plan once they exist.

    Attributes:
        created: UTC, by the planner's own clock.
        alpha: level of the primary test's finding.
        power: with which a green fraction of `effect` is to be found.
        key_id: 64 hex digits, of the key to be tested.
        inclusion: that key's place in a commitment; None: it was never committed to, or that was not shown.
        key_check: digest of the human text on which the key passed its one check before the plan; None: it was never
            checked.
        access: how the questioned model is reached, one of ACCESS.
        tokenizer: fingerprint (`watermark.engines.models.tokenizer_fingerprint`) of the tokenizer, template and
            settings included, that makes ids of text; None: it is left open, so results are exploratory.
        primary: one of TESTS; every other test's p is adjusted for their number.
        tests: all tests that will be run, the primary one included.
        left_out: the prompts in that tokenizer's ids, whose pairs a count leaves out; None: that is left open, so
            results of a count are exploratory.
        reference: digest of the reference model, or None.
        frequencies: SHA-256 of the unmarked text in which contexts are counted, as `PlannedProbes` has it; None: the
            reference says what is frequent.
        stopping: "e-process", for "sampled/distinct" alone, or "fixed".
        fixed_pairs: distinct pairs a fixed-n test needs for `power`; None unless the primary test counts them.
        maximum_pairs: at which the e-process ends, 1.6 × fixed_pairs or more; None for "fixed".
        top: K, weights kept per context in weighted tests.
    """

    created: str
    alpha: float
    power: float
    effect: float
    gamma: float
    context_width: int
    key_id: str
    inclusion: Inclusion | None
    key_check: str | None
    access: str
    tokenizer: str | None
    primary: str
    tests: tuple[str, ...]
    probes: PlannedProbes
    left_out: PlannedExclusion | None
    reference: str | None
    frequencies: str | None
    positive_control: PositiveControl | None
    sampling: PlannedSampling | None
    stopping: str
    fixed_pairs: int | None
    maximum_pairs: int | None
    top: int
    lineup: PlannedLineup

    def __post_init__(self) -> None:
        """Refuse values of the wrong type or out of range, and plans that contradict themselves (InputError)."""
        with as_input():
            self._check_values()
        self._check_tests()
        self._check_access()
        self._check_pairs()

    def to_json(self) -> dict[str, Any]:
        """The plan's content, as its file holds it."""
        test, _, weights = self.primary.partition("/")
        values: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        values |= {
            "format": FORMAT,
            "key": {
                "key_id": self.key_id,
                "commitment": None if self.inclusion is None else self.inclusion.commitment_json(),
                "inclusion": None if self.inclusion is None else self.inclusion.to_json(),
                "check": None if self.key_check is None else {"outcome": ACCEPTED, "corpus_sha256": self.key_check},
            },
            "tokenizer": None if self.tokenizer is None else {"fingerprint": self.tokenizer},
            "primary": {"test": test, "weights": weights},
            "tests": list(self.tests),
            "probes": asdict(self.probes),
            "left_out": None if self.left_out is None else asdict(self.left_out),
            "reference": None if self.reference is None else {"digest": self.reference},
            "frequencies": None if self.frequencies is None else {"sha256": self.frequencies},
            "positive_control": None if self.positive_control is None else asdict(self.positive_control),
            "sampling": None if self.sampling is None else asdict(self.sampling),
            "lineup": asdict(self.lineup),
        }
        return {name: values[name] for name in _MEMBERS}

    @property
    def canonical(self) -> bytes:
        """The RFC 8785 bytes: what the file holds."""
        return rfc8785.dumps(self.to_json())  # type: ignore[no-any-return]

    @property
    def digest(self) -> str:
        """SHA-256 of `canonical`, 64 hex digits: what is to be published or timestamped."""
        return hashlib.sha256(self.canonical).hexdigest()

    def stops(self, level: float) -> tuple[float, int] | None:
        """Level and maximum of pairs at which the primary test's e-process must end; None: it is none.

        Args:
            level: what p of a single test may be for a finding.
        """
        return None if self.maximum_pairs is None else (level, self.maximum_pairs)

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read what `to_json` gave; the path to the committed root is left to `check_key`.

        Raises:
            InputError, KeyFileError: malformed.
        """
        content = dict(members(value, _MEMBERS, "the plan"))
        one_of(content.pop("format"), "format", [FORMAT])
        key = members(content.pop("key"), ("key_id", "commitment", "inclusion", "check"), "'key'")
        primary = members(content["primary"], ("test", "weights"), "'primary'")
        both = (key["commitment"], key["inclusion"])
        tests = content["tests"]
        named = {
            what: _digest_in(content[what], what, member)
            for what, member in (("reference", "digest"), ("frequencies", "sha256"), ("tokenizer", "fingerprint"))
        }
        parts = {
            "left_out": PlannedExclusion,
            "positive_control": PositiveControl,
            "sampling": PlannedSampling,
        }
        read = {
            name: None if content[name] is None else part(kind, content[name], name) for name, kind in parts.items()
        }
        plan = cls(
            **{
                **content,
                **read,
                **named,
                "key_id": key["key_id"],
                "inclusion": None if both == (None, None) else Inclusion.from_json(*both),
                "key_check": _passed(key["check"]),
                "primary": f"{primary['test']}/{primary['weights']}",
                "tests": tuple(tests) if isinstance(tests, list) else (),
                "probes": part(PlannedProbes, content["probes"], "probes"),
                "lineup": part(PlannedLineup, content["lineup"], "lineup"),
            }
        )
        if plan.canonical != rfc8785.dumps(value):  # such as a label that is not in NFC: its digest would be another
            raise InputError("the plan says in another form what `taggant plan` would have written")
        return plan

    def _check_values(self) -> None:
        for name, low, high in (("alpha", 1e-200, 1), ("power", 0, 1), ("effect", 0, 1), ("gamma", 0, 1)):
            value = number(getattr(self, name), name, low, high)
            object.__setattr__(self, name, require_probability(name, value))
        integer(self.context_width, "context_width", 0, MAX_CONTEXT_WIDTH)
        hex_digits(self.key_id, "key.key_id")
        one_of(self.primary, "primary", TESTS)
        for test in self.tests:
            one_of(test, "tests", TESTS)
        one_of(self.access, "access", ACCESS)
        for digest, name in (
            (self.reference, "reference.digest"),
            (self.frequencies, "frequencies.sha256"),
            (self.tokenizer, "tokenizer.fingerprint"),
            (self.key_check, "key.check.corpus_sha256"),
        ):
            if digest is not None:
                hex_digits(digest, name)
        one_of(self.stopping, "stopping", (E_PROCESS, FIXED))
        for name in ("fixed_pairs", "maximum_pairs"):
            if getattr(self, name) is not None:
                integer(getattr(self, name), name, 1, MOST)
        integer(self.top, "top", 1, MOST)
        if not is_created(self.created):
            raise KeyFileError("'created' must be a UTC time such as \"2026-11-24T08:00:00Z\"")
        if self.inclusion is not None and self.inclusion.commitment.created > self.created:
            raise InputError(
                f"the key was committed to at {self.inclusion.commitment.created}, after the plan's date "
                f"{self.created}: commit to it first, and plan then"
            )

    def _check_tests(self) -> None:
        if self.primary not in self.tests or list(self.tests) != [test for test in TESTS if test in self.tests]:
            raise InputError(f"the plan's tests must hold its primary one, {self.primary}, each once, in fixed order")
        for test in NEED_REFERENCE:
            if test in self.tests and self.reference is None:
                raise InputError(f"{test} weighs against a reference, and the plan has none; give --reference")
        if self.frequencies is not None and not set(NEED_REFERENCE) & set(self.tests):
            raise InputError(
                "frequencies scale what is weighed against a reference; leave them out, or plan such a test"
            )
        if {"reading/difference", "reading/mass"} <= set(self.tests):
            raise InputError("a model is read with a reference or without, not both ways; plan one of them")
        sampled = any(test.startswith("sampled/") for test in self.tests)
        if sampled != (self.sampling is not None):
            raise InputError("a plan says how answers are sampled where it has a sampled test, and only there")
        if self.left_out is not None and (COUNTED not in self.tests or self.tokenizer is None):
            raise InputError(
                f"a plan says which ids a count leaves out where it has {COUNTED} and a tokenizer, and only there"
            )
        if sampled and not self.probes.prompts:
            raise InputError("the probes hold no prompts, which a sampled test needs; give rows with `prompt`")
        if self.sampling is not None and self.sampling.tokens is None and self.stopping == FIXED:
            raise InputError("without the e-process the number of tokens is fixed beforehand; give --sample TOKENS")

    def _check_access(self) -> None:
        """What can be had through the planned way to the model."""
        server, sampling = self.access != "weights", self.sampling
        if server and any(test.startswith("reading/") for test in self.tests):
            raise InputError(f"reading needs the model's weights, and the plan's access is {self.access}")
        if sampling is None:
            return
        if server and sampling.top_k:
            raise InputError(f"the plan samples with top-k {sampling.top_k}, which no server can be asked for")
        if sampling.logprobs is not None and not (server and "sampled/excess" in self.tests):
            raise InputError(
                "log-probabilities are asked of a server (access chat or completions), for sampled/excess; leave "
                "--logprobs out"
            )

    def _check_pairs(self) -> None:
        counts = self.primary == COUNTED
        if self.stopping == E_PROCESS and not counts:
            raise InputError(f"only {COUNTED} has an e-process; plan {self.primary} with --stopping fixed")
        needed = pairs_needed(self.effect, self.gamma, alpha=self.alpha, power=self.power) if counts else None
        if self.fixed_pairs != needed:
            raise InputError(f"fixed_pairs is {self.fixed_pairs}, but alpha, power, effect and gamma need {needed}")
        if self.stopping == E_PROCESS and "sampled/excess" in self.tests:
            raise InputError(
                "sampled/excess needs a number of tokens that does not depend on the key: not beside an "
                "e-process; plan it with --stopping fixed"
            )
        if (self.maximum_pairs is not None) != (self.stopping == E_PROCESS):
            raise InputError("a maximum of pairs belongs to the e-process; leave --max-pairs out for a fixed number")
        if needed is not None and self.maximum_pairs is not None and self.maximum_pairs < planned_maximum(needed):
            raise InputError(
                f"a maximum of {self.maximum_pairs:,} pairs is below 1.6 x the {needed:,} that a fixed number would "
                f"need: the e-process would lack power; plan {planned_maximum(needed):,} or more"
            )


def _passed(check: object) -> str | None:
    """The corpus of a check that the key passed, or of null."""
    if check is None:
        return None
    content = members(check, ("outcome", "corpus_sha256"), "'key.check'")
    one_of(content["outcome"], "key.check.outcome", [ACCEPTED])
    return hex_digits(content["corpus_sha256"], "key.check.corpus_sha256")


def _digest_in(value: object, what: str, member: str) -> str | None:
    """Of {member: 64 hex digits}, or of null."""
    return None if value is None else hex_digits(members(value, (member,), f"'{what}'")[member], f"{what}.{member}")
