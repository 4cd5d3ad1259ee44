"""A study's file: TOML in, conditions out.

    title = "How the dose decides"        # any text
    scale = "nano"                        # or smollm2
    seeds = 3                             # repeats of everything that is drawn
    keys = 3                              # marks
    fresh_keys = 1000                     # keys that marked nothing, for controls and some other students
    disjoint = 20                         # controls of disjoint sources, of each kind, for a likelihood ratio; or none

    [base]                                # what differs from the scale's own base condition
    answers = 192

    [[vary]]                              # one series; several fields make a grid
    name = "dose"
    answers = [24, 48, 96, 192, 384]

    [[vary]]
    profile = ["trace", "discreet"]       # stands for delta, gamma and context_width

    [[vary]]
    name = "after training"
    after = ["int8", "int4", ["prune:0.3", "heal:96"]]
    seeds = 1                             # a series may have fewer repeats

The base condition and its controls (students of the unmarked teacher, of people, of another owner) are always there.
"""

from __future__ import annotations

import hashlib
import itertools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from distill_sim.condition import CONTROLS, Condition
from distill_sim.study.cells import control_of
from distill_sim.study.scales import SCALES, Scale, bases
from watermark.errors import InputError, KeyFileError
from watermark.keys.parameters import GAMMA_UNITS
from watermark.keys.profiles import PROFILES, profile_named

BASE = "base"
_WORDS = frozenset({"title", "description", "scale", "seeds", "keys", "fresh_keys", "disjoint", "base", "vary"})
_LISTS = frozenset({"after", "attack", "domains"})
PROFILE = "profile"
PROFILE_DOC = f"{', '.join(PROFILES)}: delta, gamma and context_width as `taggant keygen --profile` has them"
_OF_PROFILE = ("delta", "gamma", "context_width")


@dataclass(frozen=True)
class Series:
    """Conditions that differ from the base in the same fields.

    Attributes:
        vary: the fields.
        conditions: names, in the file's order; the base stands among them where its values are listed.
    """

    name: str
    vary: tuple[str, ...]
    conditions: tuple[str, ...]


@dataclass(frozen=True)
class Repeats:
    """How often a condition is carried out."""

    seeds: int
    keys: int

    def joined(self, other: Repeats) -> Repeats:
        return Repeats(max(self.seeds, other.seeds), max(self.keys, other.keys))


@dataclass(frozen=True)
class Study:
    """What a file asks for.

    Attributes:
        conditions: by name; the base first, then its controls.
        repeats: of each condition.
        sha256: of the file's bytes; None: it came from none.
        disjoint: students of the marked and as many of the unmarked teacher, no two with a seed or key in common.
    """

    title: str
    description: str
    scale: Scale
    repeats_of_base: Repeats
    fresh_keys: int
    conditions: Mapping[str, Condition]
    series: tuple[Series, ...]
    repeats: Mapping[str, Repeats] = field(default_factory=dict)
    sha256: str | None = None
    disjoint: int = 0

    @property
    def base(self) -> Condition:
        return self.conditions[BASE]


