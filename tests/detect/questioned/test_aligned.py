"""The aligned reading beside a slow one, beside the ordinary one, under the null, and with a mark to be found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from detect.colouring import under_every_key
from detect.counting import weigh, window_rule
from detect.evidence import assess
from detect.exact.weighted import CumulantFunction, chernoff, statistic
from detect.fed import Probe
from detect.questioned import aligned as module
from detect.questioned.aligned import AlignedReading, Reader, TextProbe, read_aligned
from detect.questioned.alignment import Vocabulary
from detect.questioned.reading import read_model
from tests import tiny
from tests.detect.material import docstrings, key_for, make_key, windows
from tests.detect.questioned import table_model, tokenizers
from tests.detect.questioned.tokenizers import renumbered, sentencepiece
from tests.detect.test_validity import LIMITS_10K
from watermark.engines.models import load_model, load_tokenizer
from watermark.errors import InputError
from watermark.greenlist import GreenList
from watermark.windows import WindowRule

pytestmark = pytest.mark.usefixtures("one_torch_thread")
TOLERANCE = 1e-4
KEYS = Vocabulary.of(tokenizers.byte_level())
SPECIALS = (0, 1, 2)


def tiny_model(tokenizer: Any, seed: int) -> Any:
    """A tiny model with this tokenizer's vocabulary, and some logits to spare."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer) + 5, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=512, initializer_range=0.2,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def reader(tokenizer: Any, seed: int) -> Reader:
    return Reader(tiny_model(tokenizer, seed), Vocabulary.of(tokenizer))


@pytest.fixture(scope="module")
def probes() -> list[TextProbe]:
    """Docstrings with prompts in words, in ids and without; special tokens and a cut character in the answers."""
    tokenizer, found = KEYS.tokenizer, []
    rng = np.random.default_rng(71)
    for i, text in enumerate(docstrings()[:5]):
        ids = tokenizer(text.replace("a", "é") if i == 3 else text, add_special_tokens=False)["input_ids"][: 30 + 5 * i]
        ids[int(rng.integers(0, len(ids)))] = 2
        prompt = [1, *tokenizer(docstrings()[20 + i], add_special_tokens=False)["input_ids"][: 4 * i]]
        found.append(TextProbe.of(Probe(prompt if i else [], ids), docstrings()[20 + i][:30] if i % 2 else None, KEYS))
    return found


# --- the slow computation ---


def log_softmax(x: np.ndarray) -> np.ndarray:
    shifted = x - x.max()
    return shifted - np.log(np.exp(shifted).sum())


def words(tokenizer: Any) -> dict[bytes, int]:
    """Ordinary tokens by their bytes, in a plain loop."""
    vocabulary, found = Vocabulary.of(tokenizer), {}
    for token in reversed(range(len(tokenizer))):
        name = tokenizer.convert_ids_to_tokens(token)
        if token not in SPECIALS and not (name.startswith("<0x") and vocabulary.spelling[token] in found):
            found[vocabulary.spelling[token]] = token
    return found


