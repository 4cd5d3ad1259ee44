"""Named parameter sets, each with what it costs readers and what it leaves in a student."""

from __future__ import annotations

from dataclasses import dataclass

from watermark.errors import KeyFileError

_MEASURED = (
    "measured on SmolLM2-135M-Instruct, 7.7k marked tokens, h = 1, gamma = .25; one key, one seed, one model "
    "(docs/adr/0001-keys-and-commitment.md)"
)


@dataclass(frozen=True)
class Profile:
    """Parameters of a mark.

    Attributes:
        name: what `keygen --profile` takes.
        gamma_65536: the green fraction gamma in units of 1/65536.
        delta: logit bias of green tokens, nats.
        context_width: h, the number of context tokens that seed a green list.
        trade_off: what is gained and paid, with numbers.
        source: where parameters and numbers come from.
    """

    name: str
    gamma_65536: int
    delta: float
    context_width: int
    trade_off: str
    source: str


_TRACE = Profile(
    name="trace",
    gamma_65536=16384,
    delta=2.0,
    context_width=1,
    trade_off=(
        "for tracing distillation: readers can feel it (perplexity 11.0 unmarked, 19.3 marked); 54.7 % of the text's "
        "distinct pairs are green, and reading a student gives a bound on log10 p of -12.9. "
        "At delta = 3: perplexity 27.1, 70.4 % green, bound -25.4"
    ),
    source=f"gamma, delta: Kirchenbauer et al. 2023 (arXiv 2301.10226); numbers: {_MEASURED}",
)
_BALANCED = Profile(
    name="balanced",
    gamma_65536=16384,
    delta=1.5,
    context_width=1,
    trade_off=(
        "less felt (perplexity 11.0 unmarked, 15.3 marked); 46.0 % of distinct pairs are green (log10 p -260), "
        "and reading a student gives a bound on log10 p of -9.1: more marked tokens than trace for the same evidence"
    ),
    source=f"numbers: {_MEASURED}",
)
_DISCREET = Profile(
    name="discreet",
    gamma_65536=16384,
    delta=1.0,
    context_width=2,
    trade_off=(
        "hardly felt (perplexity 11.0 unmarked, 12.1 marked); 37.2 % of the text's "
        "distinct pairs are green (log10 p -90). Reading a student gave a bound on log10 p of -5.3 at h = 1; at this "
        "profile's h = 2 expect less, not measured: for texts, and for students only at large doses"
    ),
    source=(
        "h: chosen, contexts recur less often (stealing: Jovanović et al. 2024, arXiv 2402.19361); "
        f"numbers, delta = 1 but h = 1: {_MEASURED}"
    ),
)

PROFILES: dict[str, Profile] = {profile.name: profile for profile in (_TRACE, _BALANCED, _DISCREET)}
DEFAULT_PROFILE = "trace"

CHEAPEST = Profile(
    name="cheapest",
    gamma_65536=32768,
    delta=8.0,
    context_width=1,
    trade_off="for tests only: a few dozen tokens carry the mark, and the text is ruined",
    source="chosen, not measured",
)


def profile_named(name: str) -> Profile:
    """Return the profile of that name.

    Raises:
        KeyFileError: there is none.
    """
    try:
        return PROFILES[name]
    except KeyError:
        raise KeyFileError(f"no profile is named {name!r}; choose {', '.join(PROFILES)}") from None
