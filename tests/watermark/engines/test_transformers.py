"""The processor, step by step: δ on green non-special columns and 0 elsewhere, cached or not, whatever is beside it."""

from __future__ import annotations

import copy
import sys
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from tests.watermark.engines.helpers import SPECIALS, VOCABULARY, key_for, model, tokenizer
from tests.watermark.test_chacha_torch import no_host
from watermark import GreenList, GreenListProcessor, Key, greenlist
from watermark.engines import row_cache
from watermark.engines import transformers as engine
from watermark.engines.row_cache import RowCache
from watermark.errors import KeyFileError, TokenizerMismatchError, UnsupportedError
from watermark.keys import TokenizerIdentity

pytestmark = pytest.mark.usefixtures("one_torch_thread")
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]


def expected_bias(key: Key, sequence: Sequence[int], columns: int) -> list[float]:
    """By the design's sentences, one column at a time."""
    h = key.context_width
    context = list(sequence[len(sequence) - h :])
    if len(sequence) < h or set(context) & set(key.special_ids):
        return [0.0] * columns
    known = key.tokenizer.vocab_size if key.tokenizer else columns
    contexts = np.array([context] * known, dtype=np.int64).reshape(known, h)
    green = GreenList(key).is_green(contexts, np.arange(known))
    return [
        key.delta if column < known and column not in key.special_ids and green[column] else 0.0
        for column in range(columns)
    ]


def scores_for(rows: int, columns: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(rows), dtype=torch.float32).to(dtype)


def sequences(rows: int, length: int, low: int = 3) -> torch.Tensor:
    return torch.randint(low, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(length))


def assert_marked(key: Key, ids: torch.Tensor, columns: int = VOCABULARY, dtype: torch.dtype = torch.float32) -> None:
    """Both paths add exactly the expected bias, and leave what they were given alone."""
    processor = GreenListProcessor(key, columns)
    scores = scores_for(len(ids), columns, dtype)
    before, ids_before = scores.clone(), ids.clone()
    bias = torch.tensor([expected_bias(key, row, columns) for row in ids.tolist()], dtype=torch.float64).to(dtype)
    expected = before + bias  # δ in the dtype of the scores
    for _ in range(2):  # the second time from the cache
        got = processor(ids, scores)
        assert got.dtype == dtype
        assert torch.equal(got, expected)
    if ids.shape[1] >= key.context_width:
        on_device = torch.empty_like(scores)
        processor.bias._add_on_device(ids[:, ids.shape[1] - key.context_width :], scores, on_device)
        assert on_device.dtype == dtype
        assert torch.equal(on_device, got)
        assert got.data_ptr() != scores.data_ptr()
    assert torch.equal(scores, before)
    assert torch.equal(ids, ids_before)


@pytest.mark.parametrize("width", range(9))
def test_delta_on_green_and_nothing_elsewhere(width: int) -> None:
    key = key_for(width, delta=2.1)
    assert_marked(key, sequences(5, 12))
    bias = np.array(expected_bias(key, sequences(1, 12)[0].tolist(), VOCABULARY))
    assert 40 < np.count_nonzero(bias) < 160
    assert not bias[list(SPECIALS)].any()


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("width", [0, 1, 4])
def test_every_dtype_of_scores(dtype: torch.dtype, width: int) -> None:
    assert_marked(key_for(width, delta=2.1), sequences(3, 6), dtype=dtype)


@pytest.mark.parametrize("gamma", [1, 6554, 32768, 65535])
def test_every_gamma(gamma: int) -> None:
    assert_marked(key_for(1, gamma_65536=gamma), sequences(4, 3))


@pytest.mark.parametrize("kind", [torch.int32, torch.int64])
def test_ids_of_either_dtype(kind: torch.dtype) -> None:
    assert_marked(key_for(2), sequences(3, 5).to(kind))


@pytest.mark.parametrize("width", [0, 1, 3, 8])
def test_columns_beyond_the_tokenizer_are_left_alone(width: int) -> None:
    columns = VOCABULARY + 77
    key = key_for(width, gamma_65536=65535)
    assert_marked(key, sequences(3, 9), columns)
    scores = scores_for(3, columns)
    marked = GreenListProcessor(key, columns)(sequences(3, 9), scores)
    assert torch.equal(marked[:, VOCABULARY:], scores[:, VOCABULARY:])
    assert not torch.equal(marked[:, :VOCABULARY], scores[:, :VOCABULARY])


