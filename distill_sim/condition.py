"""What a study varies: one frozen condition, every field of it documented where it is defined.

A condition is a chain: who writes how many answers under which mark → what is done to them before training → how the
student is trained → what happens to it afterwards → how it is questioned. `taggant simulate --fields` prints this list.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, field, fields, replace
from typing import Any, get_type_hints

from watermark.errors import InputError

SOURCES = {
    "account": "the teacher, under the account's mark; nobody licensed the training",
    "licensed": "the teacher, under the mark of an account that may train on its answers",
    "unmarked": "the teacher without any mark (a control)",
    "human": "people: the scale's own text (a control)",
    "another-owner": "the teacher, under the mark of an owner who has nothing to do with it (a control)",
    "imitated": "the teacher, made by someone without the key to prefer what marked answers preferred (spoofing)",
}
EXPOSED = frozenset({"account", "licensed"})  # whose students have met the owner's mark
CONTROLS = ("unmarked", "human", "another-owner")  # whose students must look innocent
NEUTRALISED = frozenset({"neutralise", "neutralise-blind"})
NEUTRALISED_WIDTHS = (0, 1, 2)  # that Pan et al. add up
METHODS = {
    "full": "all weights are trained",
    "lora": "a low-rank adapter around all linear layers, merged afterwards",
    "top": "the top layers alone",
    "fresh": "all weights, from a random start",
}
BASES = {
    "teacher": "a copy of the teacher's own weights",
    "smaller": "a model of the same tokenizer and fewer weights, trained on the same human text",
    "other-tokenizer": "a model with another tokenizer, trained on the same human text",
}
LOSSES = {
    "answers": "cross-entropy on the answers' tokens (sequence-level distillation)",
    "logits": "KL divergence from the marked teacher's next-token distributions",
}
ATTACKS = {
    "synonyms": "share of the words replaced by synonyms",
    "delete": "share of the words deleted",
    "shuffle": "the order of each answer's sentences is drawn anew",
    "resample": "share of the tokens drawn anew by the unmarked teacher, given what stands before them",
    "paraphrase": "an unmarked model is asked to write each answer in other words",
}
AFTERWARDS = {
    "int8": "weights rounded to 8 bits",
    "int4": "weights rounded to 4 bits",
    "prune": "share of each matrix's weights, the smallest ones, set to zero",
    "heal": "unmarked answers, a number of them, are trained on; weights that are zero stay zero",
    "clean": "human text, a number of tokens of it, is trained on",
    "merge": "share of the base model's weights in the mean of student and base",
    "distil": "a second student learns from a number of this one's answers",
    "neutralise": "at inference the estimated bias, times this strength, is subtracted (Pan et al. 2025); the mark's "
    "context width is known",
    "neutralise-blind": "the same by one who does not know it: biases of widths 0, 1 and 2 are added up, as published",
}
WITHOUT_AMOUNT = frozenset({"shuffle", "paraphrase", "int8", "int4"})
_SHARES = frozenset({"synonyms", "delete", "resample", "prune", "merge"})
_COUNTS = frozenset({"heal", "clean", "distil"})


@dataclass(frozen=True)
class Step:
    """One thing that is done to answers or to a student: "int8", "prune:0.3"."""

    name: str
    amount: float | None = None

    @classmethod
    def parse(cls, text: str, known: Mapping[str, str], what: str) -> Step:
        """Read "name" or "name:amount".

        Raises:
            InputError: an unknown name, or an amount that is missing, surplus or out of range.
        """
        name, colon, amount = str(text).partition(":")
        if name not in known:
            raise InputError(f"{what}: {text!r} is none of {', '.join(known)}")
        if (name in WITHOUT_AMOUNT) == bool(colon):
            example = name if name in WITHOUT_AMOUNT else f"{name}:{'1000' if name in _COUNTS else '0.5'}"
            raise InputError(f"{what}: write {example!r}, not {text!r}")
        return cls(name, _amount(name, amount, what) if colon else None)

    def __str__(self) -> str:
        return self.name if self.amount is None else f"{self.name}:{self.amount:.15g}"


def joined(steps: Sequence[Step]) -> tuple[Step, ...]:
    """The same steps, fine-tunings on clean text that follow each other as one, of all their tokens."""
    found: list[Step] = []
    for step in steps:
        if found and found[-1].name == step.name == "clean":
            step = Step("clean", (found.pop().amount or 0.0) + (step.amount or 0.0))
        found.append(step)
    return tuple(found)


def _amount(name: str, text: str, what: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if name in _SHARES and 0 < value < 1:
        return value
    if name in _COUNTS and value >= 1 and value.is_integer():
        return value
    if name in NEUTRALISED and 0 < value <= 100:
        return value
    kind = "a share between 0 and 1" if name in _SHARES else "a whole number" if name in _COUNTS else "above 0"
    raise InputError(f"{what}: {f'{name}:{text}'!r} needs {kind}")


def _doc(text: str, default: Any) -> Any:
    return field(default=default, metadata={"doc": text})


@dataclass(frozen=True)
class Condition:
    """One cell of a study, but for seed and key. Defaults are the nano scale's; a scale may have its own.

    Raises:
        InputError: a value out of range, or a combination that cannot be carried out.
    """

    # who wrote how much
    source: str = _doc("who wrote the answers: " + ", ".join(SOURCES), "account")
    answers: int = _doc("dose: how many answers the student is trained on", 192)
    share: float = _doc("of them, the share that is marked; the others are the unmarked teacher's", 1.0)
    domains: tuple[str, ...] = _doc("kinds of prompts, by the scale's names; none: all kinds", ())
    answer_tokens: int = _doc("tokens of an answer, at most", 48)
    temperature: float = _doc("of the teacher's sampling", 1.0)
    top_p: float = _doc("of the teacher's sampling; 1: off", 1.0)
    # under which mark
    delta: float = _doc("bias of green tokens, nats", 2.0)
    gamma: float = _doc("green fraction", 0.25)
    context_width: int = _doc("h, tokens that seed a green list", 1)
    accounts: int = _doc("account keys whose answers are mixed in equal parts; the first is looked for", 1)
    # what is done to the answers
    attack: tuple[str, ...] = _doc("on the corpus, in this order: " + ", ".join(ATTACKS), ())
    # how the student is trained
    base: str = _doc("what the student starts from: " + ", ".join(BASES), "teacher")
    method: str = _doc("which weights are trained: " + ", ".join(METHODS), "full")
    layers: int = _doc("layers trained, with method top", 2)
    lora_rank: int = _doc("rank, with method lora", 8)
    loss: str = _doc("what is minimised: " + ", ".join(LOSSES), "answers")
    learning_rate: float = _doc("peak of AdamW's", 1e-3)
    epochs: int = _doc("passes over the answers", 2)
    batch_size: int = _doc("answers a step", 8)
    # what happens to it afterwards
    after: tuple[str, ...] = _doc("in this order: " + ", ".join(AFTERWARDS), ())
    # how it is questioned
    probe_tokens: int = _doc("positions that are read, at most", 2000)
    sampled_tokens: int = _doc("answer tokens that are sampled", 1500)

    def __post_init__(self) -> None:
        hints = get_type_hints(Condition)
        for one in fields(self):
            object.__setattr__(self, one.name, _typed(one, hints[one.name], getattr(self, one.name)))
        for name, known in (("source", SOURCES), ("base", BASES), ("method", METHODS), ("loss", LOSSES)):
            if getattr(self, name) not in known:
                raise InputError(f"{name}: {getattr(self, name)!r} is none of {', '.join(known)}")
        least = ("answers", "answer_tokens", "accounts", "layers", "lora_rank", "epochs", "batch_size", "probe_tokens",
                 "sampled_tokens")  # fmt: skip
        for name in least:
            if getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} is not at least 1")
        self._check_ranges()
        self._check_together()

    def _check_ranges(self) -> None:
        inside = {
            "share": 0 <= self.share <= 1,
            "top_p": 0 < self.top_p <= 1,
            "temperature": 0 < self.temperature <= 100,
            "delta": 0 < self.delta <= 100,
            "gamma": 0 < self.gamma < 1,
            "context_width": 0 <= self.context_width <= 8,
            "learning_rate": 0 < self.learning_rate < 1,
        }
        for name, fits in inside.items():
            if not fits:
                raise InputError(f"{name}: {getattr(self, name)} is out of range")

    def _check_together(self) -> None:
        _ = self.attacks, self.afterwards
        if self.loss == "logits" and (self.attack or self.source not in EXPOSED | {"unmarked"}):
            raise InputError("loss logits: a teacher's distributions are needed, so no attack and no other source")
        if self.loss == "logits" and (self.base == "other-tokenizer" or self.accounts > 1 or self.share < 1):
            raise InputError("loss logits: needs the teacher's tokenizer, one account and share 1")
        if self.source in ("unmarked", "human", "imitated") and (self.share < 1 or self.accounts > 1):
            raise InputError(f"source {self.source}: no answer is marked, so share and accounts stay 1")
        if any(step.name in NEUTRALISED for step in self.afterwards[:-1]):
            raise InputError("after neutralise: it changes how the finished model speaks, so it comes last")
        if self.base == "other-tokenizer" and any(step.name in NEUTRALISED | {"distil"} for step in self.afterwards):
            raise InputError("after neutralise or distil: not for a student with another tokenizer")
        if self.method == "lora" and any(step.name == "heal" for step in self.afterwards):
            raise InputError("after heal: merging an adapter would fill the zeros; use another method")
        if self.method == "fresh" and any(step.name == "merge" for step in self.afterwards):
            raise InputError("after merge: a fresh student has no base to be merged with")

    @property
    def attacks(self) -> tuple[Step, ...]:
        return tuple(Step.parse(text, ATTACKS, "attack") for text in self.attack)

    @property
    def afterwards(self) -> tuple[Step, ...]:
        return tuple(Step.parse(text, AFTERWARDS, "after") for text in self.after)

    @property
    def exposed(self) -> bool:
        """Whether anything the student learnt from carried the owner's mark."""
        return self.source in EXPOSED and self.share > 0

    def with_values(self, values: Mapping[str, Any]) -> Condition:
        """The same but for some fields.

        Raises:
            InputError: a field that does not exist, or as the class.
        """
        known = [one.name for one in fields(self)]
        unknown = [name for name in values if name not in known]
        if unknown:
            raise InputError(f"{unknown[0]!r} is no field of a condition; `taggant simulate --fields` lists them")
        return replace(self, **values)


def _typed(one: Field[Any], kind: Any, value: Any) -> Any:
    """TOML's value in the field's type."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    if kind is int and isinstance(value, int) and not isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind == tuple[str, ...] and isinstance(value, list | tuple) and all(isinstance(v, str) for v in value):
        return tuple(value)
    names = {float: "a number", int: "a whole number", str: "a word in quotes", tuple[str, ...]: "a list of words"}
    raise InputError(f"{one.name}: {value!r} is not {names[kind]}")


def documentation() -> list[tuple[str, str, str]]:
    """Every field: name, what it says, its default."""
    return [(one.name, str(one.metadata["doc"]), repr(one.default)) for one in fields(Condition)]
