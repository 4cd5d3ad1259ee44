"""A study that never ran: rows drawn from known laws. Evidence ∝ dose, shrunk by what is done to it."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from distill_sim.condition import Condition, Step
from distill_sim.survival import SCHEMAS, TESTS

Row = dict[str, Any]
AT_BASE = {"reading": 24.0, "sampled": 9.0, "argmax": 2.5, "green_mass": 1.8, "distinct_pairs": 2.0, "text": 400.0}
ANSWERS = 192  # of the base condition
LEFT = {  # share of the evidence that each thing leaves, per unit of its amount where it has one
    "int8": lambda _: 0.98,
    "int4": lambda _: 0.8,
    "prune": lambda x: 1 - x,
    "heal": lambda x: 1.0,
    "clean": lambda x: 0.5 ** (x / 4000),
    "merge": lambda x: (1 - x) ** 2,
    "distil": lambda x: 0.12,
    "neutralise": lambda x: 0.35**x,
    "synonyms": lambda x: (1 - x) ** 1.5,
    "delete": lambda x: (1 - x) ** 1.3,
    "resample": lambda x: (1 - x) ** 2,
    "shuffle": lambda _: 0.9,
    "paraphrase": lambda _: 0.04,
}
CHANGES: dict[str, dict[str, Any]] = {
    "base": {},
    **{f"answers-{n}": {"answers": n} for n in (24, 48, 96, 384, 768)},
    **{f"share-{s}": {"share": s} for s in (0.1, 0.25, 0.5)},
    **{f"probes-{n}": {"probe_tokens": n} for n in (250, 500, 1000)},
    **{f"sampled-{n}": {"sampled_tokens": n} for n in (500, 3000)},
    **{f"delta-{d}": {"delta": d} for d in (0.5, 1.0, 3.0)},
    **{f"h-{h}": {"context_width": h} for h in (0, 2)},
    "lora": {"method": "lora"},
    "top": {"method": "top"},
    "fresh": {"method": "fresh"},
    "logits": {"loss": "logits"},
    "int8": {"after": ("int8",)},
    "int4": {"after": ("int4",)},
    **{f"prune-{s}": {"after": (f"prune:{s}", "heal:64")} for s in (0.3, 0.5)},
    **{f"clean-{n}": {"after": (f"clean:{n}",)} for n in (2000, 8000, 32000)},
    **{f"merge-{s}": {"after": (f"merge:{s}",)} for s in (0.25, 0.5)},
    "second-generation": {"after": ("distil:192",)},
    **{f"neutralise-{s}": {"after": (f"neutralise:{s}",)} for s in (1, 2)},
    **{f"synonyms-{s}": {"attack": (f"synonyms:{s}",)} for s in (0.2, 0.5)},
    "delete": {"attack": ("delete:0.2",)},
    "shuffle": {"attack": ("shuffle",)},
    "paraphrase": {"attack": ("paraphrase",)},
    "unmarked": {"source": "unmarked"},
    "human": {"source": "human"},
    "another-owner": {"source": "another-owner"},
    "imitated": {"source": "imitated"},
    "licensed": {"source": "licensed"},
}


def study(**changes: Any) -> dict[str, Any]:
    """The description that goes with `CHANGES`."""

    def of(*prefixes: str) -> list[str]:
        return [name for name in CHANGES if name.split("-")[0] in prefixes or name in prefixes]

    doses = ["answers-24", "answers-48", "answers-96", "base", "answers-384", "answers-768"]
    series = [
        ("dose", "Number of answers", ["answers"], doses),
        ("share", "Share of marked answers", ["share"], of("share")),
        ("probes", "Positions read", ["probe_tokens"], of("probes")),
        ("sampled", "Tokens sampled", ["sampled_tokens"], of("sampled")),
        ("delta", "Strength of the mark", ["delta"], of("delta")),
        ("width", "Context width", ["context_width"], of("h")),
        ("training", "How the student is trained", ["method", "loss"], of("lora", "top", "fresh", "logits")),
        ("after", "What happens to the student", ["after"],
         ["int8", "int4", *of("prune", "clean", "merge"), "second-generation", *of("neutralise")]),
        ("attacks", "What happens to the answers", ["attack"], of("synonyms", "delete", "shuffle", "paraphrase")),
        ("sources", "Controls and lawful use", ["source"],
         ["unmarked", "human", "another-owner", "imitated", "licensed"]),
    ]  # fmt: skip
    base = {name: list(v) if isinstance(v, tuple) else v for name, v in asdict(Condition()).items()}
    return {
        "name": "nano",
        "title": "Survival of the mark, nano scale",
        "scale": "nano",
        "description": "Every condition varies one thing of the base condition. Numbers are synthetic.",
        "command": "taggant simulate nano.toml -o runs/nano",
        "created": "2026-11-29T12:00:00Z",
        "versions": {"taggant": "0.1.0", "python": "3.11.9", "torch": "2.13.0"},
        "machine": {"processor": "two cores", "workers": 2},
        "seconds": 1534.2,
        "seeds": 3,
        "keys": 3,
        "base": base,
        "series": [{"name": n, "title": t, "vary": v, "conditions": c} for n, t, v, c in series],
        "reference": "base",
        **changes,
    }


def rows(seeds: int = 3, keys: int = 3, noise: float = 0.12) -> list[Row]:
    """survival.parquet's."""
    return [
        row
        for name, change in CHANGES.items()
        for seed in range(seeds)
        for key in range(keys)
        for row in _of_run(name, Condition(**change), seed, key, noise)
    ]


