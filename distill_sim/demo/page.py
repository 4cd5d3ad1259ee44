"""index.html of the demo: the story of one run, for someone who has never heard of watermarks."""

from __future__ import annotations

import math
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detect.evidence import POWER_NOTE
from detect.pages.marking import GREEN, RED, MarkedDocument, mark_document, states
from detect.pages.rendering import write_page as write_html
from detect.visible import one_line
from detect.wording import MEANINGS, probability_words
from distill_sim.corpus import CorpusRow, read_corpus
from distill_sim.demo.show import TITLES
from distill_sim.judge import read_scores
from distill_sim.pipeline import RECORD, Finished
from distill_sim.stages import CORPUS, STUDENT
from watermark.engines.models import load_tokenizer
from watermark.files import strict_json
from watermark.keys import Key
from watermark.windows import WindowRule

EXAMPLE_TOKENS = 40  # an example answer has at least so many
MODELS = {"student": "Student", "control": "Control"}
COMPARISONS = {"argmax": "Argmax", "green_mass": "Green mass"}


@dataclass(frozen=True)
class Example:
    """One prompt's marked and unmarked answer, coloured.

    Attributes:
        counts: (green, counted) of each answer.
    """

    prompt: str
    marked: MarkedDocument
    unmarked: MarkedDocument
    counts: dict[str, tuple[int, int]]


def write_page(
    path: Path, summary: dict[str, Any], finished: Mapping[str, Finished], *, key: Key | None = None
) -> None:
    """Write the page, in place of an earlier one. No network, no script, no secret; quoted text is inert.

    Args:
        path: in the run's directory; commands on the page are meant to be run there.
        summary: what `summary.json` holds.
        finished: the run's stages.
        key: the account's key, which colours two example answers; without it they are not shown.

    Raises:
        InputError: a stage's result is damaged, or the page cannot be written.
    """
    write_html(
        path,
        "index.html.jinja",
        {
            "summary": summary,
            "headline": headline(summary),
            "example": None if key is None else example(key, finished),
            "alpha": f"10^{math.log10(summary['student']['reading']['alpha']):.3g}",
            "plots": _plots(summary, finished),
            "titles": TITLES,
            "meanings": MEANINGS,
            "power": power_notes(summary),
            "lineups": lineups(summary),
            "commands": commands(path.parent, summary, finished),
        },
        packages=("distill_sim.demo",),
        filters={
            "count": lambda n: f"{n:,}",
            "percent": lambda x: f"{x:.1%}",
            "short_percent": lambda x: f"{100 * x:.3g}%",
            "words": probability_words,
            "line": one_line,
        },
        overwrite=True,
    )


def headline(summary: Mapping[str, Any]) -> str:
    """What the reading tests found, in one sentence."""
    student, control = (summary[name]["reading"]["finding"] for name in ("student", "control"))
    said = {
        "detected": "the mark was detected in the {}",
        "inconclusive": "the test of the {} is inconclusive",
        "not detected": "the mark was not detected in the {}",
    }
    if student == control == "detected":
        return "The mark was detected in the student, but also in the control, which should not happen."
    if student == control == "inconclusive":
        return "This time the tests of student and control are both inconclusive."
    if student == "detected":
        return f"The mark was detected in the student; {said[control].format('control')}."
    both = f"This time {said[student].format('student')}, and {said[control].format('control')}"
    return f"{both}, which should not happen." if control == "detected" else f"{both}."


def example(key: Key, finished: Mapping[str, Finished]) -> Example | None:
    """The first prompt to which both teachers gave a long enough answer. Colours play no part in the choice."""
    marked = read_corpus(finished["marked"].directory / CORPUS)
    unmarked = read_corpus(finished["unmarked"].directory / CORPUS)
    by_prompt = {row.prompt_ids: row for row in reversed(unmarked) if len(row.token_ids) >= EXAMPLE_TOKENS}
    for row in marked:
        other = by_prompt.get(row.prompt_ids)
        if other is not None and len(row.token_ids) >= EXAMPLE_TOKENS:
            tokenizer = load_tokenizer(finished["student"].directory / STUDENT)
            key.check_tokenizer(tokenizer)
            documents = {"marked": _coloured(key, row, tokenizer), "unmarked": _coloured(key, other, tokenizer)}
            counts = {n: (d.count(GREEN), d.count(GREEN) + d.count(RED)) for n, d in documents.items()}
            return Example(one_line(row.prompt, 400), **documents, counts=counts)
    return None


