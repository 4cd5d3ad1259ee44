"""A plan in words: what must be known before it is carried out, and its summary."""

from __future__ import annotations

import math
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detect.cli.told import Told, more_words
from detect.wording import amount

if TYPE_CHECKING:
    from detect.bundles.case import Case
    from detect.plans.plan import Plan

LARGE_ALPHA = 1e-4  # from there on 1.6 × the fixed n gives an e-process less than the planned power
MOST_ROUNDS = 10  # asked more often than that, prompts bring few new pairs: 12 of them 25 times, one in three tokens
_IN_CASE = (("--case", "case_directory"), ("--signer", "signer_file"))
WEAK = (
    "reading/mass compares the questioned model with nothing: valid, but weak; with --reference a reading "
    "(reading/difference) needs far fewer probes"
)


def notes_on(plan: Plan) -> list[str]:
    """What must be known before it is carried out."""
    from detect.plans.content import E_PROCESS
    from watermark.keys import UNTIMESTAMPED_NOTE

    notes = list(plan.notes[1:])
    if plan.inclusion is None:
        notes.append(UNTIMESTAMPED_NOTE.replace("The commitment's date", "A commitment's date"))
    notes.append("the plan's date is the planner's own statement, too, until its digest is timestamped from outside")
    if plan.stopping == E_PROCESS and plan.alpha >= LARGE_ALPHA:
        notes.append("at so large an alpha an e-process needs up to 2.5 x the fixed number for the same power: raise "
                     "--max-pairs")  # fmt: skip
    if plan.tokenizer is None:
        notes.append("neither the key nor --tokenizer names a tokenizer: results under this plan stay exploratory")
    notes += [*too_hopeful(plan), *_too_few_tokens(plan), *_too_few_prompts(plan)]
    notes += [WEAK] if "reading/mass" in plan.tests else []
    if plan.positive_control is None and plan.primary != "sampled/distinct":
        notes.append("without a positive control a negative result of a weighted test will be inconclusive")
    return notes


def not_recorded(case: Case, plan: Plan) -> list[str]:
    """A note where the case's log already says that nothing under the plan can be confirmatory."""
    from detect.bundles.order import why_not

    reasons = why_not(case.log, len(case.log.entries), case.held.file, plan=plan.digest)
    return [f"results under this plan will be exploratory: {'; '.join(reasons)}"] if reasons else []


def too_hopeful(plan: Plan) -> list[str]:
    """A note where answers are counted for a green fraction that hardly any student has."""
    from detect.plans.content import COUNTED, GREENEST, MEASURED, is_hopeful

    if COUNTED not in plan.tests or not is_hopeful(plan.effect, plan.gamma):
        return []
    return [
        f"effect {plan.effect:g}: students of marked text are rarely greener than {plan.gamma + GREENEST:.0%} "
        f"({MEASURED}), and so few pairs would find none of them: a negative would say next to nothing. Plan --effect "
        "0.28, or better a test against a --reference"
    ]


def _too_few_tokens(plan: Plan) -> list[str]:
    """A note where the planned tokens cannot hold the pairs that the primary test needs: pairs repeat, if anything."""
    tokens = None if plan.sampling is None else plan.sampling.tokens
    needed = plan.maximum_pairs or plan.fixed_pairs
    if tokens is None or needed is None or tokens >= needed:
        return []
    return [
        f"{amount(tokens, 'token')} hold fewer than the {needed:,} distinct pairs that the primary test may need: a "
        "negative would be inconclusive; raise --sample"
    ]


def _too_few_prompts(plan: Plan) -> list[str]:
    """A note where an e-process would have to ask the plan's prompts again and again to come to its maximum."""
    from detect.questioned.repeats import COLD

    if plan.maximum_pairs is None or plan.sampling is None:
        return []
    rounds = plan.maximum_pairs / (plan.sampling.max_new_tokens * plan.probes.prompts)
    if rounds <= (1 if plan.sampling.temperature < COLD else MOST_ROUNDS):
        return []
    return [
        f"the probes have {amount(plan.probes.prompts, 'distinct prompt')}: for the e-process's maximum of "
        f"{amount(plan.maximum_pairs, 'pair')} each would be asked {math.ceil(rounds):,} times or more, and answers "
        "that repeat bring no new pairs: it may end before its maximum, inconclusive; give more prompts, or plan "
        "another primary test"
    ]


