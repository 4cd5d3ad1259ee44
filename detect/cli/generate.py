"""`taggant generate`: let a local model answer prompts, marked with a key."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from detect.cli.options import FILE, habits, load_key, rows_of, sample_seed_option, temperature_option
from detect.cli.output import detail, note, progress, refuse_output, writing
from detect.cli.types import DIRECTORY_OR_ID, ROWS, Number
from detect.wording import amount

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from detect.readers import Row
    from watermark.engines.answers import Sampling
    from watermark.keys import Key

_GOES_ON = "free space or choose another place; the same command then goes on from there"


@click.command(short_help="Let a local model answer prompts, marked with a key.")
@click.option(
    "--model", "model_name", required=True, type=DIRECTORY_OR_ID, help="Model directory (safetensors) or hub id."
)
@click.option("--key", "key_file", type=FILE, help="The key to mark with.")
@click.option("--no-mark", is_flag=True, help="Write unmarked answers (no key needed).")
@click.option(
    "--prompts", required=True, type=ROWS, help="JSONL or Parquet rows with `prompt` or `prompt_ids`; - is stdin."
)
@click.option("-o", "--output", required=True, type=FILE, help="The JSONL file to create.")
@click.option("--samples", default=1, show_default=True, type=click.IntRange(min=1), help="Answers to each prompt.")
@click.option(
    "--max-new-tokens", default=256, show_default=True, type=click.IntRange(min=1), help="Longest answer, tokens."
)
@temperature_option
@click.option(
    "--top-k", default=0, show_default=True, type=click.IntRange(min=0), help="Likeliest tokens kept; 0: all."
)
@click.option(
    "--top-p", default=1.0, show_default=True, type=Number(0, 1, min_open=True), help="Probability kept; 1: all."
)
@click.option(
    "--batch-size", default=32, show_default=True, type=click.IntRange(min=1), help="Answers written side by side."
)
@sample_seed_option
@habits
@click.pass_context
def generate(
    ctx: click.Context,
    model_name: str,
    key_file: Path | None,
    no_mark: bool,
    prompts: str,
    output: Path,
    samples: int,
    max_new_tokens: int,
    temperature: float,
    top_k: int,
    top_p: float,
    batch_size: int,
    sample_seed: int,
) -> None:
    """Answer prompts and write JSONL rows {id, prompt, prompt_ids, text, token_ids, marked, key_id}.

    Interrupted, the same command goes on where it was: finished batches are kept beside the output until it is whole.

    \b
    taggant generate --model ./model --key owner.key --prompts prompts.jsonl -o marked.jsonl
    taggant generate --model ./model --no-mark --prompts prompts.jsonl -o unmarked.jsonl
    """
    from watermark.engines.answers import Sampling

    if no_mark == (key_file is not None):
        raise click.UsageError("give --key, or --no-mark without a key", ctx)
    refuse_output(output)
    key = None if key_file is None else _load_accepted(key_file)
    rows = _prompt_rows(prompts)
    sampling = Sampling(max_new_tokens, temperature, top_k, top_p, batch_size)
    writer = _Writer(ctx, model_name, key, sampling, sample_seed)
    n_tokens = writer.write(rows, samples, output)
    note(ctx, f"{amount(len(rows) * samples, 'answer')}, {amount(n_tokens, 'token')}: {output}")


def _load_accepted(key_file: Path) -> Key:
    """The key, unless its check on human text refused it."""
    from detect.keycheck import load_check
    from watermark.errors import KeyFileError

    key = load_key(key_file)
    record = load_check(key, key_file)
    if record is not None and not record.accepted:
        raise KeyFileError(f"{key_file} was refused by its key check; make another key with taggant keygen")
    return key


def _prompt_rows(prompts: str) -> list[Row]:
    from watermark.errors import InputError

    rows = list(rows_of([prompts], prompts_only_ok=True))
    for row in rows:
        if row.prompt is None and row.prompt_ids is None:
            raise InputError(f"{row.source}: the row holds no prompt or prompt_ids; give JSONL rows that do")
    return rows


@dataclass
class _Writer:
    ctx: click.Context
    model_name: str
    key: Key | None
    sampling: Sampling
    seed: int

    def write(self, rows: list[Row], samples: int, output: Path) -> int:
        """Answer every row `samples` times into `output`; returns the number of tokens."""
        from watermark.engines.models import load_model, load_tokenizer

        tokenizer = load_tokenizer(self.model_name)
        if self.key is not None:
            self.key.check_tokenizer(tokenizer)
        model = load_model(self.model_name)
        repeated = [row for row in rows for _ in range(samples)]
        ids = [_prompt_ids(row, tokenizer, model) for row in repeated]
        answers = self._answers(model, tokenizer, ids, output)
        with writing(output, _GOES_ON):
            self._save(repeated, samples, ids, answers, tokenizer, output)
        self._journal(output).unlink(missing_ok=True)
        return sum(map(len, answers))

    def _answers(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, ids: list[list[int]], output: Path
    ) -> list[list[int]]:
        from watermark.engines.answers import answer_resumably
        from watermark.engines.models import model_digest
        from watermark.journal import Journal

        identity = {
            "model": model_digest(self.model_name),
            "key_id": None if self.key is None else self.key.key_id,
            "delta": None if self.key is None else self.key.delta,
            "sampling": self.sampling.to_dict(),
            "seed": self.seed,
            "prompts": ids,
        }
        detail(self.ctx, f"model {self.model_name}, digest {identity['model']}")
        with Journal(self._journal(output), identity) as journal, self._progress(len(ids)) as advance:
            if journal.entries:
                note(self.ctx, f"{sum(map(len, journal.entries))} of {len(ids)} answers are there already; going on")
            return answer_resumably(
                model, tokenizer, ids, self.sampling, journal, seed=self.seed, key=self.key, on_answers=advance
            )

    def _progress(self, total: int) -> Any:
        return progress(self.ctx, "answering", total, "answer")

    def _journal(self, output: Path) -> Path:
        return output.with_name(f".{output.name}.journal")

    def _save(
        self,
        rows: list[Row],
        samples: int,
        ids: list[list[int]],
        answers: list[list[int]],
        tokenizer: PreTrainedTokenizerBase,
        output: Path,
    ) -> None:
        from watermark.files import new_file

        with new_file(output) as handle:
            for number, (row, prompt_ids, token_ids) in enumerate(zip(rows, ids, answers, strict=True)):
                line = {
                    "id": f"{row.id}#{number % samples}" if samples > 1 else row.id,
                    "prompt": row.prompt,
                    "prompt_ids": prompt_ids,
                    "text": tokenizer.decode(token_ids),
                    "token_ids": token_ids,
                    "marked": self.key is not None,
                    "key_id": None if self.key is None else self.key.key_id,
                }
                handle.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")


def _prompt_ids(row: Row, tokenizer: PreTrainedTokenizerBase, model: PreTrainedModel) -> list[int]:
    """Ids as they are given, or the prompt through the chat template.

    Raises:
        InputError: no tokens, or ids that the model does not know.
    """
    from watermark.engines.chat import chat_prompt_ids
    from watermark.errors import InputError

    ids = [int(token) for token in row.prompt_ids] if row.prompt_ids is not None else None
    if ids is None:
        ids = chat_prompt_ids(tokenizer, row.prompt or "")
    vocabulary = model.config.get_text_config().vocab_size
    if not ids:
        raise InputError(f"{row.source}: the prompt has no tokens; leave the row out")
    if max(ids) >= vocabulary:
        raise InputError(f"{row.source}: prompt id {max(ids)} is not among the model's {vocabulary} tokens")
    return ids
