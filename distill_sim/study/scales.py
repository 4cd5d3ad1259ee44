"""The two scales of a study: what the teacher is, what students start from, and what is asked.

nano      language models of about a million parameters, trained on the spot on the text that ships (`texts`)
smollm2   SmolLM2-135M-Instruct, pulled; smaller models and other tokenizers are made as in nano

Everything after this module is the same code at both scales.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from distill_sim import texts
from distill_sim.condition import Condition
from distill_sim.pipeline import Stage
from distill_sim.recipe import Recipe
from distill_sim.stages import TRANSFORMERS, built_in_prompts
from watermark.errors import InputError

QUESTIONS = "questions"  # the kind of prompts that only an instructed model can answer
TRAINED_QUESTIONS = 60  # of the built-in ones; the others are probes


@dataclass(frozen=True)
class Shape:
    """A small Llama, and how it is trained on human text.

    Attributes:
        vocab_size: of a tokenizer trained for it; None: it has the teacher's.
        epochs: over the passages of part "base".
    """

    hidden: int
    layers: int
    heads: int
    vocab_size: int | None = None
    epochs: int = 2

    @property
    def recipe(self) -> Recipe:
        return Recipe(
            method="full", learning_rate=2e-3, schedule="cosine", epochs=self.epochs, batch_size=8, max_length=128
        )


@dataclass(frozen=True)
class Scale:
    """One scale.

    Attributes:
        defaults: the base condition, before the study's own.
        shapes: of the models that are made here, by the name of the base in a condition.
        chunk: answers that are drawn together; doses are made of whole chunks.
        domains: kinds of prompts.
        pulled: the teacher is SmolLM2 rather than a model that is made here.
    """

    name: str
    defaults: Condition
    shapes: Mapping[str, Shape]
    chunk: int
    domains: tuple[str, ...]
    pulled: bool = False

    def prompts(self, part: str, domains: Sequence[str] = ()) -> list[str]:
        """Prompts of a part ("answers" or "probes"), in a fixed order that mixes the kinds.

        Raises:
            InputError: a kind that this scale does not have.
        """
        unknown = [name for name in domains if name not in self.domains]
        if unknown:
            raise InputError(f"domains: scale {self.name} has {', '.join(self.domains)}, not {unknown[0]!r}")
        wanted = domains or self.domains
        found = [one.prompt for one in texts.passages(part) if one.domain in wanted]
        if QUESTIONS in self.domains:
            found = [f"Continue this text: {words} …" for words in found]
        if QUESTIONS in wanted:
            asked = built_in_prompts()
            found += asked[:TRAINED_QUESTIONS] if part == "answers" else asked[TRAINED_QUESTIONS:]
        random.Random(1).shuffle(found)  # noqa: S311 (an order, not a secret)
        return found


NANO = Scale(
    name="nano",
    defaults=Condition(),
    shapes={
        "teacher": Shape(hidden=128, layers=4, heads=4, vocab_size=2048),
        "smaller": Shape(hidden=64, layers=3, heads=4),
        "other-tokenizer": Shape(hidden=128, layers=4, heads=4, vocab_size=1536),
        "fresh": Shape(hidden=128, layers=4, heads=4, epochs=0),
    },
    chunk=96,
    domains=texts.DOMAINS,
)
SMOLLM2 = Scale(
    name="smollm2",
    defaults=Condition(
        answers=160,
        domains=(QUESTIONS,),
        answer_tokens=64,
        method="top",
        layers=8,
        lora_rank=16,
        learning_rate=4e-4,
        epochs=1,
        batch_size=4,
        probe_tokens=3000,
        sampled_tokens=3000,
    ),
    shapes={
        "smaller": Shape(hidden=256, layers=4, heads=4),
        "other-tokenizer": NANO.shapes["other-tokenizer"],
        "fresh": Shape(hidden=256, layers=4, heads=4, epochs=0),
    },
    chunk=32,
    domains=(*texts.DOMAINS, QUESTIONS),
    pulled=True,
)
SCALES = {scale.name: scale for scale in (NANO, SMOLLM2)}


@dataclass(frozen=True)
class Model:
    """A model on disk that no condition changes.

    Attributes:
        directory: with its tokenizer.
        id: `model_digest`.
    """

    directory: Path
    id: str

    @classmethod
    def at(cls, directory: Path) -> Model:
        from watermark.engines.models import model_digest

        return cls(directory, model_digest(directory))


@dataclass(frozen=True)
class Foundation:
    """What a study stands on.

    Attributes:
        scale: where prompts come from.
        models: the teacher, and what students start from, by the name of a condition's base; "fresh" is untrained.
        vocab_size: of the teacher's tokenizer.
        special_ids: of the teacher's tokenizer.
        engine: what draws the teacher's answers.
    """

    scale: Scale
    models: Mapping[str, Model]
    vocab_size: int
    special_ids: tuple[int, ...] = field(default=())
    engine: str = TRANSFORMERS

    @property
    def teacher(self) -> Model:
        return self.models["teacher"]

    def start(self, condition: Condition) -> Model:
        """What a condition's student starts from."""
        return self.models["fresh" if condition.method == "fresh" else condition.base]

    def reference(self, condition: Condition) -> Model:
        """What a reading of it is compared with: the published model of the same tokenizer."""
        return self.models[condition.base]


def bases(conditions: Iterable[Condition]) -> set[str]:
    """Which models the conditions start from, the teacher's among them.

    Raises:
        InputError: a fresh student of something else than the teacher's size.
    """
    conditions = list(conditions)
    if any(one.method == "fresh" and one.base != "teacher" for one in conditions):
        raise InputError("method fresh: the student is untrained, so base stays teacher")
    return {"teacher"} | {"fresh" if one.method == "fresh" else one.base for one in conditions}


def stages(scale: Scale, wanted: set[str], teacher: Model | None) -> list[Stage]:
    """What has to be made before any condition: for each model a tokenizer and a random start, then training.

    Args:
        teacher: the pulled one; None: it is made, too.
    """
    made: list[Stage] = []
    for name in sorted(wanted, key=lambda one: (one != "teacher", one)):
        if name == "teacher" and teacher is not None:
            continue
        shape = scale.shapes[name]
        made.append(_blank(name, shape, teacher))
        if shape.epochs:
            made += _trained(name, shape)
    return made


def maker(name: str, scale: Scale) -> str:
    """The stage in whose result a model lies."""
    return name if scale.shapes[name].epochs else f"blank-{name}"


def _blank(name: str, shape: Shape, teacher: Model | None) -> Stage:
    needs: tuple[str, ...] = ()
    settings: dict[str, Any] = {"shape": asdict(shape), "seed": 0, "texts": texts.digest(), "tokenizer": None}
    private: dict[str, Any] = {}
    if shape.vocab_size is None and teacher is None:
        settings["tokenizer"], needs = "blank-teacher", ("blank-teacher",)
    elif shape.vocab_size is None and teacher is not None:
        settings["tokenizer"], private["tokenizer"] = teacher.id, str(teacher.directory)
    return Stage(f"blank-{name}", "distill_sim.study.making:blank", settings, needs, private)


def _trained(name: str, shape: Shape) -> list[Stage]:
    blank, text = f"blank-{name}", f"human-{name}"
    human: dict[str, Any] = {"texts": texts.digest(), "part": "base", "domains": [], "tokens": None, "tokenizer": blank}
    training = {"recipe": asdict(shape.recipe), "model": blank, "corpus": text}
    return [
        Stage(text, "distill_sim.study.making:human", human, (blank,)),
        Stage(name, "distill_sim.stages:student", training, (blank, text)),
    ]
