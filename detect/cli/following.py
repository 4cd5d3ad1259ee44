"""`taggant suspect --plan`: what it settles comes from it, and all is checked before a model is touched."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from detect.cli.asked import Asked, typed

if TYPE_CHECKING:
    from detect.plan import Plan
    from detect.readers import Row
    from watermark.keys import Key


def follow(ctx: click.Context, plan: Plan, asked: Asked, key: Key, rows: list[Row]) -> Asked:
    """What is asked once the plan has its say.

    Raises:
        UsageError: an option contradicts the plan.
        CommitmentError: another key, or one that is not in the plan's commitment.
        InputError: other probes, reference or control; or tests that cannot be carried out like this.
    """
    settled = _settled(plan)
    _refuse_contradictions(ctx, plan, asked, settled)
    _refuse_impossible(ctx, plan, asked)
    asked = replace(asked, **settled, tests=plan.tests, maximum_pairs=plan.maximum_pairs)
    plan.check_key(key)
    plan.check_probes(rows)
    plan.check_reference(_digest(asked.reference_name))
    plan.check_frequencies(asked.frequency_rows)
    if asked.control_name is not None:
        plan.check_positive_control(str(_digest(asked.control_name)))
    if plan.sampling is not None:
        plan.check_sampling(
            tokens=asked.sample_tokens,
            max_new_tokens=asked.max_new_tokens,
            temperature=asked.temperature,
            top_p=asked.top_p,
            top_k=asked.top_k,
            seed=asked.sample_seed,
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
    }


_SAMPLING = ("sample_tokens", "max_new_tokens", "temperature", "top_p", "sample_seed")


def _refuse_contradictions(ctx: click.Context, plan: Plan, asked: Asked, settled: dict[str, Any]) -> None:
    for name, flag in typed(ctx).items():
        if name in _SAMPLING and plan.sampling is None:
            raise click.UsageError(f"{flag}: the plan has no sampled test; leave it out", ctx)
        if name not in settled or getattr(asked, name) == settled[name]:
            continue
        given, planned = (_shown(value) for value in (getattr(asked, name), settled[name]))
        raise click.UsageError(f"{flag} {given} contradicts the plan, which says {planned}; leave it out", ctx)


def _shown(value: Any) -> str:
    if value is None:
        return "until its e-process ends"
    return value.hex() if isinstance(value, bytes) else f"{value:g}" if isinstance(value, float) else str(value)


def _refuse_impossible(ctx: click.Context, plan: Plan, asked: Asked) -> None:
    from watermark.errors import InputError

    reading = [test for test in plan.tests if test.startswith("reading/")]
    if asked.logprobs is not None:
        raise click.UsageError("--logprobs would change the weights, and a plan does not settle it; leave it out", ctx)
    if asked.api_server is not None and reading:
        raise InputError(f"the plan has {reading[0]}, which needs the model's weights: give --model, not --api")
    if asked.api_server is not None and plan.sampling is not None and plan.sampling.top_k:
        raise InputError(f"the plan samples with top-k {plan.sampling.top_k}, which no server can be asked for")
    if asked.control_name is not None and not reading and "sampled/excess" not in plan.tests:
        raise click.UsageError("--positive-control: the plan has no weighted test that needs it; leave it out", ctx)
    if asked.save_reading is not None and not reading:
        raise click.UsageError("--save-reading: the plan has no reading; leave it out", ctx)


def _digest(model: str | None) -> str | None:
    if model is None:
        return None
    from watermark.engines.models import model_digest

    return model_digest(model)
