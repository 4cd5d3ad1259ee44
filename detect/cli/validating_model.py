"""`taggant validate --model`: a model that saw no mark writes answers, unmarked and marked, and is read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from detect.cli.options import rows_of
from detect.cli.output import progress
from watermark.errors import InputError

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from detect.cli.validate import AskedValidation
    from detect.cli.validating import Steps
    from detect.fed import Probe
    from detect.observation import Reading
    from detect.readers import Row
    from detect.validation.marked import MarkedText
    from detect.validation.populations import Population
    from detect.validation.study import Design
    from watermark.engines.answers import Sampling

READ = "model/reading"  # the row's name
DOMAINS = 35  # of the built-in texts; the first of each is read


@dataclass
class ModelAtHand:
    """The model, its reference, what it is asked and what it reads."""

    ctx: click.Context
    asked: AskedValidation
    design: Design
    tokenizer: Any
    model: PreTrainedModel
    reference: PreTrainedModel | None
    prompts: list[list[int]]
    probes: list[Probe]

    @classmethod
    def begin(cls, ctx: click.Context, asked: AskedValidation, design: Design, tokenizer: Any) -> ModelAtHand:
        from detect.questioned.probes import make_probes
        from detect.readers.builtin import builtin_rows
        from watermark.engines.chat import chat_prompt_ids
        from watermark.engines.models import load_model

        rows = in_turn(list(builtin_rows()))
        fed = list(rows_of(asked.probe_files, prompts_only_ok=True)) if asked.probe_files else rows[:DOMAINS]
        models = [load_model(name) for name in (asked.model_name, asked.reference_name) if name is not None]
        for model in models:
            _refuse_other_tokenizer(model, tokenizer)
        prompts = [chat_prompt_ids(tokenizer, row.prompt or "") for row in rows[: asked.answers]]
        reference = models[1] if len(models) > 1 else None
        return cls(ctx, asked, design, tokenizer, models[0], reference, prompts, make_probes(fed, tokenizer))

    @property
    def sampling(self) -> Sampling:
        from watermark.engines.answers import Sampling

        return Sampling(self.asked.max_new_tokens)

    def describe(self) -> dict[str, Any]:
        """JSON-ready: what its figures hang on."""
        from detect.fed import Probe, probes_digest
        from watermark.engines.models import model_digest

        name, reference = str(self.asked.model_name), self.asked.reference_name
        return {
            "model": model_digest(name),
            "reference": None if reference is None else model_digest(reference),
            "probes": {"rows": len(self.probes), "sha256": probes_digest(self.probes)},
            "prompts": {
                "rows": len(self.prompts),
                "sha256": probes_digest([Probe(prompt, ()) for prompt in self.prompts]),
            },
            "sampling": self.sampling.to_dict(),
            "deltas": list(self.asked.deltas),
        }

    def versions(self) -> dict[str, str]:
        """Numerics of a model can differ between these."""
        import torch
        import transformers

        return {
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "threads": str(torch.get_num_threads()),
        }

    def write(self, steps: Steps) -> tuple[Population, list[tuple[float, list[MarkedText]]]]:
        """Unmarked answers as a population, and the marked ones of each strength."""
        from detect.validation.answers import keys_of, strength_name, write_answers
        from detect.validation.marked import MarkedText
        from detect.validation.populations import Population

        strengths = [0.0, *self.asked.deltas]
        keys = {d: keys_of(self.design.seed, d, self.design.parameters, len(self.prompts)) for d in strengths}
        answers: dict[float, list[list[int]]] = {delta: [] for delta in strengths}
        starts = range(0, len(self.prompts), self.sampling.batch_size)
        with progress(self.ctx, "answering", len(strengths) * len(self.prompts), "answer") as advance:
            for delta, first in product(strengths, starts):
                write = partial(
                    write_answers,
                    self.model,
                    self.tokenizer,
                    self.prompts,
                    self.sampling,
                    seed=self.design.seed,
                    keys=keys[delta] if delta else None,
                    first=first,
                )
                batch = steps.get(f"{strength_name(delta)}/{first}", write)
                answers[delta] += batch
                advance(len(batch))
        documents = tuple(np.array(ids, dtype=np.uint32) for ids in answers[0.0])
        prompts = tuple(np.array(ids, dtype=np.uint32) for ids in self.prompts)
        unmarked = Population("answers", "unmarked answers of the model to built-in prompts", documents, prompts)
        marked = [
            (delta, [MarkedText(*one) for one in zip(keys[delta], answers[delta], self.prompts, strict=True)])
            for delta in self.asked.deltas
        ]
        return unmarked, marked

    def read(self, steps: Steps) -> Reading | None:
        """None where an earlier run scored it already."""
        from detect.questioned.reading import read_model

        if steps.has(READ):
            return None
        rule = self.design.rule
        positions = sum(max(0, len(probe.answer_ids) - rule.context_width + 1) for probe in self.probes)
        with progress(self.ctx, "reading", positions, "position") as advance:
            reading = read_model(
                self.model,
                self.probes,
                rule=rule,
                vocab_size=len(self.tokenizer),
                reference=self.reference,
                on_positions=advance,
            )
        if not len(reading.pairs):
            raise InputError("the model and its reference predict the same everywhere: give another --reference")
        return reading

    def score(self, steps: Steps, reading: Reading | None, advance: Callable[[int], None]) -> dict[str, Any]:
        """The reading under fresh keys, and which model it is."""
        from detect.validation.weights import score_reading

        design = self.design
        if reading is None:
            advance(design.keys)

        def compute() -> dict[str, Any]:
            assert reading is not None
            return score_reading(reading, READ, design.parameters, design.seed, design.keys, advance)

        named = self.describe()
        kept = {name: named[name] for name in ("model", "reference", "probes")}
        return {**steps.get(READ, compute), "population": "model", **kept}


def in_turn(rows: Sequence[Row]) -> list[Row]:
    """The built-in rows so that the first of every domain come first, then the second ones, and so on."""
    seen: dict[str, int] = defaultdict(int)
    place = {}
    for row in rows:
        domain = row.id.rpartition("-")[0]
        place[row.id] = seen[domain]
        seen[domain] += 1
    return sorted(rows, key=lambda row: place[row.id])


def _refuse_other_tokenizer(model: PreTrainedModel, tokenizer: Any) -> None:
    from detect.cli.foreign import tokenizer_of

    if tokenizer_of(model, tokenizer) is not tokenizer:
        raise InputError(f"{model.name_or_path} has another tokenizer than the texts; give a model that shares it")