def read_study(path: Path) -> Study:
    """Read a study's file.

    Raises:
        InputError: not TOML, or something in it that cannot be meant.
    """
    try:
        raw = path.read_bytes()
        content = tomllib.loads(raw.decode("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give a study's TOML file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is not a study: {str(error).splitlines()[0][:200]}") from None
    try:
        return replace(parse_study(content), sha256=hashlib.sha256(raw).hexdigest())
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def parse_study(content: Mapping[str, Any]) -> Study:
    """The study that a file's content describes.

    Raises:
        InputError: see `read_study`.
    """
    _only(content, _WORDS, "a study")
    name, vary = content.get("scale", "nano"), content.get("vary", [])
    scale = SCALES.get(name) if isinstance(name, str) else None
    if scale is None:
        raise InputError(f"scale: {name!r} is none of {', '.join(SCALES)}")
    if not isinstance(vary, list):
        raise InputError("vary: write [[vary]], one table a series")
    repeats = _repeats(content, Repeats(3, 3))
    base = _condition(scale.defaults, content.get("base", {}), "base")
    names = _Names(base)
    found = {BASE: (base, repeats)}
    for source in CONTROLS:
        control = control_of(base, source)
        found[names.of(control)] = (control, repeats)
    series = [_series(number, table, names, found, repeats) for number, table in enumerate(vary)]
    conditions = {name: condition for name, (condition, _) in found.items()}
    bases(conditions.values())  # refuses what cannot be started from
    for condition in conditions.values():
        scale.prompts("answers", condition.domains)
    return Study(
        title=_line(content.get("title", "A study without a title")),
        description=_line(content.get("description", "")),
        scale=scale,
        repeats_of_base=repeats,
        fresh_keys=_whole(content, "fresh_keys", 1000),
        conditions=conditions,
        series=tuple(series),
        repeats={name: often for name, (_, often) in found.items()},
        disjoint=_whole(content, "disjoint", 0) if "disjoint" in content else 0,
    )


class _Names:
    """What a condition is called: by what it differs in from the base."""

    def __init__(self, base: Condition) -> None:
        self._base = base

    def of(self, condition: Condition) -> str:
        names = [one.name for one in fields(Condition)]
        differing = [name for name in names if getattr(condition, name) != getattr(self._base, name)]
        return ", ".join(f"{name}={_shown(getattr(condition, name))}" for name in differing) or BASE


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "+".join(value) or "none"
    return f"{value:.15g}" if isinstance(value, float) else str(value)


def _series(
    number: int,
    table: Any,
    names: _Names,
    found: dict[str, tuple[Condition, Repeats]],
    often: Repeats,
) -> Series:
    if not isinstance(table, dict):
        raise InputError("vary: write [[vary]], one table a series")
    what = f"vary {table.get('name', number + 1)!r}"
    vary = {name: value for name, value in table.items() if name not in ("name", "seeds", "keys")}
    if not vary:
        raise InputError(f"{what}: it varies nothing; give a field with a list of values")
    for name, values in vary.items():
        if not isinstance(values, list) or not values:
            raise InputError(f"{what}: {name} needs a list of values, not {values!r}")
    try:
        repeats = _repeats(table, often)
    except InputError as error:
        raise InputError(f"{what}: {error}") from None
    base = found[BASE][0]
    members = []
    for values in itertools.product(*vary.values()):
        condition = _condition(base, dict(zip(vary, values, strict=True)), what)
        name = names.of(condition)
        before = found.get(name, (condition, repeats))[1]
        found[name] = (condition, before.joined(repeats))
        members.append(name)
    varied = [name for each in vary for name in (_OF_PROFILE if each == PROFILE else (each,))]
    return Series(str(table.get("name", ", ".join(vary))), tuple(varied), tuple(dict.fromkeys(members)))


def _condition(base: Condition, values: Any, what: str) -> Condition:
    if not isinstance(values, dict):
        raise InputError(f"{what}: write it as a table")
    values = {name: [one] if name in _LISTS and isinstance(one, str) else one for name, one in values.items()}
    try:
        return base.with_values(_without_profile(values))
    except InputError as error:
        raise InputError(f"{what}: {error}") from None


def _without_profile(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """A profile of the mark as the fields that it stands for.

    Raises:
        InputError: there is none of that name, or one of these fields is given as well.
    """
    if PROFILE not in values:
        return values
    twice = [name for name in _OF_PROFILE if name in values]
    if twice:
        raise InputError(
            f"profile and {twice[0]}: a profile stands for {', '.join(_OF_PROFILE)}; give one or the other"
        )
    try:
        profile = profile_named(values[PROFILE])
    except (KeyFileError, TypeError):
        raise InputError(f"profile: {values[PROFILE]!r} is none of {', '.join(PROFILES)}") from None
    meant = (profile.delta, profile.gamma_65536 / GAMMA_UNITS, profile.context_width)
    return {name: value for name, value in values.items() if name != PROFILE} | dict(
        zip(_OF_PROFILE, meant, strict=True)
    )


def _repeats(table: Mapping[str, Any], default: Repeats) -> Repeats:
    return Repeats(_whole(table, "seeds", default.seeds), _whole(table, "keys", default.keys))


def _whole(table: Mapping[str, Any], name: str, default: int) -> int:
    value = table.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 100_000:
        raise InputError(f"{name}: {value!r} is not a whole number above 0")
    return value


def _only(table: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    for name in table:
        if name not in known:
            raise InputError(f"{what} has no {name!r}; it has {', '.join(sorted(known))}")


def _line(text: Any) -> str:
    """What a file says over several lines, as one."""
    return " ".join(str(text).split())
