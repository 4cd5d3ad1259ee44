"""An attribution in words and a table, for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detect.cli.told import Told, more_line
from detect.visible import one_line
from detect.wording import amount, probability_words

if TYPE_CHECKING:
    from detect.attribution import Attribution, KeyEvidence

WEIGHED = {
    "sampled": "Attribution of a questioned model's answers: weighed against a reference, under every key",
    "reading": "Attribution of a reading: a questioned model's next-token distributions, weighed under every key",
}
COUNTED = {
    "text": "Attribution of a text: distinct pairs, counted under every key",
    "sampled": "Attribution of a questioned model's answers: distinct pairs, counted under every key",
}
_HEAD = ("account", "month", "key", "green", "z", "p alone", "adjusted", "finding")
_NAMED = 20  # accounts named in one line


def describe(found: Attribution, *, verbose: bool = False) -> str:
    """A few lines, and one for each key shown; `verbose`: with every note."""
    lines = [(WEIGHED if found.weighted else COUNTED)[found.test], f"  finding      {_meaning(found)}"]
    unit = "weight" if found.weighted else "distinct pair"
    counted = "" if found.n_scored is None else f", {amount(found.n_scored, unit)}"
    lines.append(f"  keys         {found.n_keys:,} of {amount(found.n_accounts, 'account')}{counted}")
    lines.append(f"  alpha        {found.alpha:g}: chance of any false attribution among all of them")
    if found.runner_up_gap is not None:
        lines.append(f"  runner-up    {found.runner_up_gap:.1f} decades of p behind the last one attributed")
    lines += ["", *(f"  {line}" for line in _table(found.accounts)), ""] if found.accounts else []
    lines.append(f"  status       {found.status}")
    told = Told.of(found.notes, verbose=verbose)
    return "\n".join([*lines, *told.lines(), *more_line(len(told.held_back))])


def _meaning(found: Attribution) -> str:
    if not found.attributed:
        return "none attributed: this is not a sign that no account's mark was used"
    names = [one_line(account, 60) for account in found.attributed]
    more = f" and {len(names) - _NAMED} more, see the table" if len(names) > _NAMED else ""
    return f"attributed to the mark of {', '.join(names[:_NAMED])}{more}"


def _table(rows: Sequence[KeyEvidence]) -> list[str]:
    """Columns as wide as they have to be; those with nothing to say are left out."""
    columns = list(zip(*(_cells(one) for one in rows), strict=True))
    kept = [(title, *cells) for title, cells in zip(_HEAD, columns, strict=True) if any(cells)]
    widths = [max(map(len, column)) for column in kept]
    lines = zip(*kept, strict=True)
    return ["  ".join(f"{cell:{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def _cells(one: KeyEvidence) -> tuple[str, ...]:
    green = "" if one.green_fraction is None else f"{one.n_green:,} of {one.n_scored:,}, {one.green_fraction:.1%}"
    z = "" if one.z_score is None else f"{one.z_score:.2f}"
    alone, adjusted = probability_words(one.log10_p), probability_words(one.log10_p_adjusted)
    return (one_line(one.account, 60), one.epoch or "", one.key_id[:16], green, z, alone, adjusted, one.finding)