def test_a_key_without_tokenizer_colours_every_column() -> None:
    key = key_for(1, gamma_65536=65535, bare=True)
    assert_marked(key, torch.tensor([[0], [1], [2], [9]]))
    marked = GreenListProcessor(key, 10)(torch.tensor([[0]]), torch.zeros(1, 10))
    assert (marked == key.delta).sum() >= 9


@pytest.mark.parametrize("special", SPECIALS)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_special_token_anywhere_in_the_context_switches_the_mark_off(special: int, place: int) -> None:
    ids = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    ids[0, 1 + place] = special
    key = key_for(3)
    assert_marked(key, ids)
    scores = scores_for(2, VOCABULARY)
    marked = GreenListProcessor(key, VOCABULARY)(ids, scores)
    assert torch.equal(marked[0], scores[0])
    assert not torch.equal(marked[1], scores[1])
    ids[0] = torch.tensor([special, 5, 6, 7])  # just before the context: no matter
    assert not torch.equal(GreenListProcessor(key, VOCABULARY)(ids, scores)[0], scores[0])


def test_special_columns_are_never_biased() -> None:
    key = key_for(1, gamma_65536=65535)
    contexts = torch.arange(3, VOCABULARY)[:, None]
    coloured = GreenList(key).mask(contexts, VOCABULARY)[:, list(SPECIALS)]
    assert coloured.float().mean() > 0.99  # they are green: it is the processor that spares them
    bias = GreenListProcessor(key, VOCABULARY)(contexts, torch.zeros(len(contexts), VOCABULARY))
    assert not bias[:, list(SPECIALS)].any()
    assert (bias[:, 3:] == key.delta).float().mean() > 0.99


@pytest.mark.parametrize("width", [1, 2, 5, 8])
def test_a_sequence_shorter_than_the_context_is_left_alone(width: int) -> None:
    for length in range(width):
        assert_marked(key_for(width), sequences(2, length))
        scores = scores_for(2, VOCABULARY)
        assert torch.equal(GreenListProcessor(key_for(width), VOCABULARY)(sequences(2, length), scores), scores)
    assert_marked(key_for(width), sequences(2, width))


@pytest.mark.parametrize("width", range(9))
def test_a_row_depends_neither_on_padding_nor_on_its_neighbours(width: int) -> None:
    key, padding = key_for(width), tokenizer().pad_token_id
    assert padding in key.special_ids
    prompts = [sequences(1, length)[0] for length in (1, 2, 4, 8, 9, 12)]
    scores = scores_for(len(prompts), VOCABULARY)
    alone = [GreenListProcessor(key, VOCABULARY)(p[None], scores[i, None])[0] for i, p in enumerate(prompts)]
    for total in (12, 20):
        batch = torch.full((len(prompts), total), padding)
        for row, prompt in enumerate(prompts):
            batch[row, total - len(prompt) :] = prompt
        together = GreenListProcessor(key, VOCABULARY)(batch, scores)
        assert torch.equal(together, torch.stack(alone))
    assert sum(not torch.equal(row, scores[i]) for i, row in enumerate(alone)) == sum(len(p) >= width for p in prompts)


# --- the cache ---


