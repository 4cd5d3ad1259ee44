"""What is left of a text's mark after attacks on the text, read as it came, normalised, and scanned.

    apt-get download wordnet-base && dpkg-deb -x wordnet-base*.deb wn; pip install 'taggant[lab]'
    python -m benchmarks.text_attacks -o runs/text-attacks --wordnet wn/usr/share/wordnet [--model DIR]

Marked documents are answers of the real model under a fresh key, five answers each. Besides, each is put into ten
times as much human text (Python's docstrings). The same attacks are made on human text alone, judged under 1,000 seeded
keys: how often would anything have been found?
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import docstrings, save
from detect.counting import tally
from detect.evidence import Assessment
from detect.exact.binomial import log10_sf
from detect.exact.multiplicity import holm
from detect.exact.validity import largest_expected
from detect.joint import Judged, Reading, judge_readings
from detect.readers import Collection, Row, tokenized
from detect.reread import Reread, reread
from detect.scan import scan_documents
from distill_sim.attacks import delete_words, shuffle_sentences
from distill_sim.synonyms import Thesaurus, replaced, wordnet_directory
from watermark.engines.models import load_tokenizer
from watermark.keys import Key

PROMPTS = Path(__file__).parents[1] / "distill_sim" / "data" / "prompts.txt"
ANSWERS, TOKENS, TOGETHER = 80, 60, 5
LEVELS = (0.1, 0.01, 1e-3)
LOOKALIKES = dict(zip("aceopxyijsABCEHIKMOPTX", "асеорхуіјѕАВСЕНІКМОРТХ", strict=True))
ZERO_WIDTH = "\u200b\u200c\u200d\u2060\ufeff\u00ad"
SPACES = "\u00a0\u2009\u202f\u2005"

Attack = Callable[[str, random.Random], str]


def attacks(thesaurus: Thesaurus, shares: list[float]) -> dict[str, Attack]:
    """By name; `shares` collects how many words had a synonym."""

    def synonyms(text: str, rng: random.Random) -> str:
        result, share = replaced(text, thesaurus, 0.5, rng)
        shares.append(share)
        return result

    return {
        "none": lambda text, rng: text,
        "half the words by synonyms": synonyms,
        "30 % of words deleted": lambda text, rng: delete_words(text, 0.3, rng),
        "sentences shuffled": shuffle_sentences,
        "lookalikes, 30 % of letters": lambda text, rng: lookalikes(text, 0.3, rng),
        "zero-width, after 10 % of characters": lambda text, rng: zero_width(text, 0.1, rng),
        "odd spaces and smart quotes": typeset,
        "lookalikes, zero-width and 30 % deleted": lambda text, rng: zero_width(
            lookalikes(delete_words(text, 0.3, rng), 0.3, rng), 0.1, rng
        ),
    }


def lookalikes(text: str, share: float, rng: random.Random) -> str:
    return "".join(LOOKALIKES[c] if c in LOOKALIKES and rng.random() < share else c for c in text)


def zero_width(text: str, share: float, rng: random.Random) -> str:
    return "".join(c + rng.choice(ZERO_WIDTH) if rng.random() < share else c for c in text)


def typeset(text: str, rng: random.Random) -> str:
    spaced = "".join(rng.choice(SPACES) if c == " " and rng.random() < 0.3 else c for c in text)
    return re.sub(r'"([^"]*)"', "“\\1”", spaced).replace("'", "’").replace("...", "…").replace("\n", "\r\n")


def marked_answers(output: Path, model: str) -> tuple[Key, list[str]]:
    """Answers of the real model under a fresh key, written once and kept."""
    output.mkdir(parents=True, exist_ok=True)
    key, prompts, answers = output / "attacked.key", output / "prompts.jsonl", output / "answers.jsonl"
    if not key.exists():
        _taggant("keygen", "-o", key, "--tokenizer", model)
    if not answers.exists():
        asked = PROMPTS.read_text(encoding="utf-8").splitlines()[:ANSWERS]
        prompts.write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in asked), encoding="utf-8")
        _taggant("generate", "--model", model, "--key", key, "--prompts", prompts, "-o", answers,
                 "--max-new-tokens", TOKENS, "--sample-seed", 1)  # fmt: skip
    rows = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    return Key.load(key), [row["text"] for row in rows]


def _taggant(*arguments: object) -> None:
    program = "import sys; from detect.cli.main import main; main()"
    subprocess.run([sys.executable, "-c", program, *map(str, arguments)], check=True)


def read(texts: list[str], tokenizer: Any) -> tuple[Collection, Reread]:
    rows = [Row(f"document {i}", "", text) for i, text in enumerate(texts)]
    collection = tokenized(rows, 1, lambda: tokenizer, keep_texts=True)
    return collection, reread(collection, rows)


def judge(key: Key, collection: Collection, again: Reread) -> tuple[Judged, Judged]:
    """As `taggant detect --scan --normalise`: the text as it came, and normalised."""
    readings = [
        Reading("raw", tally(key, documents, prompts), scan_documents(key, documents, prompts))
        for documents, prompts in ((collection.documents, collection.prompts), (again.documents, again.prompts))
    ]
    judged = judge_readings(readings[:1] if again.same else readings, Assessment())
    return judged[0], judged[-1]


def of_documents(key: Key, texts: list[str], tokenizer: Any) -> dict[str, Any]:
    """Each text judged on its own: medians of log10 p, and how many are detected after Holm over the four tests."""
    both = [judge(key, *read([text], tokenizer)) for text in texts]
    columns: dict[str, list[Any]] = {"raw": [], "normalised": [], "scan_raw": [], "scan_normalised": []}
    found = dict.fromkeys([*columns, "any"], 0)
    for raw, normalised in both:
        tests = {"raw": raw.whole, "normalised": normalised.whole}
        tests |= {"scan_raw": raw.scan, "scan_normalised": normalised.scan}  # type: ignore[dict-item]
        for name, one in tests.items():
            columns[name].append(one.log10_p)
            found[name] += one.finding == "detected"
        found["any"] += any(one.finding == "detected" for one in tests.values())
    collection, again = read(texts, tokenizer)
    pooled = {"raw": tally(key, collection.documents), "normalised": tally(key, again.documents)}
    return {
        "documents": len(texts),
        "pooled_log10_p": {n: round(log10_sf(one.n_green, one.n_scored, key.gamma), 2) for n, one in pooled.items()},
        "median_log10_p": {name: round(float(np.median(values)), 2) for name, values in columns.items()},
        "detected": found,
    }


def of_human_text(texts: list[str], tokenizer: Any, keys: int, parameters: Any) -> dict[str, Any]:
    """Fixed text, seeded keys: how many keys give a small p, by test, and by the whole family after Holm."""
    collection, again = read(texts, tokenizer)
    readings = {"raw": (collection.documents, collection.prompts)}
    if not again.same:
        readings["normalised"] = (again.documents, again.prompts)
    p: dict[str, list[float]] = {name: [] for one in readings for name in (one, f"scan_{one}")} | {"family": []}
    for number in range(keys):
        key = Key(hashlib.sha256(f"text_attacks {number}".encode()).digest(), parameters)
        alone = []
        for name, (documents, prompts) in readings.items():
            counted = tally(key, documents, prompts)
            tests = {name: log10_sf(counted.n_green, counted.n_scored, key.gamma)}
            tests[f"scan_{name}"] = scan_documents(key, documents, prompts).log10_p
            for test, log10_p in tests.items():
                p[test].append(log10_p)
                alone.append(log10_p)
        p["family"].append(float(holm(alone).min()))
    return {
        "tokens": int(sum(map(len, collection.documents))),
        "tokens_normalised": int(sum(map(len, again.documents))),
        "at_or_below": {
            name: {str(alpha): int((np.array(values) <= math.log10(alpha)).sum()) for alpha in LEVELS}
            for name, values in p.items()
        },
        "smallest_log10_p": {name: round(min(values), 2) for name, values in p.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/text-attacks"))
    parser.add_argument("--wordnet", type=Path, default=wordnet_directory())
    parser.add_argument("--model", help="default: the built-in teacher")
    parser.add_argument("--keys", type=int, default=1000)
    arguments = parser.parse_args()
    if arguments.model is None:
        from distill_sim.teacher import pull_smollm2

        arguments.model = str(pull_smollm2())
    tokenizer = load_tokenizer(arguments.model)
    key, answers = marked_answers(arguments.output, arguments.model)
    shares: list[float] = []
    made = attacks(Thesaurus(arguments.wordnet), shares)
    marked = ["\n\n".join(answers[i : i + TOGETHER]) for i in range(0, len(answers), TOGETHER)]
    human = [text for text in docstrings(400_000) if len(text) > 3000]
    hidden = _inside(marked, "\n\n".join(human))
    alone = [text[:2500] for text in human[:2]]
    rows = {}
    for name, attack in made.items():
        shares.clear()
        attacked = [[attack(text, random.Random(f"{name} {i}")) for i, text in enumerate(texts)]
                    for texts in (marked, hidden, alone)]  # fmt: skip
        rows[name] = {
            "marked": of_documents(key, attacked[0], tokenizer),
            "marked_passage_in_human_text": of_documents(key, attacked[1], tokenizer),
            "human_text": of_human_text(attacked[2], tokenizer, arguments.keys, key.parameters),
        }
        if shares:
            rows[name]["share_of_words_replaced"] = round(float(np.mean(shares)), 3)
        print(name, json.dumps(rows[name]["marked"]["median_log10_p"]), file=sys.stderr, flush=True)
    limits = {str(alpha): largest_expected(arguments.keys, alpha) for alpha in LEVELS}
    counts = [row["human_text"]["at_or_below"] for row in rows.values()]
    worst = {str(a): max(test[str(a)] for one in counts for test in one.values()) for a in LEVELS}
    save(
        "text_attacks",
        "python -m benchmarks.text_attacks",
        {
            "gamma": key.gamma, "delta": key.delta, "context_width": key.context_width, "alpha": Assessment().alpha,
            "marked": f"{ANSWERS} answers of {TOKENS} tokens, {TOGETHER} a document",
            "keys_on_human_text": arguments.keys,
            "limits_on_human_text": limits, "worst_on_human_text": worst,
            "within_limits": all(worst[name] <= limits[name] for name in limits), "attacks": rows,
        },
    )  # fmt: skip


def _inside(passages: list[str], human: str) -> list[str]:
    """Each passage in the middle of ten times as much human text, another one for each."""
    texts, at = [], 0
    for passage in passages:
        end = at + 10 * len(passage)
        middle = human.index("\n", (at + end) // 2) + 1
        texts.append(f"{human[at:middle]}{passage}\n{human[middle:end]}")
        at = end
    return texts


if __name__ == "__main__":
    main()
