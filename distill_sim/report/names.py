"""What things are called on a study's page: one name for each test, and words for fields, values and treatments."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from distill_sim.condition import BASES, LOSSES, METHODS, SOURCES, Condition
from distill_sim.report.steps import treatment

TEST_TITLES = {
    "reading": "Reading",
    "sampled": "Asking",
    "argmax": "Argmax reading",
    "green_mass": "Green mass",
    "distinct_pairs": "Distinct pairs",
    "text": "Text",
}
TEST_MEANINGS = {
    "reading": "The student is given texts that do not depend on the key. Where its next-token probabilities differ "
    "from those of the reference, do they favour green?",
    "sampled": "The student is asked questions. What it says more often than the reference would, is it green?",
    "argmax": "For comparison: is the likeliest next token green more often than chance gives?",
    "green_mass": "For comparison: how much of the predicted probability lies on green tokens?",
    "distinct_pairs": "For comparison: how many of the different pairs (context, next token) in the student's answers "
    "are green?",
    "text": "Not of the student but of what it was trained on: how many of the different pairs there are green?",
}
ACCESS = {  # besides the key
    "reading": "the student's next-token probabilities (its weights, or a server that gives them all), and the "
    "reference",
    "sampled": "the student's answers, and the reference",
    "argmax": "the student's likeliest next tokens",
    "green_mass": "the student's next-token probabilities",
    "distinct_pairs": "the student's answers",
    "text": "the text the student was trained on",
}
READ = ("reading", "argmax", "green_mass")  # tests that `probe_tokens` concerns
ASKED = ("sampled", "distinct_pairs")  # and `sampled_tokens`
COUNTED = ("argmax", "distinct_pairs", "text")  # tests whose p is exact; of the others it is a bound

SOURCE_TITLES = {
    "account": "marked answers",
    "licensed": "marked answers, licensed",
    "unmarked": "unmarked answers",
    "human": "human text",
    "another-owner": "another owner's mark",
    "imitated": "an imitated mark",
}
SOURCE_MEANINGS = {
    "account": "answers of the teacher under the mark of one account; nobody licensed the training",
    "licensed": "answers under the mark of an account that is allowed to train on them",
    "unmarked": "answers of the teacher without any mark",
    "human": "text by people",
    "another-owner": "answers under the mark of an owner who has nothing to do with the one looked for",
    "imitated": "answers of a teacher that someone without the key made to prefer what marked answers prefer",
}
MODEL_TITLES = {  # what students start from
    "teacher": "teacher",
    "smaller": "smaller model",
    "other-tokenizer": "model with another tokenizer",
    "fresh": "random start",
}
LOOKED_FOR_TITLES = {
    "account": "the account's",
    "licensed": "the licensed account's",
    "owner": "the other owner's",
}
_VALUES: dict[str, dict[str, str]] = {
    "source": SOURCE_TITLES,
    "method": {
        "full": "all weights trained",
        "lora": "low-rank adapter (LoRA)",
        "top": "top layers alone trained",
        "fresh": "trained from scratch",
    },
    "base": {
        "teacher": "started as a copy of the teacher",
        "smaller": "started from a smaller model",
        "other-tokenizer": "started from a model with another tokenizer",
    },
    "loss": {"answers": "learnt from the answers", "logits": "learnt from the teacher's probabilities"},
}
assert [set(_VALUES[name]) for name in ("source", "method", "base", "loss")] == [
    set(known) for known in (SOURCES, METHODS, BASES, LOSSES)
]
_PHRASES = {  # of one, of any other number
    "answers": ("{} answer", "{} answers"),
    "share": ("{} of the answers marked",) * 2,
    "domains": ("prompts of the kinds {}",) * 2,
    "answer_tokens": ("answers of {} token", "answers of {} tokens"),
    "temperature": ("teacher's temperature {}",) * 2,
    "top_p": ("teacher's top-p {}",) * 2,
    "delta": ("bias δ {}",) * 2,
    "gamma": ("green fraction {}",) * 2,
    "context_width": ("context width {}",) * 2,
    "accounts": ("{} account", "{} accounts mixed"),
    "layers": ("{} layer trained", "{} layers trained"),
    "lora_rank": ("adapter of rank {}",) * 2,
    "learning_rate": ("learning rate {}",) * 2,
    "epochs": ("{} pass over the answers", "{} passes over the answers"),
    "batch_size": ("{} answer a step", "{} answers a step"),
    "probe_tokens": ("{} position read", "{} positions read"),
    "sampled_tokens": ("{} token asked for", "{} tokens asked for"),
}
LABELS = {  # of axes and rows
    "source": "who wrote the answers",
    "answers": "number of answers",
    "share": "share of the answers that is marked",
    "domains": "kinds of prompts",
    "answer_tokens": "tokens of an answer, at most",
    "temperature": "temperature of the teacher's sampling",
    "top_p": "top-p of the teacher's sampling",
    "delta": "strength of the mark: bias δ of green tokens, nats",
    "gamma": "green fraction γ: share of the tokens that is green",
    "context_width": "context width h: preceding tokens that decide what is green",
    "accounts": "accounts whose answers one student mixes",
    "attack": "what is done to the answers before training",
    "base": "what the student starts from",
    "method": "which of its weights are trained",
    "layers": "layers trained, where only the top ones are",
    "lora_rank": "rank of the adapter, where there is one",
    "loss": "what is learnt from",
    "learning_rate": "learning rate at its peak",
    "epochs": "passes over the answers",
    "batch_size": "answers in a training step",
    "after": "what is done to the student after training",
    "probe_tokens": "positions read, at most",
    "sampled_tokens": "answer tokens asked for",
}
assert set(LABELS) == {one.name for one in fields(Condition)}


def said(value: Any) -> str:
    """A field's value as people write it."""
    if isinstance(value, list | tuple):
        return " + ".join(map(str, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def amounts(field: str, values: Iterable[Any]) -> str:
    """Values of a field in one phrase: "context width 2 or 3", "trained from scratch or top layers alone trained"."""
    values = list(values)
    if field in _VALUES:
        return either(_VALUES[field].get(value, said(value)) for value in values)
    if field == "domains" and not any(values):
        return "all kinds of prompts"
    if field == "share" and values == [0]:
        return "no answer marked"
    written = [f"{value:.0%}" if field == "share" else said(value) for value in values]
    one, more = _PHRASES.get(field, (f"{field} {{}}",) * 2)
    return (one if values == [1] else more).format(either(written))


def either(parts: Iterable[str]) -> str:
    """ "a", "a or b", "a, b or c"."""
    *first, last = parts
    return f"{', '.join(first)} or {last}" if first else last


def labelled(field: str) -> str:
    return LABELS.get(field, field.replace("_", " "))


def differing(differs: Mapping[str, Any]) -> str:
    """How a condition differs from the base, in words; "" where it does not."""
    steps = treatment(differs.get("attack", ()), differs.get("after", ()))
    parts = [steps] if steps else []
    parts += [amounts(name, [value]) for name, value in differs.items() if name not in ("attack", "after")]
    return ", ".join(parts)


@dataclass(frozen=True)
class Word:
    """One line of the glossary."""

    name: str
    meaning: str


def _at(study: Mapping[str, Any], field: str) -> str:
    return f"; at the base {said(study['base'][field])}" if field in study["base"] else ""


def glossary(study: Mapping[str, Any]) -> Sequence[Word]:
    """What the page's words mean, in this study."""
    tokens = study["base"].get("answer_tokens")
    at_most = f", of {tokens} tokens at most" if tokens else ""
    return (
        Word("answer", f"what the teacher writes to one prompt{at_most}"),
        Word("pair", "a token with the tokens before it that decide its colour"),
        Word("bias δ", f"added to the scores of green tokens, in nats: the strength of the mark{_at(study, 'delta')}"),
        Word("green fraction γ", f"share of the tokens that is green, at any place{_at(study, 'gamma')}"),
        Word("context width h", f"tokens before one that decide which are green{_at(study, 'context_width')}"),
        Word("extraction", "collecting a teacher's answers and training a model of one's own on them"),
        Word(
            "account",
            "a user of the teacher, with a key of its own, so that a mark tells whose answers they were. Where a "
            "student mixes several, the first one's is looked for",
        ),
        Word("owner", "who runs the teacher and holds the keys"),
        Word("key", "a secret that decides which tokens are green; repeats under others show one mark's luck"),
        Word(
            "seed",
            "number that everything drawn starts from: the teacher's answers, the order of training, the texts read. "
            "Teacher and starting models are the same under all seeds",
        ),
        Word("condition", "one way of making, treating and testing students; all are compared with the base"),
        Word("run", "one seed and one key of a condition"),
        Word(
            "reference",
            "the model that the student started from (for one trained from scratch, and when one with another "
            "tokenizer is asked: the unmarked teacher). What a student shares with it was not learnt from the answers",
        ),
        Word("held-out loss", "how badly a student predicts human text it has not seen, nats a token; lower is better"),
        Word("z", "standard deviations above what chance gives; for display, p is what counts"),
    )
