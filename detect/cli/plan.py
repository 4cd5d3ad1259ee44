"""`taggant plan`: how much must be asked, and, with -o, everything else that is settled before a model is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from detect.cli.options import FILE, alpha_option, habits, json_option, load_key
from detect.cli.output import emit, emit_json
from detect.cli.plan_options import plan_options
from detect.cli.planning import Judging, refuse_without_output, write_plan
from detect.cli.types import FRACTION

EFFECTS = (0.50, 0.35, 0.28, 0.26)
PLANNED_EFFECT = 0.28  # of a plan's file: a student


@click.command(short_help="How much must be asked; with -o, write the plan of an examination down.")
@click.option("-o", "--output", type=FILE, help="Write a plan: --key and --probes are needed, too.")
@alpha_option("Level of the finding.")
@click.option(
    "--power", default=0.9, show_default=True, type=FRACTION, help="Probability of finding a mark that is there."
)
@click.option(
    "--effect",
    "effects",
    multiple=True,
    type=FRACTION,
    help="Green fraction to be detected; may be repeated, but not in a plan.  "
    "[default: .5 (marked text), .35, .28 (students), .26; in a plan .28]",
)
@click.option("--gamma", type=FRACTION, help="Green fraction under the null.  [default: .25]")
@click.option("--key", "key_file", type=FILE, help="Take gamma from this key; the key that a plan is for.")
@plan_options
@json_option
@habits
@click.pass_context
def plan(
    ctx: click.Context,
    /,
    output: Path | None,
    alpha: float,
    power: float,
    effects: tuple[float, ...],
    gamma: float | None,
    key_file: Path | None,
    as_json: bool,
    **asked: Any,
) -> None:
    """Distinct pairs that must be counted, exactly: power stays above --power for every larger number.

    `detect` counts pairs of the text, `suspect --sample` pairs of the questioned model's answers.

    With -o everything that a result could be bent by afterwards is written down, and its digest printed: publish that,
    or have the file timestamped, before the questioned model is touched. --commitment and --leaves show that the key
    was fixed, too; without them results stay exploratory.

    \b
    taggant plan --alpha 1e-6 --power .9 --effect .28
    taggant plan -o plan.json --key account.key --commitment commitment.json --leaves leaves.json \\
        --probes probes.jsonl
    """
    if gamma is not None and key_file is not None:
        raise click.UsageError("give --gamma or --key, not both", ctx)
    if output is not None:
        if key_file is None:
            raise click.UsageError("a plan is for one key: give --key", ctx)
        if len(effects) > 1:
            raise click.UsageError("a plan names one effect: give --effect once", ctx)
        effect = effects[0] if effects else PLANNED_EFFECT
        write_plan(ctx, output, key_file, asked, Judging(alpha, power, effect), as_json)
        return
    refuse_without_output(ctx, asked)
    gamma = load_key(key_file).gamma if key_file is not None else (0.25 if gamma is None else gamma)
    wanted = list(effects) or [effect for effect in EFFECTS if effect > gamma]
    if not wanted or min(wanted) <= gamma:
        least = f"--effect {min(wanted)}" if wanted else "give --effect: it"
        raise click.UsageError(f"{least} must be above gamma {gamma:g}", ctx)
    _show_pairs(alpha, power, gamma, wanted, as_json)


def _show_pairs(alpha: float, power: float, gamma: float, effects: list[float], as_json: bool) -> None:
    from detect.exact.power import pairs_needed, planned_maximum

    rows = []
    for effect in effects:
        pairs = pairs_needed(effect, gamma, alpha=alpha, power=power)
        rows.append({"effect": effect, "pairs_needed": pairs, "pairs_maximum_sequential": planned_maximum(pairs)})
    if as_json:
        emit_json({"alpha": alpha, "power": power, "gamma": gamma, "plan": rows})
    else:
        emit(_table(alpha, power, gamma, rows))


def _table(alpha: float, power: float, gamma: float, rows: list[dict[str, float]]) -> str:
    lines = [f"alpha {alpha:g}, power {power:g}, gamma {gamma:g}", ""]
    lines.append("green fraction   distinct pairs needed   maximum if stopped early (e-process)")
    for row in rows:
        lines.append(f"{row['effect']:14g}   {row['pairs_needed']:21,}   {row['pairs_maximum_sequential']:,}")
    lines += [
        "",
        "The last column is the maximum of an e-process, which may stop early: `plan -o`, then `suspect --plan`.",
        "Pairs repeat, so more tokens than pairs are needed, the more the larger the collection: see what `detect -v`",
        "says of text of the same kind. Several tests at once, and a key check, need some more pairs.",
    ]
    return "\n".join(lines)
