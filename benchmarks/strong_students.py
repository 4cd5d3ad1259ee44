"""The students that the power benchmarks question: five keys, about 25,000 marked tokens each, as facts.md has them.

    python -m benchmarks.strong_students [-o runs/strong] [--keys 5]

Under each key: a corpus at delta 3, a student of it, and a student of a corpus with one marked answer in four; one
control, whose teacher was unmarked. They answer new prompts; the teacher's own unmarked answers to these are the
probes. Last a student that learnt more, of a louder mark: the one whose answers `benchmarks.stopping` counts, for the
others' are hardly greener than chance. Resumable: finished stages are kept. Hours on two cores.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, replace
from pathlib import Path

from distill_sim.pipeline import Event, Pipeline, Stage
from distill_sim.recipe import Recipe
from distill_sim.stages import built_in_prompts
from distill_sim.teacher import pull_smollm2
from watermark.engines.models import load_tokenizer, model_digest
from watermark.keys import Key

PROMPTS = built_in_prompts()[:60:5]  # 12, and 32 answers to each
SAMPLES = 32
NEW_PROMPTS = built_in_prompts()[60:]
PROBE_SAMPLES = 5
SAMPLING = {"max_new_tokens": 64}
RECIPE = Recipe(layers=10, epochs=2, learning_rate=2e-4, batch_size=8)
DELTA = 3.0
MARKED_EVERY = 4  # in the diluted students' corpora
SAMPLED_TOKENS = 48_000
FEWER_TOKENS, FEWER_FROM = 20_000, 1  # from the second key on
CONTROL_TOKENS = 12_800
LOUD_DELTA, LOUD_SAMPLES = 4.0, 13  # to all of the first 60 prompts: about 50,000 tokens
LOUD_RECIPE = replace(RECIPE, epochs=3, learning_rate=4e-4)
LOUD_TOKENS = 24_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/strong"))
    parser.add_argument("--keys", type=int, default=5)
    arguments = parser.parse_args()
    teacher = pull_smollm2()
    keys = arguments.output / "keys"
    files = [keys / f"{number}.key" for number in range(arguments.keys)]

    def show(event: Event) -> None:
        if event.kind == "finished":
            print(f"{event.stage} {event.seconds:.0f} s", flush=True)

    Pipeline(arguments.output, stages(files, keys / "loud.key", teacher)).run(2, 1, show)


def stages(key_files: list[Path], loud: Path, teacher: Path) -> list[Stage]:
    """All of them, those first that the most wait for."""
    model_id = model_digest(teacher)
    private = {"model": str(teacher)}

    def corpus(
        name: str, prompts: list[str], samples: int, seed: int, file: Path | None = None, delta: float = DELTA
    ) -> Stage:
        key = None if file is None else _key(file, teacher, delta)
        settings = {
            "model": model_id, "prompts": prompts, "samples": samples, "sampling": SAMPLING, "seed": seed,
            "key_id": None if key is None else key.key_id, "delta": None if key is None else key.delta,
        }  # fmt: skip
        own = private if file is None else {**private, "key": str(file)}
        return Stage(name, "distill_sim.stages:corpus", settings, private=own)

    def student(name: str, source: str, seed: int, recipe: Recipe = RECIPE) -> Stage:
        settings = {"recipe": {**asdict(recipe), "seed": seed}, "model": model_id, "corpus": source}
        return Stage(name, "distill_sim.stages:student", settings, (source,), private=private)

    def sampled(who: str, n_tokens: int) -> Stage:
        settings = {
            "questioned": who, "prompts": NEW_PROMPTS, "n_tokens": n_tokens, "sampling": SAMPLING, "seed": 7,
            "model": model_id,
        }  # fmt: skip
        return Stage(f"sampled-{who}", "distill_sim.stages:sampled", settings, (who,), private=private)

    numbers = range(len(key_files))
    made = [corpus("probes", NEW_PROMPTS, PROBE_SAMPLES, 1), corpus("unmarked", PROMPTS, SAMPLES, 2)]
    for number, file in enumerate(key_files):
        made.append(corpus(f"marked-{number}", PROMPTS, SAMPLES, 10 + number, file))
        made.append(student(f"student-{number}", f"marked-{number}", number))
    made.append(student("control", "unmarked", 0))
    for number in numbers:
        needs = (f"marked-{number}", "unmarked")
        settings = {"marked": needs[0], "unmarked": needs[1], "every": MARKED_EVERY}
        made.append(Stage(f"mixed-{number}", "distill_sim.stages:mixed", settings, needs))
        made.append(student(f"diluted-{number}", f"mixed-{number}", number))
    for number in numbers:
        made.append(sampled(f"student-{number}", SAMPLED_TOKENS if number < FEWER_FROM else FEWER_TOKENS))
    made.append(sampled("control", CONTROL_TOKENS))
    made.append(corpus("marked-loud", built_in_prompts()[:60], LOUD_SAMPLES, 40, loud, LOUD_DELTA))
    made.append(student("loud", "marked-loud", 0, LOUD_RECIPE))
    made.append(sampled("loud", LOUD_TOKENS))
    return made


def _key(path: Path, teacher: Path, delta: float) -> Key:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        Key.generate(tokenizer=load_tokenizer(teacher), delta=delta).save(path)
    return Key.load(path)


if __name__ == "__main__":
    main()