def _coloured(key: Key, row: CorpusRow, tokenizer: Any) -> MarkedDocument:
    """The answer as a text of its own: its prompt's pairs do not count."""
    import numpy as np

    rule = WindowRule(key.context_width, key.special_ids)
    ids = np.asarray(row.token_ids, dtype=np.uint32)
    (labels,) = rule.label([ids], [row.prompt_ids])
    return mark_document(row.id, ids, len(ids), states(key, rule, ids, labels), tokenizer)


def power_notes(summary: Mapping[str, Any]) -> dict[str, str]:
    """Of each count without a finding: what it would have found, from how many pairs."""
    counted = {
        "marked text": summary["teacher_marked"]["text"],
        "unmarked text": summary["teacher_unmarked"]["text"],
        **{f"{name}, sampled": summary[name]["sampled"] for name in MODELS},
    }
    said = ((title, note) for title, one in counted.items() for note in one["notes"] if note.startswith(POWER_NOTE))
    return {title: f"{note}; {counted[title]['n_scored']:,} were counted" for title, note in said}


def _tests(summary: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Title → log10 p of student and control under each of the four tests; only tests that claim a p of both."""
    rows: dict[str, dict[str, Any]] = {
        "Reading": {name: summary[name]["reading"]["log10_p"] for name in MODELS},
        "Sampled": {name: summary[name]["sampled"]["log10_p"] for name in MODELS},
    }
    for key, title in COMPARISONS.items():
        compared = {name: summary[name]["reading"].get("comparisons", {}) for name in MODELS}
        rows[title] = {name: compared[name].get(key, {}).get("log10_p") for name in MODELS}
    return {title: row for title, row in rows.items() if None not in row.values()}


def lineups(summary: Mapping[str, Any]) -> dict[str, Any]:
    """The reading's line-up of "student" and "control", where there is one."""
    return {name: summary[name]["reading"]["lineup"] for name in MODELS if "lineup" in summary[name]["reading"]}


def _plots(summary: Mapping[str, Any], finished: Mapping[str, Finished]) -> dict[str, Any]:
    from distill_sim.demo import plots

    texts = {"marked": summary["teacher_marked"]["text"], "unmarked": summary["teacher_unmarked"]["text"]}
    alpha = summary["student"]["reading"]["alpha"]
    scores = read_scores(finished["judged"].directory) or {}
    shown = {MODELS[name]: one for name, one in scores.items() if name in lineups(summary)}
    tests = [plots.Paired(title, **row) for title, row in _tests(summary).items()]
    return {
        "green": plots.green_fractions(
            [plots.Fraction(name, text["green_fraction"], *text["ci95"]) for name, text in texts.items()],
            summary["key"]["gamma"],
        ),
        "price": plots.perplexities({name: summary["fluency"][name]["perplexity"] for name in texts}),
        "evidence": plots.evidence(tests, math.log10(alpha)) if tests else None,
        "lineup": plots.lineups(shown) if shown else None,
    }


def commands(root: Path, summary: Mapping[str, Any], finished: Mapping[str, Finished]) -> dict[str, list[str]]:
    """What → command lines that repeat it from the run's own files, to be typed in the run's directory."""

    def place(name: str, *parts: str) -> str:
        return shlex.quote(os.path.relpath(finished[name].directory.joinpath(*parts), root))

    key = "--key keys/account.key"
    sampled: Any = strict_json((finished["sampled-student"].directory / RECORD).read_bytes())["settings"]
    pulled = "licence" in summary["model"]  # as `model pull` records it
    teacher = '"$(taggant model pull smollm2)"' if pulled else "DIR"
    decoys = max((one["decoys"] for one in lineups(summary).values()), default=0)
    sample = (
        f"--sample {sampled['n_tokens']} --max-new-tokens {sampled['sampling']['max_new_tokens']} "
        f"--sample-seed {sampled['seed']}"
    )
    return {
        "Test the two texts": [
            f"taggant detect {key} \\\n    {place(name, CORPUS)}" for name in ("marked", "unmarked")
        ],
        "Colour every token of the marked text": [
            f"taggant detect {key} --highlight ../marked.html \\\n    {place('marked', CORPUS)}"
        ],
        "Test the two models": [
            f"taggant suspect {key} \\\n"
            f"    --model {place(name, STUDENT)} \\\n"
            f"    --reference {teacher} \\\n"
            f"    --probes {place('probes', CORPUS)} \\\n"
            f"    {sample}" + (f" --decoys {decoys}" if decoys else "")
            for name in MODELS
        ],
        "Look at the key, without its secret": ["taggant key show keys/account.key"],
    }
