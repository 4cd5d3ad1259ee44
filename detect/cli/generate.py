"""`taggant generate`: let a local model answer prompts, marked with a key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import load_key, note, progress, sample_seed_option

if TYPE_CHECKING:
    from watermark.engines.answers import Sampling
    from watermark.keys import Key


@click.command()
@click.option("--model", "model_name", required=True, help="Model directory or hub id.")
@click.option("--key", "key_file", type=click.Path(path_type=Path), help="The key to mark with.")
@click.option("--no-mark", is_flag=True, help="Write unmarked answers (no key needed).")
@click.option("--prompts", required=True, type=click.Path(path_type=Path), help="JSONL with `prompt` or `prompt_ids`.")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="The JSONL file to create.")
@click.option("--samples", default=1, show_default=True, type=click.IntRange(min=1), help="Answers to each prompt.")
@click.option("--max-new-tokens", default=256, show_default=True, type=click.IntRange(min=1))
@click.option("--temperature", default=1.0, show_default=True, type=click.FloatRange(min=0, min_open=True))
@click.option("--top-k", default=0, show_default=True, type=click.IntRange(min=0), help="0: off.")
@click.option("--top-p", default=1.0, show_default=True, type=click.FloatRange(0, 1, min_open=True))
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(min=1))
@sample_seed_option
@click.pass_context
def generate(
    ctx: click.Context,
    model_name: str,
    key_file: Path | None,
    no_mark: bool,
    prompts: Path,
    output: Path,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    batch_size: int,
    sample_seed: int,
) -> None:
    """Answer PROMPTS and write JSONL rows {id, prompt, prompt_ids, text, token_ids, marked, key_id}.

    Interrupted, the same command goes on where it was.
    """
    from watermark.engines.answers import Sampling
    from watermark.files import refuse_existing

    if no_mark == (key_file is not None):
        raise click.UsageError("give --key, or --no-mark without a key", ctx)
    refuse_existing(output)
    key = None if key_file is None else load_key(key_file)
    if key is not None and key_file is not None:
        _refuse_rejected(key, key_file)
    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, batch_size)
    n_tokens, n_rows = _write(ctx, model_name, key, prompts, samples, sampling, sample_seed, output)
    note(ctx, f"{n_rows} answers, {n_tokens} tokens: {output}")


def _refuse_rejected(key: Key, key_file: Path) -> None:
    from detect.keycheck import load_check
    from watermark.errors import KeyFileError

    record = load_check(key, key_file)
    if record is not None and not record.accepted:
        raise KeyFileError(f"{key_file} was refused by its key check; make another key with taggant keygen")


def _write(
    ctx: click.Context,
    model_name: str,
    key: Key | None,
    prompts_file: Path,
    samples: int,
    sampling: Sampling,
    seed: int,
    output: Path,
) -> tuple[int, int]:
    from detect.readers import read_rows
    from watermark.engines.answers import answer_resumably, chat_prompt_ids
    from watermark.engines.models import load_model, load_tokenizer, model_digest
    from watermark.errors import InputError
    from watermark.files import new_file
    from watermark.journal import Journal

    rows = [row for row in read_rows([prompts_file], prompts_only_ok=True) for _ in range(samples)]
    if any(row.prompt is None and row.prompt_ids is None for row in rows):
        raise InputError(f"{prompts_file}: every row needs `prompt` or `prompt_ids`")
    tokenizer, model = load_tokenizer(model_name), load_model(model_name)
    ids = [
        list(map(int, row.prompt_ids)) if row.prompt_ids is not None else chat_prompt_ids(tokenizer, row.prompt or "")
        for row in rows
    ]
    identity = {
        "model": model_digest(model_name),
        "key_id": None if key is None else key.key_id,
        "delta": None if key is None else key.delta,
        "sampling": sampling.to_dict(),
        "seed": seed,
        "prompts": ids,
    }
    journal = Journal(output.with_name(f".{output.name}.journal"), identity)
    with journal, progress(ctx, "answers", len(ids), "answer") as advance:
        answers = answer_resumably(model, tokenizer, ids, sampling, journal, seed=seed, key=key, on_answers=advance)
    with new_file(output) as handle:
        for number, (row, prompt_ids, token_ids) in enumerate(zip(rows, ids, answers, strict=True)):
            line: dict[str, Any] = {
                "id": f"{row.id}#{number % samples}" if samples > 1 else row.id,
                "prompt": row.prompt,
                "prompt_ids": prompt_ids,
                "text": tokenizer.decode(token_ids),
                "token_ids": token_ids,
                "marked": key is not None,
                "key_id": None if key is None else key.key_id,
            }
            handle.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
    journal.remove()
    return sum(map(len, answers)), len(answers)