class Counted:
    """Counts the rows that are coloured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows = 0
        fill_bits = GreenList.fill_bits

        def counting(mark: GreenList, context: Any, out: Any) -> None:
            self.rows += 1
            fill_bits(mark, context, out)

        monkeypatch.setattr(GreenList, "fill_bits", counting)


def test_recurring_contexts_are_coloured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    processor = GreenListProcessor(key_for(1), VOCABULARY)
    ids = torch.tensor([[3, 7], [4, 7], [7, 8], [5, 2]])  # contexts 7, 7, 8 and a special one
    for _ in range(3):
        processor(ids, scores_for(4, VOCABULARY))
    assert counted.rows == 2
    processor(ids, scores_for(4, VOCABULARY, torch.bfloat16))
    assert counted.rows == 2
    fixed = GreenListProcessor(key_for(0), VOCABULARY)
    fixed(ids, scores_for(4, VOCABULARY))
    assert counted.rows == 3


@pytest.mark.parametrize("rows", [0, 1, 3])
def test_a_small_cache_stays_within_its_bound_and_changes_nothing(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    row = 4 * -(-VOCABULARY // 32)
    limit = rows * row + 5
    large, small = (
        GreenListProcessor(key_for(1), VOCABULARY),
        GreenListProcessor(key_for(1), VOCABULARY, cache_bytes=limit),
    )
    random = np.random.default_rng(0)
    for _ in range(30):
        ids = torch.from_numpy(random.integers(0, 12, (4, 2)))
        scores = scores_for(4, VOCABULARY, DTYPES[random.integers(4)])
        assert torch.equal(small(ids, scores), large(ids, scores))
        assert small.bias._rows.table.nbytes <= max(limit, row)  # one row at least
        assert len(small.bias._rows._slots) <= max(rows, 1)
    assert len(large.bias._rows._slots) == 9  # contexts 3 … 11


def test_the_row_used_longest_ago_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Counted(monkeypatch)
    processor = GreenListProcessor(key_for(1), VOCABULARY, cache_bytes=2 * (VOCABULARY + 32) // 8)
    for context, rows in [(5, 1), (6, 2), (5, 2), (7, 3), (5, 3), (6, 4)]:
        processor(torch.tensor([[context]]), scores_for(1, VOCABULARY))
        assert counted.rows == rows, context


class Filler:
    """Fills a row with its context's only number; raises when told to."""

    def __init__(self) -> None:
        self.filled: list[int] = []
        self.interrupt: BaseException | None = None

    def __call__(self, context: tuple[int, ...], row: np.ndarray) -> None:
        row.fill(77)  # half done
        if self.interrupt:
            raise self.interrupt
        row.fill(context[0])
        self.filled.append(context[0])


def test_rows_in_the_cache_do_not_share_memory() -> None:
    cache, fill = RowCache(120, 10), Filler()
    for number in (1, 2, 3, 1, 2, 3):
        assert cache.table[cache.slots([(number,)], fill)].tolist() == [[number] * 10]
    assert fill.filled == [1, 2, 3]
    cache.slots([(9,)], fill)
    assert cache.table[cache.slots([(2,)], fill)].tolist() == [[2] * 10]
    assert fill.filled == [1, 2, 3, 9]
    cache.slots([(1,)], fill)
    assert fill.filled == [1, 2, 3, 9, 1], "the one used longest ago made room"


@pytest.mark.parametrize("slots", [1, 2, 3])
def test_an_interrupted_row_is_filled_again_and_costs_no_other(slots: int) -> None:
    cache, fill = RowCache(slots * 40, 10), Filler()
    random = np.random.default_rng(slots)
    for step in range(200):
        number = int(random.integers(5))
        fill.interrupt = KeyboardInterrupt() if step % 3 == 0 else None
        try:
            row = cache.table[cache.slots([(number,)], fill)[0]]
        except KeyboardInterrupt:
            continue
        assert row.tolist() == [number] * 10
    assert 0 < len(fill.filled) < 200
    assert len(cache._slots) <= slots
    assert len(set(cache._slots.values())) == len(cache._slots)


def test_rows_asked_for_together_push_out_others_not_each_other() -> None:
    cache, fill = RowCache(160, 10), Filler()
    cache.slots([(1,), (2,), (3,)], fill)
    found = cache.slots([(4,), (1,), (4,), (5,)], fill)
    assert cache.table[found].tolist() == [[number] * 10 for number in (4, 1, 4, 5)]
    assert fill.filled == [1, 2, 3, 4, 5]
    assert set(cache._slots) == {(3,), (1,), (4,), (5,)}


def test_an_interruption_among_many_rows_gives_their_places_back() -> None:
    cache, fill = RowCache(160, 10), Filler()
    cache.slots([(1,)], fill)
    fill.interrupt = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        cache.slots([(1,), (2,), (3,)], fill)
    fill.interrupt = None
    assert (set(cache._slots), cache.room) == ({(1,)}, 4)
    found = cache.slots([(5,), (6,), (7,), (1,)], fill)
    assert cache.table[found].tolist() == [[number] * 10 for number in (5, 6, 7, 1)]
    assert len(set(found)) == 4