def log_probabilities(one: Reader, probe: TextProbe) -> tuple[int, list[int], list[np.ndarray]]:
    """Tokens of the prompt, those of the answer, and log p of the token behind each of all of them."""
    prompt = one.prompt_ids(probe)
    answer = one.vocabulary.tokenizer(probe.text, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        logits = one.model(torch.tensor([[*prompt, *answer]])).logits[0, :, : len(one.vocabulary)]
    return len(prompt), answer, [log_softmax(row) for row in logits.numpy().astype(np.float64)]


def slow(readers: Sequence[Reader], probes: Sequence[TextProbe], h: int) -> tuple[dict[tuple, np.ndarray], int, int]:
    """Σ D (or Σ p_s) per context over the key's tokens; positions that the key has, and that are aligned."""
    known = [words(KEYS.tokenizer), *(words(r.vocabulary.tokenizer) for r in readers)]
    shared = [text for text in known[0] if all(text in one for one in known)]
    table: dict[tuple, np.ndarray] = defaultdict(lambda: np.zeros(len(KEYS)))
    positions = aligned = 0
    for probe in probes:
        ids = [int(i) for i in probe.ids.answer_ids]
        data = probe.text.encode()
        said = [log_probabilities(one, probe) for one in readers]
        for offset in range(h, len(ids) + 1):
            context = tuple(ids[offset - h : offset])
            if set(context) & set(SPECIALS) or (not offset and not all(one.prompt_ids(probe) for one in readers)):
                continue
            before = b"".join(KEYS.spelling[i] for i in ids[:offset] if i not in SPECIALS)
            found = []
            for one, (first, own, logs) in zip(readers, said, strict=True):
                for end in reversed(range(len(own) + 1)):
                    joined = b"".join(one.vocabulary.spelling[i] for i in own[:end])
                    if joined == (b" " if one.vocabulary.adds_space else b"") + before and data.startswith(before):
                        break
                else:
                    continue
                if first + end > 0:
                    found.append(logs[first + end - 1])
            positions += 1
            if len(found) < len(readers):
                continue
            aligned += 1
            logs = [
                log_softmax(np.array([log[k[text]] for text in shared]))
                for log, k in zip(found, known[1:], strict=True)
            ]
            if len(logs) == 1:
                weights = np.exp(logs[0])
            else:
                m = (np.exp(logs[0]) + np.exp(logs[1])) / 2
                difference = logs[0] - logs[1]
                weights = np.sqrt(m) * (difference - (m * difference).sum())
            for text, weight in zip(shared, weights, strict=True):
                table[context][known[0][text]] += weight
    return table, positions, aligned


def excluded(readers: Sequence[Reader], probes: Sequence[TextProbe], h: int) -> set[Any]:
    documents = [list(probe.ids.prompt_ids) for probe in probes]
    for probe in probes:
        for one in readers:
            text = one.vocabulary.tokenizer.decode(one.prompt_ids(probe), skip_special_tokens=True)
            documents.append(KEYS.tokenizer(text, add_special_tokens=False)["input_ids"])
    return {pair for document in documents for pair in windows(document, h, SPECIALS)}


CASES = {
    "another": ["other"],
    "another, and a reference of the same": ["other", "other"],
    "another, and a reference of the key's": ["other", "byte_level"],
    "sentencepiece, and a reference of a third": ["sentencepiece", "other"],
}


@pytest.mark.parametrize("h", [0, 1, 2])
@pytest.mark.parametrize("case", CASES)
def test_as_the_slow_reading(case: str, h: int, probes: list[TextProbe]) -> None:
    readers = [reader(getattr(tokenizers, name)(), seed) for seed, name in enumerate(CASES[case])]
    read = read_aligned(
        readers[0],
        probes,
        rule=WindowRule(h, SPECIALS),
        vocabulary=KEYS,
        reference=readers[1] if len(readers) > 1 else None,
        scaled=False,
        top=len(KEYS),
    )
    table, positions, n_aligned = slow(readers, probes, h)
    left_out = excluded(readers, probes, h)
    expected = {
        (context, v): w
        for context, row in table.items()
        for v, w in enumerate(row.tolist())
        if w and v not in SPECIALS and (context, v) not in left_out
    }
    pairs = read.reading.pairs
    found = {
        (tuple(c), v): w
        for c, v, w in zip(pairs.contexts.tolist(), pairs.tokens.tolist(), read.reading.weights.tolist(), strict=True)
    }
    assert set(found) == set(expected)
    assert max(abs(found[pair] - expected[pair]) for pair in found) < TOLERANCE
    coverage = read.coverage
    assert (coverage.positions, coverage.aligned) == (positions, n_aligned)
    assert 0.15 < coverage.aligned / coverage.positions < 1
    assert read.reading.n_positions == n_aligned
    assert 0 < coverage.mass < 1
    assert coverage.shared < coverage.vocabulary == len(KEYS)
    assert left_out
    assert len(left_out & {(c, v) for c, row in table.items() for v in np.flatnonzero(row).tolist()}) > (h < 2)


def test_the_largest_weights_of_each_context_are_kept(probes: list[TextProbe]) -> None:
    one = reader(tokenizers.other(), 1)
    rule = WindowRule(1, SPECIALS)
    whole, cut = (read_aligned(one, probes, rule=rule, vocabulary=KEYS, top=top).reading for top in (len(KEYS), 3))
    by_context = defaultdict(list)
    for context, weight in zip(whole.pairs.contexts[:, 0].tolist(), np.abs(whole.weights).tolist(), strict=True):
        by_context[context].append(weight)
    expected = sorted(w for weights in by_context.values() for w in sorted(weights)[-3:])
    assert sorted(np.abs(cut.weights).tolist()) == pytest.approx(expected)


# --- a model whose ids alone are others ---


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The key, a marked model of the key's tokenizer, the same renumbered, and unmarked ones of either kind."""
    place = tmp_path_factory.mktemp("renumbered")
    key = key_for(9, KEYS.tokenizer)
    table_model.build(place / "marked", key=key, delta=1.5)
    table_model.build(place / "plain")
    for name in ("marked", "plain"):
        renumbered(place / name, place / f"{name}-other")
    return key, place


def own(directory: Any) -> Reader:
    return Reader(load_model(directory), Vocabulary.of(load_tokenizer(directory)))


def spoken(count: int = 60) -> list[TextProbe]:
    """Words of the table model's own, in an order that no key had a part in."""
    rng = np.random.default_rng(72)
    ids = [i for i, text in enumerate(KEYS.spelling) if i > 2 and text.strip().isalpha() and len(text) > 2]
    tokenizer, found = KEYS.tokenizer, []
    for _ in range(count):
        text = tokenizer.decode(rng.choice(ids, 30).tolist())
        found.append(TextProbe.of(Probe([], tokenizer(text, add_special_tokens=False)["input_ids"]), None, KEYS))
    return found


def aligned(place: Any, name: str, probes: list[TextProbe], key: Any, **how: Any) -> AlignedReading:
    return read_aligned(
        own(place / name), probes, rule=window_rule(key), vocabulary=KEYS, reference=own(place / "plain-other"), **how
    )


def test_with_other_ids_alone_it_is_the_ordinary_reading(marked: Any) -> None:
    key, place = marked
    probes = spoken()
    ordinary = read_model(
        load_model(place / "marked"), [probe.ids for probe in probes], rule=window_rule(key), vocab_size=len(KEYS),
        reference=load_model(place / "plain"), top=len(KEYS),
    )  # fmt: skip
    found = aligned(place, "marked-other", probes, key, top=len(KEYS))
    assert found.coverage.aligned == found.coverage.positions == ordinary.n_positions
    assert found.coverage.shared == len(KEYS) - len(SPECIALS)
    assert found.coverage.mass == pytest.approx(1, abs=1e-6)  # special tokens are as good as never said

    def table(reading: Any) -> np.ndarray:
        dense = np.zeros((len(KEYS), len(KEYS)))
        dense[reading.pairs.contexts[:, 0].astype(int), reading.pairs.tokens.astype(int)] = reading.weights
        return dense

    assert np.abs(table(found.reading) - table(ordinary)).max() < TOLERANCE
    assert np.abs(table(ordinary)).max() > 0.1


def test_the_mark_is_found_and_only_under_its_key(marked: Any) -> None:
    key, place = marked
    reading = aligned(place, "marked-other", spoken(), key).reading
    assert assess(weigh(key, reading)).finding == "detected"
    others = [assess(weigh(key_for(number, KEYS.tokenizer), reading)).log10_p for number in range(100, 110)]
    assert min(value or 0 for value in others) > -4


@pytest.mark.parametrize("h", [1, 2])
def test_under_10_000_keys(h: int, probes: list[TextProbe]) -> None:
    """Null: by the design's limits; the models know no key."""
    readers = [reader(tokenizers.other(), 3), reader(sentencepiece(), 4)]
    rule = WindowRule(h, SPECIALS)
    found = read_aligned(readers[0], probes, rule=rule, vocabulary=KEYS, reference=readers[1], top=4).reading
    cumulant = CumulantFunction(found.weights, 0.25)
    greens = [GreenList(make_key(20_000 + i, h=h, special=SPECIALS)) for i in range(10_000)]
    statistics = under_every_key(
        found.pairs, len(greens), greens.__getitem__, lambda colours, gamma: statistic(colours, found.weights, gamma)
    )
    p = 10 ** np.array([chernoff(cumulant, float(s)).log10_p for s in statistics])
    for level, limit in LIMITS_10K.items():
        assert (p <= level).sum() <= limit
    assert (p < 0.3).sum() > 500  # p ≡ 1 would pass, and must not
    assert abs(statistics.mean()) < 6 * statistics.std() / 100


# --- long answers, and refusals ---


def test_long_answers_are_read_in_pieces(marked: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The table model looks at the last token alone, so where a piece begins makes no difference."""
    key, place = marked
    ids = [int(i) for probe in spoken(20) for i in probe.ids.answer_ids]
    probes = [TextProbe.of(Probe([], ids), "The rain", KEYS)]
    whole = aligned(place, "marked-other", probes, key)
    monkeypatch.setattr(module, "LONGEST", 140)
    fed: list[int] = []
    take = module.batch_logits

    def spied(model: Any, batch: Any, vocab_size: int) -> Any:
        fed.append(batch.ids.shape[1])
        return take(model, batch, vocab_size)

    monkeypatch.setattr(module, "batch_logits", spied)
    cut = aligned(place, "marked-other", probes, key)
    assert len(fed) > 1
    assert max(fed) < 200 < len(ids) / 2
    assert cut.coverage.mass == pytest.approx(whole.coverage.mass)
    assert cut.reading.n_positions == whole.reading.n_positions
    assert np.array_equal(cut.reading.pairs.tokens, whole.reading.pairs.tokens)
    assert np.abs(cut.reading.weights - whole.reading.weights).max() < TOLERANCE


def test_refusals(probes: list[TextProbe]) -> None:
    rule, one = WindowRule(1, SPECIALS), reader(tokenizers.other(), 0)
    narrow = Reader(tiny_model(tokenizers.other(300), 0), one.vocabulary)
    with pytest.raises(InputError, match="305 logits, its own tokenizer 330 tokens"):
        read_aligned(narrow, probes, rule=rule, vocabulary=KEYS)
    short = TextProbe.of(Probe([], [5]), None, KEYS)
    with pytest.raises(InputError, match="none of the 0 positions"):
        read_aligned(one, [short], rule=WindowRule(2, SPECIALS), vocabulary=KEYS)
    long = TextProbe.of(Probe([], KEYS.tokenise("rain " * 400).ids), "boats " * 400, KEYS)
    with pytest.raises(InputError, match="leaves no room for its answer"):
        read_aligned(one, [long], rule=rule, vocabulary=KEYS)


def test_prompts_go_through_the_models_own_template() -> None:
    tokenizer = tokenizers.fast(tokenizers.other().backend_tokenizer)
    one = Reader(None, Vocabulary.of(tokenizer))  # type: ignore[arg-type]
    ids = [1, *KEYS.tokenise("The rain").ids, 2]
    by_words, by_ids = (TextProbe.of(Probe(ids, []), prompt, KEYS) for prompt in ("The rain", None))
    assert one.prompt_ids(by_ids) == tokenizer("The rain")["input_ids"]
    tokenizer.chat_template = tiny.CHAT_TEMPLATE
    asked = tokenizer("<|im_start|>user\nThe rain<|im_end|>\n<|im_start|>assistant\n")["input_ids"]
    assert one.prompt_ids(by_words) == asked
    assert one.prompt_words(by_words) == "user\nThe rain\nassistant\n"
    assert one.prompt_ids(by_ids) == tokenizer("The rain")["input_ids"]
