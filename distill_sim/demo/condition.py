"""One condition of a study: which stages lead from a teacher to judged students.

    corpus (marked, unmarked, probes) → student, control → reading, sampled → judged under the key

The control differs from the student in one thing: its teacher was unmarked.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from distill_sim.pipeline import Stage
from distill_sim.recipe import Recipe
from distill_sim.stages import built_in_prompts
from watermark.errors import InputError
from watermark.keys import Key


@dataclass(frozen=True)
class Condition:
    """What is done, and how much of it. The defaults are the demo's.

    Attributes:
        prompts: asked of the teacher; each `samples` times.
        probe_prompts: other prompts; the teacher's unmarked answers to them are the probes, and the questioned
            models are asked them.
        sampled_tokens: answer tokens collected from each questioned model.
    """

    prompts: tuple[str, ...] = field(default_factory=lambda: tuple(built_in_prompts()[:60]))
    samples: int = 2
    answer_tokens: int = 80
    probe_prompts: tuple[str, ...] = field(default_factory=lambda: tuple(built_in_prompts()[60:]))
    recipe: Recipe = field(default_factory=lambda: Recipe(batch_size=4))
    top: int = 256
    sampled_tokens: int = 2000
    fluency_tokens: int = 2000
    decoys: int = 1000
    seed: int = 0

    @property
    def sampling(self) -> dict[str, int]:
        """Arguments of `watermark.engines.answers.Sampling`."""
        return {"max_new_tokens": self.answer_tokens}


def stages(
    condition: Condition, key: Key, *, key_file: Path, model: Path, model_id: str, label: str = ""
) -> list[Stage]:
    """The stages of a condition under one key; those that need no key are the same under every key.

    Args:
        key_file: where workers read the key.
        model: the teacher's directory; also base and reference of the students.
        model_id: its `model_digest`.
        label: added to the names of the stages that depend on the key, so that several keys fit one pipeline.

    Raises:
        InputError: the key was made without a tokenizer.
    """
    if key.tokenizer is None:
        raise InputError(f"key {key.short_id} names no tokenizer; make one with `taggant keygen --tokenizer`")
    special_ids = list(key.special_ids)

    def corpus(name: str, prompts: tuple[str, ...], samples: int, seed: int, marked: bool) -> Stage:
        settings = {
            "model": model_id,
            "prompts": list(prompts),
            "samples": samples,
            "sampling": condition.sampling,
            "seed": condition.seed * 1000 + seed,
            "key_id": key.key_id if marked else None,
            "delta": key.delta if marked else None,
        }
        private = {"model": str(model), **({"key": str(key_file)} if marked else {})}
        return Stage(name, "distill_sim.stages:corpus", settings, private=private)

    def student(name: str, source: str) -> Stage:
        settings = {"recipe": asdict(condition.recipe), "model": model_id, "corpus": source}
        private = {"model": str(model)}
        return Stage(name, "distill_sim.stages:student", settings, (source,), private=private)

    def reading(questioned: str) -> Stage:
        settings = {
            "questioned": questioned,
            "probes": ["probes"],
            "positions": None,
            "frequencies": [],
            "reference": model_id,
            "model": model_id,
            "context_width": key.context_width,
            "special_ids": special_ids,
            "top": condition.top,
            "scaled": True,  # by usage, as the reference expects it: ADR 0005
        }
        private = {"reference": str(model), "model": str(model)}
        name = f"reading-{questioned}"
        return Stage(name, "distill_sim.stages:reading", settings, (questioned, "probes"), private=private)

    def sampled(questioned: str) -> Stage:
        settings = {
            "questioned": questioned,
            "prompts": list(condition.probe_prompts),
            "n_tokens": condition.sampled_tokens,
            "sampling": condition.sampling,
            "seed": condition.seed * 1000 + 4,
            "model": model_id,
        }
        private = {"model": str(model)}
        return Stage(f"sampled-{questioned}", "distill_sim.stages:sampled", settings, (questioned,), private=private)

    return [
        corpus(f"marked{label}", condition.prompts, condition.samples, 1, True),
        corpus("unmarked", condition.prompts, condition.samples, 2, False),
        corpus("probes", condition.probe_prompts, 1, 3, False),
        student(f"student{label}", f"marked{label}"),
        student("control", "unmarked"),
        reading(f"student{label}"),
        reading("control"),
        sampled(f"student{label}"),
        sampled("control"),
        Stage(
            f"fluency{label}",
            "distill_sim.stages:fluency",
            {"max_tokens": condition.fluency_tokens, "model": model_id},
            (f"marked{label}", "unmarked"),
            private={"model": str(model)},
        ),
        Stage(
            f"judged{label}",
            "distill_sim.judge:judged",
            {"key_id": key.key_id, "decoys": condition.decoys, "label": label},
            (
                f"marked{label}",
                "unmarked",
                *(f"{test}-{who}" for who in (f"student{label}", "control") for test in ("sampled", "reading")),
            ),
            private={"key": str(key_file)},
        ),
    ]
