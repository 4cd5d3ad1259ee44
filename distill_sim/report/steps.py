"""The treatments of answers and students in words: what each is, and what whoever applies it needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from distill_sim.condition import AFTERWARDS, ATTACKS, Step, joined


@dataclass(frozen=True)
class Told:
    """A step in words.

    Attributes:
        title: without its amount.
        phrase: with its amount.
        amount: alone, short.
        sentence: what it is.
        teacher: whether the unmarked teacher is needed.
        start: whether the model that the student started from is needed.
    """

    title: str
    phrase: str
    amount: str
    sentence: str
    teacher: bool = False
    start: bool = False


STEPS = {  # none of them needs the key
    "synonyms": Told(
        "Synonyms", "{:.0%} of the words replaced by synonyms", "{:.0%} of the words",
        "Before training, words of the answers are replaced by synonyms from a thesaurus.",
    ),
    "delete": Told(
        "Words deleted", "{:.0%} of the words deleted", "{:.0%} of the words",
        "Before training, words of the answers, chosen by lot, are deleted.",
    ),
    "shuffle": Told(
        "Sentences shuffled", "sentences shuffled", "",
        "Before training, the sentences of each answer are put into another order.",
    ),
    "resample": Told(
        "Tokens drawn anew", "{:.0%} of the tokens drawn anew by the unmarked teacher", "{:.0%} of the tokens",
        "Before training, tokens of the answers, chosen by lot, are drawn anew by the unmarked teacher, given what "
        "stands before them.",
        teacher=True,
    ),
    "paraphrase": Told(
        "Paraphrased", "answers paraphrased by the unmarked teacher", "",
        "Before training, the unmarked teacher writes each answer again in other words.",
        teacher=True,
    ),
    "int8": Told(
        "Rounded to 8 bits", "weights rounded to 8 bits", "",
        "The student's weights are rounded, as is done to make models small.",
    ),
    "int4": Told(
        "Rounded to 4 bits", "weights rounded to 4 bits", "",
        "The student's weights are rounded, as is done to make models small.",
    ),
    "prune": Told(
        "Pruned", "{:.0%} of the weights pruned", "{:.0%} of the weights",
        "The smallest of the student's weights are set to zero.",
    ),
    "heal": Told(
        "Healed", "healed on {:,.0f} unmarked answers", "{:,.0f} answers",
        "The student is trained again, on answers of the unmarked teacher; weights that are zero stay zero.",
        teacher=True,
    ),
    "clean": Told(
        "Fine-tuned on human text", "fine-tuned on {:,.0f} tokens of human text", "{:,.0f} tokens",
        "The student is trained further, on text by people.",
    ),
    "merge": Told(
        "Merged", "merged with the model it started from ({:.0%} of that)", "{:.0%} of the start model",
        "The student's weights are averaged with those of the model it started from.",
        start=True,
    ),
    "distil": Told(
        "Second generation", "second generation, a student of {:,.0f} of its answers", "{:,.0f} answers",
        "The student answers prompts itself, and a second student, from the same start, learns from those answers. The "
        "second one is tested.",
        start=True,
    ),
    "neutralise": Told(
        "Neutralised, context width known", "neutralised, context width known, strength {:g}", "strength {:g}",
        "Whoever runs the student compares it with the model it started from, on the answers it was trained on, and "
        "estimates for each frequent context which tokens training has made likelier. That, times a strength, is "
        "subtracted from its scores whenever it speaks. The tests see what is left; the stored weights stay as they "
        "were (Pan et al. 2025, arXiv 2502.11598). Here the mark's context width was known.",
        start=True,
    ),
    "neutralise-blind": Told(
        "Neutralised, context width not known", "neutralised, context width not known, strength {:g}",
        "strength {:g}",
        "Whoever runs the student compares it with the model it started from, estimates for contexts of 0, 1 and 2 "
        "tokens which tokens training has made likelier, and subtracts all three whenever the student speaks, as Pan "
        "et al. 2025 (arXiv 2502.11598) do: so the mark's context width need not be known.",
        start=True,
    ),
}  # fmt: skip
assert set(STEPS) == {*ATTACKS, *AFTERWARDS}


def parsed(attack: Sequence[str], after: Sequence[str]) -> tuple[Step, ...]:
    """What was done to answers and student, in the order in which it was done."""
    steps = [Step.parse(text, ATTACKS, "attack") for text in attack]
    return (*steps, *joined([Step.parse(text, AFTERWARDS, "after") for text in after]))


def treatment(attack: Sequence[str], after: Sequence[str]) -> str:
    """ "30% of the weights pruned, then healed on 96 unmarked answers"; "" for nothing."""
    return ", then ".join(_filled(STEPS[step.name].phrase, step) for step in parsed(attack, after))


def titled(steps: Sequence[Step]) -> str:
    """ "Pruned, then healed": whatever the amounts."""
    return ", then ".join(STEPS[step.name].title for step in steps).capitalize()


def strength(steps: Sequence[Step]) -> str:
    """ "30% of the weights, 96 answers"; "" where no step has an amount."""
    return ", ".join(_filled(STEPS[step.name].amount, step) for step in steps if step.amount is not None)


def _filled(phrase: str, step: Step) -> str:
    return phrase.format(step.amount if step.amount is not None else "")
