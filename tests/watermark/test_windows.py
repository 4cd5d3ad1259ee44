"""The one rule for pairs, against plain loops over tuples: every function, every width, packed codes and ranks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watermark import dedup, windows
from watermark.windows import Reason, WindowRule

TOP = 2**32 - 2
MANY = settings(max_examples=400)
Docs = list[list[int]]

# --- the reference: loops over tuples, from the design's sentences ---


def context_before(document: Sequence[int], position: int, width: int) -> tuple[int, ...] | None:
    return None if position < width else tuple(document[position - width : position])


def reference_labels(documents: Docs, prompts: Docs, width: int, specials: set[int]) -> list[list[Reason]]:
    forbidden = {
        (context_before(prompt, i, width), token) for prompt in prompts for i, token in enumerate(prompt) if i >= width
    }
    seen: set[tuple[Any, int]] = set()
    result = []
    for document in documents:
        labels = []
        for position, token in enumerate(document):
            context = context_before(document, position, width)
            if context is None:
                labels.append(Reason.NO_CONTEXT)
            elif token in specials or specials & set(context):
                labels.append(Reason.SPECIAL)
            elif (context, token) in forbidden:
                labels.append(Reason.IN_PROMPT)
            elif (context, token) in seen:
                labels.append(Reason.REPEATED)
            else:
                seen.add((context, token))
                labels.append(Reason.COUNTED)
        result.append(labels)
    return result


def reference_pairs(documents: Docs, labels: list[list[Reason]], width: int) -> list[tuple[tuple[int, ...], int]]:
    return sorted(
        (tuple(document[i - width : i]), document[i])
        for document, reasons in zip(documents, labels, strict=True)
        for i, reason in enumerate(reasons)
        if reason is Reason.COUNTED
    )


def reference_contexts(document: list[int], width: int, specials: set[int]) -> list[tuple[tuple[int, ...], int]]:
    found = [(tuple(document[end - width : end]), end) for end in range(width, len(document) + 1)]
    return [(context, end) for context, end in found if not specials & set(context)]


# --- collections to try ---

SMALL = st.integers(0, 4)  # few ids: pairs repeat, prompts overlap, specials are everywhere
LARGE = st.sampled_from([0, 1, 2**16, 2**31, TOP - 1, TOP])  # from h = 2 on these do not fit 64 bits: the rank path


@st.composite
def collections(draw: st.DrawFn) -> tuple[Docs, Docs, int, set[int]]:
    ids = draw(st.sampled_from([SMALL, LARGE]))
    documents = st.lists(st.lists(ids, max_size=14), max_size=6)
    specials = draw(st.sets(st.sampled_from([0, 3, 2**16]), max_size=2))
    return draw(documents), draw(documents), draw(st.integers(0, 8)), specials


def rule(width: int, specials: set[int]) -> WindowRule:
    return WindowRule(width, tuple(sorted(specials)))


def as_tuples(contexts: np.ndarray, tokens: np.ndarray) -> list[tuple[tuple[int, ...], int]]:
    return list(zip(map(tuple, contexts.tolist()), tokens.tolist(), strict=True))


@MANY
@given(collections())
@example(([], [], 0, set()))
@example(([[]], [[]], 0, set()))
@example(([[1], [1, 2]], [], 1, set()))
@example(([[TOP] * 12, [TOP, 0] * 6], [[TOP] * 9], 8, {0}))
def test_extract_finds_the_references_pairs_and_counts(case: tuple[Docs, Docs, int, set[int]]) -> None:
    documents, prompts, width, specials = case
    labels = reference_labels(documents, prompts, width, specials)
    expected = reference_pairs(documents, labels, width)
    counts = Counter(reason for reasons in labels for reason in reasons)
    got = rule(width, specials).extract(documents, prompts)
    assert as_tuples(got.pairs.contexts, got.pairs.tokens) == expected
    assert got.pairs.contexts.shape == (len(expected), width)
    assert got.pairs.contexts.dtype == got.pairs.tokens.dtype == np.uint32
    assert got.pairs.n_contexts == len({context for context, _ in expected})
    assert (got.n_documents, got.n_tokens) == (len(documents), sum(map(len, documents)))
    assert got.no_context == counts[Reason.NO_CONTEXT]
    assert got.special == counts[Reason.SPECIAL]
    assert got.in_prompt == counts[Reason.IN_PROMPT]
    assert got.repeated == counts[Reason.REPEATED]
    assert len(got.pairs) + got.no_context + got.special + got.in_prompt + got.repeated == got.n_tokens


@MANY
@given(collections())
@example(([], [], 0, set()))
@example(([[], [1], []], [], 0, set()))
@example(([[0, 0, 0]], [], 4, {0}))  # the whole collection shorter than a context
@example(([[3, 1]], [[3]], 8, {3}))
def test_label_gives_the_references_reasons(case: tuple[Docs, Docs, int, set[int]]) -> None:
    documents, prompts, width, specials = case
    got = rule(width, specials).label(documents, prompts)
    assert [labels.tolist() for labels in got] == reference_labels(documents, prompts, width, specials)
    assert all(labels.dtype == np.int8 for labels in got)


@MANY
@given(collections())
def test_contexts_are_the_references(case: tuple[Docs, Docs, int, set[int]]) -> None:
    documents, _, width, specials = case
    for document in documents:
        contexts, offsets = rule(width, specials).contexts(document)
        assert contexts.shape == (len(offsets), width)
        assert contexts.dtype == np.uint32
        assert as_tuples(contexts, offsets) == reference_contexts(document, width, specials)


@MANY
@given(collections())
@example(([], [], 0, set()))
@example(([[], [1], []], [], 0, set()))
@example(([[TOP] * 12, [TOP, 0] * 6], [], 8, {0}))
def test_occurrences_are_the_windows_in_reading_order(case: tuple[Docs, Docs, int, set[int]]) -> None:
    documents, _, width, specials = case
    found = WindowRule(width, tuple(sorted(specials))).occurrences(documents)
    labels = reference_labels(documents, [], width, specials)
    expected = [
        (number, (tuple(document[i - width : i]), document[i]))
        for number, (document, reasons) in enumerate(zip(documents, labels, strict=True))
        for i, reason in enumerate(reasons)
        if reason in (Reason.COUNTED, Reason.REPEATED)
    ]
    contexts, tokens = found.pairs.contexts.tolist(), found.pairs.tokens.tolist()
    pairs = [(tuple(context), token) for context, token in zip(contexts, tokens, strict=True)]
    assert pairs == reference_pairs(documents, labels, width)
    assert list(zip(found.documents.tolist(), [pairs[n] for n in found.numbers], strict=True)) == expected


@MANY
@given(collections())
def test_occurs_is_membership(case: tuple[Docs, Docs, int, set[int]]) -> None:
    documents, prompts, width, specials = case
    pairs = rule(width, specials).extract(documents).pairs
    forbidden = {
        (tuple(prompt[i - width : i]), prompt[i])
        for prompt in prompts
        for i in range(width, len(prompt))
        if not specials & set(prompt[i - width : i + 1])
    }
    got = rule(width, specials).occurs(pairs.contexts, pairs.tokens, prompts)
    assert got.dtype == np.bool_
    assert got.tolist() == [pair in forbidden for pair in as_tuples(pairs.contexts, pairs.tokens)]


def test_the_collections_reach_both_codings_and_all_reasons() -> None:
    """The strategies above, seen from outside: without this they could be trivial and nobody would know."""
    random = np.random.default_rng(0)
    documents = random.integers(0, 5, (6, 14)).tolist()
    prompts = random.integers(0, 5, (6, 4)).tolist()
    labels = reference_labels(documents, prompts, 1, {0})
    assert {reason for reasons in labels for reason in reasons} == set(Reason)
    for documents, packed in (([[1, 2, 3, 4]], True), ([[TOP, 2, 3, 4]], False)):
        table = np.lib.stride_tricks.sliding_window_view(np.array(documents[0], dtype=np.uint32), 3)
        assert (windows._encode([table]).bits < 64) == packed


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8])
def test_codings_at_the_edge_of_64_bits(width: int) -> None:
    """bits × (h + 1) = 64 exactly, one more, one fewer: pairs come back as they were."""
    for bits in {64 // (width + 1), 64 // (width + 1) + 1, max(64 // (width + 1) - 1, 1)}:
        top = min((1 << bits) - 1, TOP)
        documents = np.random.default_rng(bits).integers(max(top - 3, 0), top, (4, 30), endpoint=True).tolist()
        labels = reference_labels(documents, [], width, set())
        got = rule(width, set()).extract(documents).pairs
        assert as_tuples(got.contexts, got.tokens) == reference_pairs(documents, labels, width)


def test_nothing_crosses_documents() -> None:
    whole = WindowRule(2).extract([[1, 2, 3, 4]]).pairs
    split = WindowRule(2).extract([[1, 2], [3, 4]]).pairs
    assert as_tuples(whole.contexts, whole.tokens) == [((1, 2), 3), ((2, 3), 4)]
    assert len(split) == 0
    prompt = WindowRule(2).extract([[1, 2, 3, 4]], exclude=[[1, 2], [3, 4]])
    assert prompt.in_prompt == 0


def test_prompts_are_excluded_everywhere_not_only_beside_their_answer() -> None:
    got = WindowRule(1).extract([[5, 6, 7], [8, 5, 6]], exclude=[[5, 6]])
    assert as_tuples(got.pairs.contexts, got.pairs.tokens) == [((6,), 7), ((8,), 5)]
    assert got.in_prompt == 2


def test_a_pair_counts_once_in_the_whole_collection() -> None:
    got = WindowRule(1).extract([[5, 6, 5, 6], [5, 6]])
    assert as_tuples(got.pairs.contexts, got.pairs.tokens) == [((5,), 6), ((6,), 5)]
    assert got.repeated == 2
    first, second = WindowRule(1).label([[5, 6, 5, 6], [5, 6]])
    assert first.tolist() == [Reason.NO_CONTEXT, Reason.COUNTED, Reason.COUNTED, Reason.REPEATED]
    assert second.tolist() == [Reason.NO_CONTEXT, Reason.REPEATED]


def test_special_ids_as_target_and_as_context() -> None:
    labels = WindowRule(2, (9,)).label([[1, 2, 9, 3, 4, 5]])[0].tolist()
    special, counted, none = Reason.SPECIAL, Reason.COUNTED, Reason.NO_CONTEXT
    assert labels == [none, none, special, special, special, counted]


@pytest.mark.parametrize("specials", [(), (0,), (3, 9), (9,)])
def test_is_special_of_any_id(specials: tuple[int, ...]) -> None:
    ids = np.array([[0, 3, 8], [9, 10, TOP]], dtype=np.uint32)
    assert WindowRule(1, specials).is_special(ids).tolist() == [[i in specials for i in row] for row in ids.tolist()]


@pytest.mark.parametrize("kind", [list, tuple, np.array, lambda ids: np.array(ids, dtype=np.uint16), iter])
def test_documents_of_any_sequence_type(kind: Any) -> None:
    expected = WindowRule(1).extract([[1, 2, 3]]).pairs
    document = kind([1, 2, 3])
    if kind is iter:
        with pytest.raises(ValueError, match="flat sequence"):
            WindowRule(1).extract([document])
        return
    got = WindowRule(1).extract(doc for doc in [document])  # an iterator of documents is fine
    assert as_tuples(got.pairs.contexts, got.pairs.tokens) == as_tuples(expected.contexts, expected.tokens)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([[1, 2]], r"shape \[1, 2\]"),
        (5, r"shape \[\]"),
        ([1.0, 2.0], "integers, not float64"),
        (["a"], "integers"),
        ([True, False], "integers, not bool"),
        ([1, -4], "found -4"),
        ([1, TOP + 1], "found 4294967295"),
    ],
)
def test_documents_that_are_refused(document: Any, reason: str) -> None:
    for call in (
        lambda: WindowRule(1).extract([[1, 2], document]),
        lambda: WindowRule(1).extract([[1, 2]], exclude=[document]),
        lambda: WindowRule(1).label([document]),
        lambda: WindowRule(1).contexts(document),
    ):
        with pytest.raises(ValueError, match=reason):
            call()


def test_what_is_given_is_not_changed() -> None:
    document = np.array([1, 2, 1, 2, 3], dtype=np.uint32)
    before = document.copy()
    for width in (0, 1, 2):
        WindowRule(width).extract([document], [document[:2]])
        WindowRule(width).label([document])
    assert np.array_equal(document, before)


def test_a_large_collection_takes_the_compiled_path_and_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(4)
    documents = [random.zipf(1.3, 30_000) % 5000 for _ in range(8)]
    prompts = [random.zipf(1.3, 3000) % 5000]
    assert sum(map(len, documents)) > dedup.NUMBA_FROM
    compiled = WindowRule(2, (7,)).extract(documents, prompts)
    monkeypatch.setattr(dedup, "NUMBA_FROM", 10**9)
    plain = WindowRule(2, (7,)).extract(documents, prompts)
    assert np.array_equal(compiled.pairs.contexts, plain.pairs.contexts)
    assert np.array_equal(compiled.pairs.tokens, plain.pairs.tokens)
    assert (compiled.special, compiled.in_prompt, compiled.repeated) == (plain.special, plain.in_prompt, plain.repeated)
    assert min(len(compiled.pairs), compiled.special, compiled.in_prompt, compiled.repeated) > 100