def test_many_rows_are_filled_in_threads_and_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    key, ids = key_for(1), torch.arange(3, 3 + 2 * row_cache.IN_THREADS_FROM)[:, None]
    scores, names = scores_for(len(ids), VOCABULARY), set()
    expected = GreenListProcessor(key, VOCABULARY)(ids, scores)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    fill_bits = GreenList.fill_bits

    def watched(mark: GreenList, context: Sequence[int], out: np.ndarray) -> None:
        names.add(threading.current_thread().name)
        fill_bits(mark, context, out)

    monkeypatch.setattr(GreenList, "fill_bits", watched)
    assert torch.equal(GreenListProcessor(key, VOCABULARY)(ids, scores), expected)
    assert names
    assert threading.main_thread().name not in names
    names.clear()
    GreenListProcessor(key, VOCABULARY)(ids[: row_cache.IN_THREADS_FROM - 1], scores[: row_cache.IN_THREADS_FROM - 1])
    assert names == {threading.main_thread().name}


def test_rows_are_filled_in_threads_in_inference_mode_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM is in that mode when it marks, and a thread that fills rows is not: it could not write to such a tensor."""
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    key, ids = key_for(1), torch.arange(3, 3 + 2 * row_cache.IN_THREADS_FROM)[:, None]
    scores = torch.randn(len(ids), VOCABULARY)
    expected = GreenListProcessor(key, VOCABULARY)(ids, scores)
    with torch.inference_mode():
        found = GreenListProcessor(key, VOCABULARY, in_place=True)(ids.clone(), scores.clone())
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_in_place_the_scores_handed_over_become_the_marked_ones(dtype: torch.dtype, cache_bytes: int) -> None:
    key, columns = key_for(1), VOCABULARY + 5  # columns beyond the tokenizer, and a context that gets no mark
    ids = torch.tensor([[7], [int(key.special_ids[0])], [9], [7]])
    scores = scores_for(4, columns, dtype)
    expected = GreenListProcessor(key, columns)(ids, scores)
    assert not torch.equal(expected, scores)
    processor = GreenListProcessor(key, columns, cache_bytes=cache_bytes, in_place=True)
    assert processor(ids, scores) is scores
    assert torch.equal(scores, expected)


def test_ctrl_c_while_a_row_is_filled_leaves_no_wrong_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    key, ids, scores = key_for(1), torch.tensor([[5], [6]]), scores_for(2, VOCABULARY)
    processor = GreenListProcessor(key, VOCABULARY)
    with pytest.MonkeyPatch.context() as patch:

        def stop(*_: object) -> None:
            raise KeyboardInterrupt

        patch.setattr(GreenList, "fill_bits", stop)
        with pytest.raises(KeyboardInterrupt):
            processor(ids, scores)
    expected = scores + torch.tensor([expected_bias(key, row, VOCABULARY) for row in ids.tolist()])
    for _ in range(2):
        assert torch.equal(processor(ids, scores), expected)


def test_threads_may_share_a_processor() -> None:
    """A cache of one row, so that every thread wants the place of every other's."""
    key = key_for(1)
    processor = GreenListProcessor(key, VOCABULARY, cache_bytes=1)
    scores = torch.zeros(4, VOCABULARY)
    wrong: list[int] = []

    def work(number: int) -> None:
        ids = torch.arange(3 + number, VOCABULARY, 8)[:4, None]
        bias = torch.tensor([expected_bias(key, row, VOCABULARY) for row in ids.tolist()])
        for _ in range(60):
            if not torch.equal(processor(ids, scores), bias):
                wrong.append(number)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


# --- on a device ---