def _of_run(name: str, condition: Condition, seed: int, key: int, noise: float) -> list[Row]:
    looked = ["account"]
    if condition.source == "licensed":
        looked.append("licensed")
    if condition.source == "another-owner":
        looked.append("owner")
    found = []
    for who in looked:
        rng = np.random.default_rng([zlib.crc32(f"{name} {who}".encode()), seed, key])
        met = {"account": condition.source in ("account", "imitated"), "licensed": True, "owner": True}[who]
        for test in TESTS:
            p = _log10_p(condition, test, rng, noise) if met else min(0.0, 0.5 * float(np.log10(rng.random())) + 0.1)
            found.append(row(name, condition, seed, key, who, test, p))
    return found


def _log10_p(condition: Condition, test: str, rng: np.random.Generator, noise: float) -> float:
    size = AT_BASE[test] * condition.answers / ANSWERS * condition.share**1.5 * (condition.delta / 2) ** 1.4
    if test in ("reading", "argmax", "green_mass"):
        size *= condition.probe_tokens / 2000
    if test in ("sampled", "distinct_pairs"):
        size *= condition.sampled_tokens / 1500
    size *= {0: 1.2, 1: 1.0, 2: 0.45}[condition.context_width]
    size *= {"full": 1.0, "lora": 0.7, "top": 0.6, "fresh": 0.3}[condition.method]
    size *= 0.6 if condition.source == "imitated" else 1.0
    for step in (*condition.attacks, *(condition.afterwards if test != "text" else ())):
        size *= _left(step, test)
    chance = float(-np.log10(rng.random())) * 0.3
    return -max(0.0, size * 10 ** (noise * rng.standard_normal()) + chance - 0.3)


def _left(step: Step, test: str) -> float:
    left = LEFT[step.name](step.amount)
    return left**2 if step.name == "neutralise" and test == "sampled" else left


def row(
    name: str, condition: Condition, seed: int, key: int, who: str, test: str, log10_p: float | None, **changes: Any
) -> Row:
    """One row with every column of the table."""
    marked = int(condition.answers * condition.share * 40) if condition.exposed else 0
    values = asdict(condition) | {
        "condition": name,
        "seed": seed,
        "key": key,
        "exposed": condition.exposed,
        "licensed": condition.source == "licensed",
        "marked_tokens": marked,
        "trained_tokens": condition.answers * 40 * condition.epochs,
        "looked_for": who,
        "key_id": f"{key:064x}",
        "test": test,
        "n_tokens": 2000,
        "n_scored": 1500,
        "green_fraction": (0.6 if condition.exposed else 0.25) if test == "text" else None,
        "z_score": z_of(log10_p) if test in ("reading", "sampled", "text") else None,
        "log10_p": log10_p,
        "log10_p_adjusted": log10_p,
        "finding": None if log10_p is None else "detected" if log10_p <= -6 else "not detected",
        **changes,
    }
    assert set(values) == set(SCHEMAS["survival.parquet"].names)
    return values


def z_of(log10_p: float | None) -> float | None:
    """About what has such a tail."""
    return None if log10_p is None else float(np.sqrt(2 * np.log(10) * -log10_p))


def fresh(keys: int = 1000) -> list[Row]:
    """fresh.parquet's: three controls × three seeds × three tests, uniform or (bounds) larger."""
    found = []
    for condition in ("unmarked", "human", "another-owner"):
        for seed in range(3):
            for test in ("reading", "sampled", "distinct_pairs"):
                rng = np.random.default_rng([zlib.crc32(f"{condition} {test}".encode()), seed])
                p = np.log10(rng.random(keys))
                p = np.minimum(0.0, p + 0.4) if test != "distinct_pairs" else p
                found += [
                    {"condition": condition, "seed": seed, "test": test, "number": i, "log10_p": float(value)}
                    for i, value in enumerate(p)
                ]
    return found


def quality() -> list[Row]:
    """quality.parquet's: what the mark costs grows with delta."""
    found = []
    for name, change in CHANGES.items():
        condition = Condition(**change)
        delta = condition.delta if condition.exposed else 0.0
        measures: Mapping[str, tuple[float, float | None]] = {
            "perplexity": (11 * 1.28**delta, 11.0),
            "auc": (0.5 + 0.06 * delta**1.3, 0.5),
            "repetition": (0.08 + 0.004 * delta, 0.08),
            "held_out_nats": (3.1 + 0.02 * delta + (0.3 if condition.after else 0.0), None),
            "written_perplexity": (13 + delta + (2.0 if condition.after else 0.0), 12.5),
        }
        for seed in range(3):
            for key in range(3):
                rng = np.random.default_rng([zlib.crc32(name.encode()), seed, key, 9])
                found += [
                    {
                        "condition": name,
                        "seed": seed,
                        "key": key,
                        "measure": measure,
                        "value": value * (1 + 0.02 * float(rng.standard_normal())),
                        "low": value - 0.07 if measure == "auc" else None,
                        "high": value + 0.08 if measure == "auc" else None,
                        "unmarked": unmarked,
                    }
                    for measure, (value, unmarked) in measures.items()
                ]
    return found
