"""`taggant suspect --model`: a questioned model whose weights are at hand is read, and asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import tokenizer_for
from detect.cli.output import detail, note, progress

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from detect.counting import Tally, WeightTally
    from detect.observation import Probe
    from watermark.engines.answers import Sampling
    from watermark.keys import Key


@dataclass
class Examination:
    """A questioned model, the key, and the probes as that model sees them."""

    ctx: click.Context
    key: Key
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    probes: list[Probe]
    plain_prompts: list[list[int]]
    digest: str
    tokenizer_notes: list[str]

    @classmethod
    def begin(
        cls, ctx: click.Context, key: Key, model_name: str, tokenizer_name: str | None, rows: list[Any]
    ) -> Examination:
        from detect.questioned.probes import make_probes, plain_prompts
        from detect.readers import refuse_foreign_ids
        from watermark.engines.models import load_model, model_digest

        tokenizer, tokenizer_notes = own_tokenizer(key, model_name, tokenizer_name)
        probes, plain = make_probes(rows, tokenizer), plain_prompts((row.prompt for row in rows), tokenizer)
        for row in rows:
            refuse_foreign_ids(row, len(tokenizer))
        model = load_model(model_name)
        digest = model_digest(model_name)
        detail(ctx, f"questioned model {model_name}, digest {digest}")
        return cls(ctx, key, model, tokenizer, probes, plain, digest, tokenizer_notes)

    def _notes(self, *more: str) -> list[str]:
        """What another examiner needs to see the same."""
        import torch

        from detect.observation import probes_digest

        return [
            f"questioned model: digest {self.digest}; torch {torch.__version__}, threads {torch.get_num_threads()}",
            f"probes: {len(self.probes)} rows, SHA-256 {probes_digest(self.probes)} over prompt, answer of each "
            "(length, then token ids; little-endian uint32)",
            *self.tokenizer_notes,
            *more,
        ]

    def reading(self, reference_name: str | None, top: int | None, save: Path | None) -> tuple[WeightTally, list[str]]:
        from detect.counting import weigh, window_rule
        from detect.observation import DEFAULT_TOP
        from detect.questioned.reading import read_model
        from watermark.engines.models import load_model, model_digest

        reference = None if reference_name is None else load_model(reference_name)
        positions = sum(max(0, len(probe.answer_ids) - self.key.context_width + 1) for probe in self.probes)
        with progress(self.ctx, "reading", positions, "position") as advance:
            reading = read_model(
                self.model,
                self.probes,
                rule=window_rule(self.key),
                vocab_size=len(self.tokenizer),
                reference=reference,
                exclude=self.plain_prompts,
                top=top or DEFAULT_TOP,
                on_positions=advance,
            )
        if reference is not None and not len(reading.pairs):
            note(self.ctx, "The model and its reference predict the same everywhere: they seem to be one model.")
        if save is not None:
            reading.save(save)
            note(self.ctx, f"reading: {save}")
        kept = f"K = {top or DEFAULT_TOP} weights kept per context"
        compared = "no reference" if reference_name is None else f"reference: digest {model_digest(reference_name)}"
        return weigh(self.key, reading, tokenizer_checked=True), self._notes(f"{compared}; {kept}")

    def sampled(self, n_tokens: int, sampling: Sampling, seed: int) -> tuple[Tally, list[str]]:
        from detect.counting import tally
        from detect.questioned.sampled import as_asked, sample_model

        asked = [list(probe.prompt_ids) for probe in self.probes]
        with progress(self.ctx, "sampling", n_tokens, "token") as advance:
            answers = sample_model(
                self.model, self.tokenizer, asked, n_tokens, sampling=sampling, seed=seed, on_tokens=advance
            )
        prompts = [*answers.prompts, *self.plain_prompts]
        counted = tally(self.key, answers.answers, prompts, test="sampled", tokenizer_checked=True)
        drawn = as_asked(sampling)
        return counted, self._notes(
            f"sampling: at least {n_tokens} tokens, temperature {drawn.temperature:g}, "
            f"at most {drawn.max_new_tokens} new tokens an answer, seed {seed}, {drawn.batch_size} prompts at a time",
            "the number of tokens was fixed when the command was given: a second, larger look must be judged by "
            "log10_e",
        )


def own_tokenizer(key: Key, model_name: str, given: str | None) -> tuple[PreTrainedTokenizerBase, list[str]]:
    """--tokenizer, else the key's; the questioned model's only where neither can be had. And what to note of it.

    The key's hash covers the tokens, not merges, normaliser and template, which the examined party could have changed.

    Raises:
        TokenizerMismatchError: a tokenizer, the questioned model's included, is not the one of the key.
    """
    from watermark.engines.models import load_tokenizer, tokenizer_fingerprint
    from watermark.errors import InputError, ModelError

    name = given or (key.tokenizer.name if key.tokenizer is not None else "")
    try:
        tokenizer = tokenizer_for(key, given)
    except InputError:
        if given:
            raise
        tokenizer, name = load_tokenizer(model_name), model_name
        key.check_tokenizer(tokenizer)
    if name == model_name:
        return tokenizer, ["tokenizer and chat template are the questioned model's own"]
    try:
        its_own = load_tokenizer(model_name)
        if not given:  # with --tokenizer the user vouches for the model's ids
            key.check_tokenizer(its_own)
        mine, its = tokenizer_fingerprint(name), tokenizer_fingerprint(model_name)
    except ModelError:
        return tokenizer, ["the questioned model's directory holds no usable tokenizer; the key's was used"]
    if mine == its:
        return tokenizer, []
    return tokenizer, [f"the questioned model's tokenizer files differ ({its[:16]}) from those used ({mine[:16]})"]
