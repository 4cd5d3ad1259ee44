"""What an extractor does to a corpus before training, so that less of the mark is learnt.

A function for each of `distill_sim.condition.ATTACKS`: rows in, rows out. Text is what an extractor has, so what an
attack on text leaves is tokenised again. Every row has random numbers of its own, a hash of seed and row id: neither
the order of rows nor batches change what happens to one (`paraphrase` alone draws per batch).

Rows keep what says where they came from: they were written under their key, whatever is left of it.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from distill_sim.corpus import CorpusRow
from distill_sim.shares import check_share

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from distill_sim.synonyms import Thesaurus
    from watermark.engines.answers import Sampling

REQUEST = "Write the following text again in other words. Keep its meaning. Answer with the new text alone.\n\n{text}"


def row_random(attack: str, seed: int, row_id: str) -> random.Random:
    """The random numbers of one row under one attack."""
    return random.Random(f"taggant attack {attack} {seed} {row_id}")  # noqa: S311 (a simulation, no secret)


# --- on text ---


def synonyms(
    rows: Sequence[CorpusRow], share: float, *, tokenizer: PreTrainedTokenizerBase, thesaurus: Thesaurus, seed: int
) -> list[CorpusRow]:
    """`share` of each answer's words replaced by synonyms, or as many as have some."""
    from distill_sim.synonyms import replaced

    check_share(share)
    return _rewritten(rows, "synonyms", lambda text, rng: replaced(text, thesaurus, share, rng)[0], tokenizer, seed)


def delete(
    rows: Sequence[CorpusRow], share: float, *, tokenizer: PreTrainedTokenizerBase, seed: int
) -> list[CorpusRow]:
    """Every word deleted with probability `share`. Answers without a word left stay, empty: no student sees them."""
    check_share(share)
    return _rewritten(rows, "delete", lambda text, rng: delete_words(text, share, rng), tokenizer, seed)


def shuffle(rows: Sequence[CorpusRow], *, tokenizer: PreTrainedTokenizerBase, seed: int) -> list[CorpusRow]:
    """The order of each answer's sentences drawn anew."""
    return _rewritten(rows, "shuffle", shuffle_sentences, tokenizer, seed)


def delete_words(text: str, share: float, rng: random.Random) -> str:
    """Each word, with the space before it, deleted with probability `share`."""
    return re.sub(r"\s?[^\W_]+", lambda found: "" if rng.random() < share else found[0], text)


def shuffle_sentences(text: str, rng: random.Random) -> str:
    """The sentences and lines of `text` in an order drawn anew, one space between them."""
    sentences = re.split(r"(?<=[.!?])\s+|\n+", text)
    rng.shuffle(sentences)
    return " ".join(sentences)


def _rewritten(
    rows: Sequence[CorpusRow],
    name: str,
    attack: Callable[[str, random.Random], str],
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
) -> list[CorpusRow]:
    return [_with_text(row, attack(row.text, row_random(name, seed, row.id)), tokenizer) for row in rows]


def _with_text(row: CorpusRow, text: str, tokenizer: PreTrainedTokenizerBase) -> CorpusRow:
    return replace(row, text=text, token_ids=tuple(tokenizer(text, add_special_tokens=False)["input_ids"]))


# --- by a model ---


def resample(
    rows: Sequence[CorpusRow],
    share: float,
    *,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    temperature: float = 1.0,
    batch_size: int = 32,
    on_answers: Callable[[int], None] | None = None,
) -> list[CorpusRow]:
    """`share` of each answer's tokens drawn anew by an unmarked model, from left to right.

    A chosen token is drawn from p(· | prompt and answer so far), where what stands before it may have been drawn anew
    already; the others stay. Special tokens are never drawn: the answer keeps its length. Of an answer without a
    prompt the first token stays. The numbers that decide a row's draws are the row's own; another batch changes a
    model's probabilities in their last digits, and so a draw in a million.

    Args:
        model: writes the corpus's own token ids (`tokenizer` is its tokenizer).
        on_answers: called with the number of answers just done.
    """
    import torch

    check_share(share)
    drawable = torch.ones(model.config.get_text_config().vocab_size, dtype=torch.bool)
    drawable[len(tokenizer) :] = False
    drawable[[i for i, token in tokenizer.added_tokens_decoder.items() if token.special and i < len(drawable)]] = False
    result: list[CorpusRow] = []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        drawn = _drawn_anew(model, [_Draws.of(row, share, seed) for row in batch], drawable, temperature)
        for row, ids in zip(batch, drawn, strict=True):
            answer = ids[len(row.prompt_ids) :]
            result.append(replace(row, token_ids=tuple(answer), text=str(tokenizer.decode(answer))))
        if on_answers is not None:
            on_answers(len(batch))
    return result