def examining(plan: Plan, output: Path, key_file: Path, asked: dict[str, Any]) -> str:
    """The command that carries the plan out, for a shell; what only its user knows in capitals.

    Args:
        asked: the options of `taggant plan`.
    """
    from detect.plans.parts import NEED_REFERENCE

    model = ["--model", "DIR"] if plan.access == "weights" else ["--api", "URL", "--model-name", "NAME"]
    words = ["taggant", "suspect", "--plan", output, "--key", key_file, *model]
    files = asked["probe_files"] if asked["chosen_file"] is None else [asked["chosen_file"]]
    words += [word for one in files for word in ("--probes", one)]
    if set(NEED_REFERENCE) & set(plan.tests):
        words += ["--reference", asked["reference_name"]]
    if plan.frequencies is not None:
        words += [word for one in asked["frequency_files"] for word in ("--frequencies", one)]
    if plan.positive_control is not None:
        words += ["--positive-control", asked["control_name"]]
    if asked["tokenizer"] is not None:
        words += ["--tokenizer", asked["tokenizer"]]
    words += [word for flag, name in _IN_CASE if asked[name] is not None for word in (flag, asked[name])]
    return " ".join(shlex.quote(str(word)) for word in words)


def summary(
    plan: Plan, output: Path, chosen: Path | None, notes: list[str], then: str, *, verbose: bool = False
) -> str:
    """A plan for people.

    Args:
        chosen: the file of the rows that were chosen, if any were.
        then: from `examining`.
        verbose: show every note.
    """
    from detect.visible import one_line

    probes, sampling, where = plan.probes, plan.sampling, plan.inclusion
    tree = "none" if where is None else f"root {where.commitment.root}, {amount(where.commitment.size, 'mark')}"
    lines = [
        ("plan", one_line(output)),
        ("digest", f"{plan.digest} (SHA-256 of the file)"),
        ("key", f"{plan.key_id[:16]}, gamma {plan.gamma:g}, context width {plan.context_width}"),
        ("commitment", tree),
        ("tests", ", ".join([f"{plan.primary} (primary)", *(test for test in plan.tests if test != plan.primary)])),
        ("level", _level(plan)),
        ("stopping", plan.stopping if plan.maximum_pairs is None else
         f"{plan.stopping}, at most {plan.maximum_pairs:,} pairs"),
        ("fixed n", "–" if plan.fixed_pairs is None else f"{plan.fixed_pairs:,} pairs"),
        ("key check", "none" if plan.key_check is None else f"passed before the plan, on SHA-256 {plan.key_check}"),
        ("access", plan.access if plan.access == "weights" else f"a server's {plan.access} endpoint"),
        ("tokenizer", plan.tokenizer or "none"),
        ("probes", f"{amount(probes.rows, 'row')}, {amount(probes.prompts, 'prompt')}, SHA-256 {probes.sha256}"),
        ("reference", plan.reference or "none"),
        ("frequencies", plan.frequencies or ("–" if plan.reference is None else "what the reference expects")),
        ("control", "none" if plan.positive_control is None else plan.positive_control.digest),
        ("line-up", f"{amount(plan.lineup.decoys, 'decoy')}, seed {plan.lineup.seed}"),
    ]  # fmt: skip
    if sampling is not None:
        tokens = "until it stops" if sampling.tokens is None else amount(sampling.tokens, "token")
        drawn = f"temperature {sampling.temperature:g}, top-p {sampling.top_p:g}, seed {sampling.seed}"
        listed = "" if sampling.logprobs is None else f", log-probabilities of {sampling.logprobs} tokens"
        lines.append(("sampling", f"{tokens}, {sampling.max_new_tokens} new tokens an answer at most, {drawn}{listed}"))
    lines += [] if chosen is None else [("chosen", f"the probes to examine with: {one_line(chosen)}")]
    told = Told.of(notes, verbose=verbose)
    lines += [("note", text) for text in told.notes]
    lines += [("note", more_words(len(told.held_back)))] if told.held_back else []
    lines.append(("carry out", one_line(then, limit=8000)))
    return "\n".join(f"{name:12}  {text}" for name, text in lines)


def _level(plan: Plan) -> str:
    """A weighted test's power is shown by a positive control, not computed."""
    counted = plan.fixed_pairs is not None
    return f"alpha {plan.alpha:g}" + (
        f", power {plan.power:g} for a green fraction of {plan.effect:g}" if counted else ""
    )
