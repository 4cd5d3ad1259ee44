"""Does the audit notice a reference that learnt the mark? Students of marked text, given as references.

    python -m benchmarks.reference_audit RUN [-o OUT.json]     RUN: a finished `benchmarks.strong_students`

Each student of marked text is audited under the key of its teacher's marked answers and under the other keys: on the
probes' text, as a reading does it, and on the built-in texts, as it is done where answers are weighed. So is one that
was made to mislead: the base model with a tenth of a nat taken from every green token of a fixed list (h = 0).
A quarter of an hour on two cores.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.common import save, stage_directory
from detect import Probe, assess, read_model, weigh, window_rule
from detect.cli.weighing import AUDITED
from detect.counting import reference_log10_p
from detect.questioned.expectation import expectation_of
from detect.questioned.probes import make_probes
from detect.readers.builtin import builtin_rows
from distill_sim.corpus import read_corpus
from distill_sim.stages import CORPUS, STUDENT
from distill_sim.teacher import pull_smollm2
from watermark import Key
from watermark.engines.models import load_model, load_tokenizer
from watermark.greenlist import GreenList

PROBES = 60  # rows, about 3,800 positions
TILT, CONTEXT = 0.1, "A kettle brings water to the boil because an element heats it. The steam then rises, and"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("-o", "--output", type=Path)
    arguments = parser.parse_args()
    teacher = pull_smollm2()
    tokenizer = load_tokenizer(teacher)
    rows = read_corpus(stage_directory(arguments.run, "probes") / CORPUS)[:PROBES]
    texts = {
        "the probes' text": [Probe(row.prompt_ids, row.token_ids) for row in rows],
        "built-in texts": make_probes(list(builtin_rows())[::AUDITED], tokenizer),
    }
    keys = [Key.load(file) for file in sorted((arguments.run / "keys").glob("[0-9].key"))]
    students = []
    for number, own in enumerate(keys):
        model = load_model(stage_directory(arguments.run, f"student-{number}") / STUDENT)
        found = {name: _audit(model, text, keys, own) for name, text in texts.items()}
        students.append(found)
        print(number, found, flush=True)
    results = {"students": students, "made to mislead": _misleading(teacher, texts["the probes' text"])}
    print(results["made to mislead"])
    command = "python -m benchmarks.reference_audit runs/strong"
    save("reference_audit", command, results, arguments.output)


def _audit(model: Any, text: list[Probe], keys: list[Key], own: Key) -> dict[str, Any]:
    found = expectation_of(model, text, rule=window_rule(own), vocab_size=_size(own))
    assert found is not None
    under = {key.key_id: reference_log10_p(GreenList(key), found) for key in keys}
    return {
        "n_positions": found.n_positions,
        "log10_p": under.pop(own.key_id),
        "smallest_of_others": min(under.values()),
    }


def _misleading(teacher: Path, text: list[Probe]) -> dict[str, Any]:
    """A tenth of a nat less for every green token, by way of the embeddings that are the last layer, too."""
    key = Key.generate(tokenizer=_identity(teacher), context_width=0)
    base, made = load_model(teacher), load_model(teacher)
    with torch.inference_mode():
        ids = torch.tensor([load_tokenizer(teacher)(CONTEXT)["input_ids"]])
        states = made(input_ids=ids, output_hidden_states=True).hidden_states[-1][0, 2:]
    mean = states.mean(dim=0)
    green = torch.from_numpy(GreenList(key).mask(np.zeros((1, 0), dtype=np.int64), _size(key))[0])
    with torch.no_grad():
        made.get_input_embeddings().weight[: len(green)][green] -= TILT * mean / mean.norm() ** 2
    reading = read_model(base, text, rule=window_rule(key), vocab_size=_size(key), reference=made)
    tally = weigh(key, reading)
    return {"reading_of_the_base_model": assess(tally).log10_p, "audit_log10_p": tally.reference_log10_p}


def _identity(teacher: Path) -> Any:
    from watermark.keys import TokenizerIdentity

    return TokenizerIdentity.of(load_tokenizer(teacher))


def _size(key: Key) -> int:
    assert key.tokenizer is not None
    return key.tokenizer.vocab_size


if __name__ == "__main__":
    main()