@dataclass(frozen=True)
class _Draws:
    """Which tokens are drawn anew, each by a number in [0, 1) that was drawn beforehand."""

    ids: list[int]  # prompt and answer
    start: int  # tokens that are fed before anything can be drawn; 0 only where there are none
    numbers: dict[int, float]  # by position in `ids`, in order

    @classmethod
    def of(cls, row: CorpusRow, share: float, seed: int) -> _Draws:
        rng = row_random("resample", seed, row.id)
        ids = [*row.prompt_ids, *row.token_ids]
        start = min(max(1, len(row.prompt_ids)), len(ids))
        chosen = sorted(rng.sample(range(start, len(ids)), round(share * (len(ids) - start))))
        return cls(ids, start, {position: rng.random() for position in chosen})

    @property
    def steps(self) -> int:
        """Tokens after the start, up to the last one that is drawn."""
        return max(self.numbers, default=self.start - 1) + 1 - self.start


def _drawn_anew(
    model: PreTrainedModel, batch: Sequence[_Draws], drawable: torch.Tensor, temperature: float
) -> list[list[int]]:
    """The ids of prompts and answers, by one pass with a cache: a token is fed as it is, unless it is drawn.

    Args:
        drawable: bool [vocab].
    """
    import torch

    width = max(one.start for one in batch)
    fed = torch.zeros((len(batch), width), dtype=torch.long)  # [batch, width], padded on the left
    attention = torch.zeros_like(fed)
    for row, one in enumerate(batch):
        fed[row, width - one.start :] = torch.tensor(one.ids[: one.start], dtype=torch.long)
        attention[row, width - one.start :] = 1
    result, cache = [list(one.ids) for one in batch], None
    for step in range(max(one.steps for one in batch)):
        positions = (attention.cumsum(dim=1) - 1).clamp(min=0)[:, -fed.shape[1] :]
        with torch.inference_mode():
            output = model(
                input_ids=fed.to(model.device),
                attention_mask=attention.to(model.device),
                position_ids=positions.to(model.device),
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
        cache = output.past_key_values
        drawing = [row for row, one in enumerate(batch) if one.start + step in one.numbers]
        if drawing:
            numbers = [batch[row].numbers[batch[row].start + step] for row in drawing]
            logits = output.logits[:, -1].float().cpu()[drawing].masked_fill(~drawable, -torch.inf)
            for row, token in zip(drawing, _draw(logits / temperature, numbers), strict=True):
                result[row][batch[row].start + step] = token
        following = [ids[one.start + step : one.start + step + 1] for ids, one in zip(result, batch, strict=True)]
        fed = torch.tensor([ids or [0] for ids in following])  # 0 behind an answer's end: nothing is read there
        attention = torch.cat((attention, torch.ones_like(fed)), dim=1)
    return result


def _draw(logits: torch.Tensor, numbers: Sequence[float]) -> list[int]:
    """The tokens at which the distribution functions pass the numbers; logits [N, vocab], N numbers."""
    import torch

    passed = torch.softmax(logits.double(), dim=-1).cumsum(dim=-1)
    wanted = torch.tensor(numbers, dtype=torch.float64) * passed[:, -1]
    found = torch.searchsorted(passed, wanted[:, None], right=True)
    return [int(token) for token in found[:, 0].clamp(max=logits.shape[1] - 1)]


@dataclass(frozen=True)
class Paraphrased:
    """Answers in other words, and how many were lost because the model wrote nothing."""

    rows: list[CorpusRow]
    asked: int

    @property
    def dropped_share(self) -> float:
        return 1 - len(self.rows) / self.asked if self.asked else 0.0


def paraphrase(
    rows: Sequence[CorpusRow],
    *,
    model: PreTrainedModel,
    model_tokenizer: PreTrainedTokenizerBase,
    tokenizer: PreTrainedTokenizerBase,
    sampling: Sampling,
    seed: int,
    on_tokens: Callable[[int], None] | None = None,
) -> Paraphrased:
    """Each answer written in other words by an unmarked instruct model, asked through its chat template.

    The batches of `sampling` are seeded by their place: another order of rows gives other words. A run that can be
    taken up again is `paraphrase_requests`, then `watermark.engines.answers.answer_resumably`, then `from_paraphrases`.

    Args:
        tokenizer: reads the new text; the student's, where it is not the paraphraser's own.
    """
    from watermark.engines.answers import answer

    requests = paraphrase_requests(rows, model_tokenizer)
    batches = answer(model, model_tokenizer, requests, sampling, seed=seed, on_tokens=on_tokens)
    return from_paraphrases(rows, [ids for batch in batches for ids in batch], model_tokenizer, tokenizer)


def paraphrase_requests(rows: Sequence[CorpusRow], model_tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """What the paraphraser is asked, as token ids of its own, one a row."""
    from watermark.engines.chat import chat_prompt_ids

    return [chat_prompt_ids(model_tokenizer, REQUEST.format(text=row.text)) for row in rows]


def from_paraphrases(
    rows: Sequence[CorpusRow],
    answers: Sequence[Sequence[int]],
    model_tokenizer: PreTrainedTokenizerBase,
    tokenizer: PreTrainedTokenizerBase,
) -> Paraphrased:
    """The rows with what the paraphraser wrote; rows for which it wrote nothing but space are dropped, and counted.

    Args:
        answers: its token ids, one list a row.
    """
    texts = [str(model_tokenizer.decode(list(ids), skip_special_tokens=True)).strip() for ids in answers]
    kept = [_with_text(row, text, tokenizer) for row, text in zip(rows, texts, strict=True) if text]
    return Paraphrased(kept, len(rows))
