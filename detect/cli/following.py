"""`taggant suspect --plan`: what it settles comes from it, and all is checked before a model is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from detect.cli.asked import Asked, typed
from detect.cli.options import tokenizer_for

if TYPE_CHECKING:
    from detect.plans.plan import Plan
    from detect.readers import Row
    from watermark.keys import Key


def follow(ctx: click.Context, plan: Plan, asked: Asked, key: Key, rows: list[Row]) -> Asked:
    """What is asked once the plan has its say.

    Raises:
        UsageError: an option contradicts the plan.
        CommitmentError: another key, or one that is not in the plan's commitment; another check of it.
        InputError: other probes, tokenizer, reference or control; another way to the model.
    """
    settled = _settled(plan)
    _refuse_contradictions(ctx, plan, asked, settled)
    _refuse_meaningless(ctx, plan, asked)
    asked = replace(asked, **settled, tests=plan.tests, maximum_pairs=plan.maximum_pairs, plan_digest=plan.digest)
    plan.check_key(key)
    plan.check_key_check(asked.key_check, asked.check_corpus)
    asked = replace(asked, key_check=None if plan.key_check is None else True, check_corpus=plan.key_check)
    plan.check_access(asked.access)
    plan.check_tokenizer(fingerprint(key, asked.tokenizer))
    plan.check_probes(rows)
    if plan.left_out is not None:
        from detect.questioned.prompts import Prompts

        plan.check_left_out(Prompts.of(rows, tokenizer_for(key, asked.tokenizer), plan.access).left_out)
    plan.check_reference(model_digest_of(asked.reference_name))
    plan.check_frequencies(asked.frequency_rows)
    if asked.control_name is not None:
        plan.check_positive_control(str(model_digest_of(asked.control_name)))
    if plan.sampling is not None:
        plan.check_sampling(
            tokens=asked.sample_tokens,
            max_new_tokens=asked.max_new_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            seed=asked.sample_seed,
            logprobs=asked.logprobs,
        )
    plan.check_settings(
        alpha=asked.alpha,
        effect=plan.effect if asked.effect is None else asked.effect,
        tests=asked.tests or (),
        top=plan.top if asked.top is None else asked.top,
        decoys=asked.decoys or 0,
        seed=asked.seed,
    )
    return asked


def _settled(plan: Plan) -> dict[str, Any]:
    """Parameters of `suspect` that a plan gives a value."""
    values: dict[str, Any] = {
        "alpha": plan.alpha,
        "effect": plan.effect,
        "top": plan.top,
        "decoys": plan.lineup.decoys,
        "seed": bytes.fromhex(plan.lineup.seed),
    }
    if plan.access != "weights":
        values["endpoint"] = plan.access
    if plan.sampling is None:
        return values
    one = plan.sampling
    return values | {
        "sample_tokens": one.tokens,
        "max_new_tokens": one.max_new_tokens,
        "temperature": one.temperature,
        "top_p": one.top_p,
        "top_k": one.top_k,
        "sample_seed": one.seed,
        "logprobs": one.logprobs,
    }


_SAMPLING = ("sample_tokens", "max_new_tokens", "temperature", "top_p", "sample_seed", "logprobs")


def _refuse_contradictions(ctx: click.Context, plan: Plan, asked: Asked, settled: dict[str, Any]) -> None:
    for name, flag in typed(ctx).items():
        if name in _SAMPLING and plan.sampling is None:
            raise click.UsageError(f"{flag}: the plan has no sampled test; leave it out", ctx)
        if name not in settled or getattr(asked, name) == settled[name]:
            continue
        given, planned = (_shown(name, value) for value in (getattr(asked, name), settled[name]))
        raise click.UsageError(f"{flag} {given} contradicts the plan, which says {planned}; leave it out", ctx)


def _shown(name: str, value: Any) -> str:
    if value is None:
        return "until its e-process ends" if name == "sample_tokens" else "none"
    return value.hex() if isinstance(value, bytes) else f"{value:g}" if isinstance(value, float) else str(value)


def _refuse_meaningless(ctx: click.Context, plan: Plan, asked: Asked) -> None:
    reading = any(test.startswith("reading/") for test in plan.tests)
    if asked.control_name is not None and not reading and "sampled/excess" not in plan.tests:
        raise click.UsageError("--positive-control: the plan has no weighted test that needs it; leave it out", ctx)
    if asked.save_reading is not None and not reading:
        raise click.UsageError("--save-reading: the plan has no reading; leave it out", ctx)
    if asked.save_excess is not None and "sampled/excess" not in plan.tests:
        raise click.UsageError("--save-excess: the plan has no sampled/excess; leave it out", ctx)


def fingerprint(key: Key, given: str | None) -> str | None:
    """Of --tokenizer, else of the one the key names; None: there is neither.

    Raises:
        ModelError: it cannot be had.
    """
    from watermark.engines.models import tokenizer_fingerprint

    name = given or (None if key.tokenizer is None else key.tokenizer.name)
    return tokenizer_fingerprint(name) if name else None


def model_digest_of(model: str | None) -> str | None:
    if model is None:
        return None
    from watermark.engines.models import model_digest

    return model_digest(model)