@pytest.mark.parametrize("width", [0, 1, 3, 4, 8])
def test_on_a_device_nothing_is_read_back(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU stands in for the GPU. The range check, which looks at values, is made on the CPU only: switch it off."""
    key = key_for(width)
    processor = GreenListProcessor(key, VOCABULARY)
    ids = sequences(6, 9, low=0)
    contexts, scores = ids[:, 9 - width :], scores_for(6, VOCABULARY)
    got = torch.empty_like(scores)
    monkeypatch.setattr(greenlist, "_check_tensor", lambda *_: None)
    with no_host():
        processor.bias._add_on_device(contexts, scores, got)
    bias = torch.tensor([expected_bias(key, row, VOCABULARY) for row in ids.tolist()])
    assert torch.equal(got, scores + bias)


def test_on_a_device_without_data_only_shapes_are_asked() -> None:
    for width in (0, 1, 4):
        processor = GreenListProcessor(key_for(width), VOCABULARY)
        scores = torch.zeros((3, VOCABULARY), device="meta", dtype=torch.float16)
        for _ in range(2):
            got = processor(torch.zeros((3, 9), dtype=torch.long, device="meta"), scores)
        assert (got.shape, got.dtype, got.device.type) == (scores.shape, torch.float16, "meta")
        assert sorted(processor.bias._special_ids) == ["cpu", "meta"]  # copied once


# --- what is refused ---


def test_logits_narrower_than_the_tokenizer_are_refused() -> None:
    with pytest.raises(TokenizerMismatchError, match=f"{VOCABULARY - 1} logits.*{VOCABULARY} tokens") as caught:
        GreenListProcessor(key_for(), VOCABULARY - 1)
    assert (caught.value.expected, caught.value.found) == (str(VOCABULARY), str(VOCABULARY - 1))
    GreenListProcessor(key_for(), VOCABULARY)
    GreenListProcessor(key_for(bare=True), 5)


@pytest.mark.parametrize(
    ("tokens", "widest"), [(384, 1408), (50_295, 52_809), (100_015, 105_015), (151_665, 159_248), (1, 1025)]
)
def test_logits_far_wider_than_the_tokenizer_are_refused(tokens: int, widest: int) -> None:
    """Padding to a round number is usual (Qwen2.5: 151,936 logits for 151,665 tokens); another model's width is not."""
    key = Key.generate(tokenizer=TokenizerIdentity("t", "ab" * 32, tokens, ()))
    GreenListProcessor(key, widest)
    with pytest.raises(TokenizerMismatchError, match=f"{widest + 1} logits.*{tokens} tokens") as caught:
        GreenListProcessor(key, widest + 1)
    assert (caught.value.expected, caught.value.found) == (str(tokens), str(widest + 1))
    with pytest.raises(TokenizerMismatchError):
        engine.MarkConfig(key).construct_processor(widest + 1)


def test_a_key_for_another_tokenizer_is_refused() -> None:
    other = TokenizerIdentity("other", "ab" * 32, VOCABULARY, SPECIALS)
    key = Key.generate(tokenizer=other)
    for make in (
        lambda: GreenListProcessor(key, VOCABULARY, tokenizer=tokenizer()),
        lambda: engine.MarkConfig(key, tokenizer=tokenizer()),
    ):
        with pytest.raises(TokenizerMismatchError, match="was made for tokenizer"):
            make()
    GreenListProcessor(key_for(), VOCABULARY, tokenizer=tokenizer())
    engine.MarkConfig(key_for(), tokenizer=tokenizer())


@pytest.mark.parametrize(
    ("ids", "scores"),
    [((2, 3), (2, VOCABULARY - 1)), ((2, 3), (2, VOCABULARY + 1)), ((3, 3), (2, VOCABULARY)), ((1, 3), (2, VOCABULARY)),
     ((2, 3), (1, 2, VOCABULARY)), ((3,), (2, VOCABULARY))],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_refused(ids: tuple[int, ...], scores: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expects .*384"):
        GreenListProcessor(key_for(), VOCABULARY)(torch.full(ids, 5), torch.zeros(scores))


def test_last_tokens_alone_do_for_short_contexts_only() -> None:
    last = torch.tensor([5, 6, 2])
    scores = scores_for(3, VOCABULARY)
    for width in (0, 1):
        processor = GreenListProcessor(key_for(width), VOCABULARY)
        assert processor.supports_continuous_batching is True
        assert torch.equal(processor(last, scores), processor(last[:, None], scores))
    for width in range(2, 9):
        processor = GreenListProcessor(key_for(width), VOCABULARY)
        with pytest.raises(UnsupportedError, match=f"only the last token, and this key needs {width}"):
            processor(last, scores)
        with pytest.raises(UnsupportedError, match="only the last token"):
            _ = processor.supports_continuous_batching


def test_a_processor_is_neither_pickled_nor_shows_its_key() -> None:
    import pickle

    key = key_for()
    processor = GreenListProcessor(key, VOCABULARY)
    with pytest.raises(KeyFileError, match="not pickled"):
        pickle.dumps(processor)
    shown = repr(processor) + str(vars(processor))
    assert key.chacha_key.hex() not in shown
    assert repr(key.chacha_key) not in shown
    twin = copy.deepcopy(processor)
    scores = scores_for(1, VOCABULARY)
    assert torch.equal(twin(sequences(1, 3), scores), processor(sequences(1, 3), scores))


def test_the_models_width_is_what_the_processor_is_made_for() -> None:
    assert model().config.get_text_config().vocab_size == VOCABULARY == len(tokenizer())
