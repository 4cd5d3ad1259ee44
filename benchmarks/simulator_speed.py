"""What the simulator's generation and training cost beside bare loops, as ratios in one run on one thread.

    python -m benchmarks.simulator_speed [MODEL_DIR …]       default: SmolLM2

generation   `watermark.engines.answers.answer` with the mark on, against a bare KV loop without one (forward, softmax,
             multinomial), the same prompts, as many together as a study draws (`Scale.chunk`), tokens per CPU second
training     `distill_sim.student.train_student`'s Trainer against a bare PyTorch loop (forward, backward, AdamW), the
             same examples in the same order

Both in turn, A B A B …; the medians' ratio and the spread of the single ratios.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import save
from distill_sim.corpus import CorpusRow
from distill_sim.examples import arrange, collate, make_examples
from distill_sim.recipe import Recipe
from distill_sim.stages import built_in_prompts
from distill_sim.student import prepare
from distill_sim.study.scales import NANO, SMOLLM2
from distill_sim.teacher import pull_smollm2
from distill_sim.trainer import make_trainer
from watermark.engines.answers import Sampling, answer
from watermark.engines.chat import chat_prompt_ids
from watermark.engines.models import load_model, load_tokenizer
from watermark.keys import Key
from watermark.progress import ignore

ROUNDS = 5
NEW_TOKENS = 48
NANO_WEIGHTS = 1e7  # models below are of the nano scale
ROW_TOKENS = 200
WEIGHTS_TIMES_ROWS = 2e9  # smaller models are trained on more rows: starting up is not what is measured


def main() -> None:
    torch.set_num_threads(1)
    places = [Path(one) for one in sys.argv[1:]] or [pull_smollm2()]
    result = {_size(place): {"generation": generation(place), "training": training(place)} for place in places}
    save("simulator_speed", "python -m benchmarks.simulator_speed", {"parameters": result})


def _size(place: Path) -> str:
    return f"{_weights(load_model(place)) / 1e6:.1f} million"


def _weights(model: Any) -> int:
    return sum(weight.numel() for weight in model.parameters())


def generation(place: Path) -> dict[str, Any]:
    model, tokenizer = load_model(place), load_tokenizer(place)
    batch = (NANO if _weights(model) < NANO_WEIGHTS else SMOLLM2).chunk
    prompts = [chat_prompt_ids(tokenizer, prompt) for prompt in built_in_prompts()[:batch]]
    key = Key.generate(tokenizer=tokenizer)
    sampling = Sampling(max_new_tokens=NEW_TOKENS, batch_size=batch)

    def ours() -> int:
        (answers,) = answer(model, tokenizer, prompts, sampling, seed=0, key=key)
        return _drawn(answers)

    def bare() -> int:
        return batch * _bare_loop(model, prompts)

    return {"batch": batch, **_compare(ours, bare)}


def _drawn(answers: list[list[int]]) -> int:
    """Tokens that were computed: a row that has ended is carried along until the last one ends."""
    return len(answers) * max(map(len, answers))


def _bare_loop(model: Any, prompts: list[list[int]]) -> int:
    width = max(map(len, prompts))
    ids = torch.zeros((len(prompts), width), dtype=torch.long)
    attention = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        attention[row, width - len(prompt) :] = 1
    cache, step = None, ids
    with torch.inference_mode():
        for _ in range(NEW_TOKENS):
            output = model(input_ids=step, attention_mask=attention, past_key_values=cache, use_cache=True,
                           logits_to_keep=1)  # fmt: skip
            cache = output.past_key_values
            step = torch.multinomial(output.logits[:, -1].softmax(-1), 1)
            attention = torch.cat([attention, torch.ones_like(step)], dim=1)
    return NEW_TOKENS


def training(place: Path) -> dict[str, Any]:
    tokenizer = load_tokenizer(place)
    recipe = Recipe(method="full", batch_size=8, learning_rate=1e-5)
    vocab_size = len(tokenizer)
    weights = _weights(load_model(place))
    rows = [_row(number, vocab_size) for number in range(min(320, max(16, int(WEIGHTS_TIMES_ROWS / weights))))]
    examples = make_examples(rows, 512, vocab_size)
    order = [examples[i] for i in arrange([len(one.ids) for one in examples], recipe.batch_size, 1, 0)]
    tokens = sum(len(one.ids) for one in order)

    def ours() -> int:
        model = prepare(load_model(place), recipe)
        with tempfile.TemporaryDirectory() as work:
            trainer = make_trainer(model, order, recipe, Path(work), 3600.0, ignore)
            begun = time.process_time()
            trainer.train()
            return _timed(tokens, begun)

    def bare() -> int:
        model = load_model(place).train()
        optimiser = torch.optim.AdamW(model.parameters(), lr=recipe.learning_rate, weight_decay=0.0)
        begun = time.process_time()
        for first in range(0, len(order), recipe.batch_size):
            batch = collate(order[first : first + recipe.batch_size])
            model(**batch, use_cache=False).loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
            optimiser.step()
            optimiser.zero_grad()
        return _timed(tokens, begun)

    return _compare(ours, bare)


class _Timed(int):
    """Tokens, and the CPU seconds that count."""

    seconds: float


def _timed(tokens: int, begun: float) -> _Timed:
    value = _Timed(tokens)
    value.seconds = time.process_time() - begun
    return value


def _row(number: int, vocab_size: int) -> CorpusRow:
    draw = torch.Generator().manual_seed(number)
    ids = torch.randint(3, vocab_size, (ROW_TOKENS,), generator=draw).tolist()
    return CorpusRow(str(number), "", tuple(ids[:8]), "", tuple(ids[8:]), False, None, 0, "", "{}", "")


def _compare(ours: Callable[[], int], bare: Callable[[], int]) -> dict[str, Any]:
    """Tokens per CPU second of both, in turn, after one round that is not counted."""
    rates: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(ROUNDS + 1):
        for name, work in (("ours", ours), ("bare", bare)):
            begun = time.process_time()
            tokens = work()
            seconds = getattr(tokens, "seconds", time.process_time() - begun)
            if number:
                rates[name].append(tokens / seconds)
    ratios = sorted(one / other for one, other in zip(rates["ours"], rates["bare"], strict=True))
    return {
        **{f"{name}_tokens_per_cpu_second": round(statistics.median(values), 1) for name, values in rates.items()},
        "ratio": round(statistics.median(ratios), 3),
        "ratio_range": [round(ratios[0], 3), round(ratios[-1], 3)],
    }


if __name__ == "__main__":
    main()
