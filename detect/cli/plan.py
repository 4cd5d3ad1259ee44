"""`taggant plan`: how much must be asked before a test can be expected to find the mark."""

from __future__ import annotations

import json
from pathlib import Path

import click

from detect.cli.options import json_option, load_key

EFFECTS = (0.50, 0.35, 0.28, 0.26)


@click.command()
@click.option("--alpha", default=1e-6, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True))
@click.option("--power", default=0.9, show_default=True, type=click.FloatRange(0, 1, min_open=True, max_open=True))
@click.option("--effect", "effects", multiple=True, type=click.FloatRange(0, 1, min_open=True, max_open=True),
              help="Green fraction to be detected; may be repeated.")  # fmt: skip
@click.option(
    "--gamma", type=click.FloatRange(0, 1, min_open=True, max_open=True), help="Green fraction under the null."
)
@click.option("--key", "key_file", type=click.Path(path_type=Path), help="Take gamma from this key.")
@json_option
def plan(
    alpha: float, power: float, effects: tuple[float, ...], gamma: float | None, key_file: Path | None, as_json: bool
) -> None:
    """Distinct pairs that must be counted, exactly: power stays above --power for every larger number."""
    from detect.exact.power import pairs_needed, planned_maximum

    if gamma is not None and key_file is not None:
        raise click.UsageError("give --gamma or --key, not both", click.get_current_context())
    gamma = load_key(key_file).gamma if key_file is not None else (0.25 if gamma is None else gamma)
    wanted = [effect for effect in (effects or EFFECTS) if effects or effect > gamma]
    for effect in wanted:
        if effect <= gamma:
            raise click.UsageError(f"--effect {effect} must be above gamma {gamma}", click.get_current_context())
    rows = []
    for effect in wanted:
        pairs = pairs_needed(effect, gamma, alpha=alpha, power=power)
        rows.append({"effect": effect, "pairs_needed": pairs, "pairs_maximum_sequential": planned_maximum(pairs)})
    if as_json:
        click.echo(json.dumps({"alpha": alpha, "power": power, "gamma": gamma, "plan": rows}))
        return
    click.echo(f"alpha {alpha:g}, power {power:g}, gamma {gamma:g}\n")
    click.echo("green fraction   distinct pairs needed   maximum when stopping early (e-process)")
    for row in rows:
        click.echo(f"{row['effect']:14g}   {row['pairs_needed']:21,}   {row['pairs_maximum_sequential']:,}")
    click.echo("\nPairs repeat: a short answer gives about 0.9 distinct pairs per token, a large collection fewer.")
