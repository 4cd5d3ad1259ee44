"""`taggant suspect --model` where a model's tokenizer is not the key's: which path is taken, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from detect.fed import Probe
    from detect.observation import Reading
    from detect.questioned.aligned import Coverage
    from detect.questioned.sampled import Answers
    from detect.readers import Row
    from watermark.windows import Document


def tokenizer_of(model: PreTrainedModel, keys: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    """A model's own tokenizer; `keys` itself where it has the same tokens, or its directory holds no usable one."""
    from watermark.engines.models import load_tokenizer
    from watermark.errors import ModelError
    from watermark.keys import TokenizerIdentity

    try:
        own = load_tokenizer(model.name_or_path)
    except ModelError:
        return keys
    return keys if TokenizerIdentity.of(own).same_tokens(TokenizerIdentity.of(keys)) else own


def aligned_reading(
    models: Sequence[PreTrainedModel],
    tokenizers: Sequence[PreTrainedTokenizerBase],
    rows: Sequence[Row],
    probes: Sequence[Probe],
    keys: PreTrainedTokenizerBase,
    on_positions: Callable[[int], None],
    **how: Any,
) -> tuple[Reading, list[str]]:
    """A reading in the key's token ids of a model that has others, and what to note of it.

    Args:
        models: the questioned one, and the reference where there is one.
        tokenizers: their own.
        rows: what the probes were made of.
        probes: in the key's token ids.
        keys: the key's tokenizer.
        how: `rule`, `exclude` and `top` of `read_aligned`.
    """
    from detect.questioned.aligned import Reader, TextProbe, read_aligned
    from detect.questioned.alignment import Vocabulary

    vocabulary = Vocabulary.of(keys)
    vocabularies = [vocabulary if own is keys else Vocabulary.of(own) for own in tokenizers]
    questioned, *references = map(Reader, models, vocabularies)
    found = read_aligned(
        questioned,
        [TextProbe.of(probe, row.prompt, vocabulary) for row, probe in zip(rows, probes, strict=True)],
        vocabulary=vocabulary,
        reference=references[0] if references else None,
        on_positions=on_positions,
        **how,
    )
    on_positions(found.coverage.positions - found.coverage.aligned)  # they are done with, too
    return found.reading, notes_on_coverage(found.coverage)


def answers_in_own_tokens(
    model: PreTrainedModel,
    own: PreTrainedTokenizerBase,
    rows: Sequence[Row],
    probes: Sequence[Probe],
    keys: PreTrainedTokenizerBase,
    n_tokens: int | None,
    *,
    stop: Callable[[int, list[int]], bool] | None = None,
    **how: Any,
) -> Answers:
    """`sample_model` for a model with a tokenizer of its own; answers and prompts come back in the key's token ids.

    Args:
        n_tokens: in the model's own tokens.
        stop: is shown answers in the key's.
        how: the other options of `sample_model`.
    """
    from detect.questioned.retokenised import Retokeniser
    from detect.questioned.sampled import Answers, sample_model

    words = Retokeniser(own, keys)
    asked: dict[tuple[int, ...], list[int]] = {}  # in its tokens → in the key's
    for row, probe in zip(rows, probes, strict=True):
        asked.setdefault(tuple(words.prompt(row.prompt, probe.prompt_ids)), [int(token) for token in probe.prompt_ids])
    heard = None if stop is None else lambda number, ids: stop(number, words.again(ids))
    found = sample_model(model, own, list(asked), n_tokens, stop=heard, **how)
    in_keys = [asked[tuple(prompt)] for prompt in found.prompts]
    return Answers([words.again(ids) for ids in found.answers], in_keys, found.asked)


def fed_prompts(
    own: PreTrainedTokenizerBase, rows: Sequence[Row], probes: Sequence[Probe], keys: PreTrainedTokenizerBase
) -> list[list[int]]:
    """What a model is asked in its own tokens, template included, in the key's: for exclusion."""
    from detect.questioned.retokenised import Retokeniser

    words = Retokeniser(own, keys)
    own_ids = [words.prompt(row.prompt, probe.prompt_ids) for row, probe in zip(rows, probes, strict=True)]
    return [words.again(ids) for ids in own_ids if ids]


def notes_on_coverage(coverage: Coverage) -> list[str]:
    """What an aligned reading could see."""
    c, share = coverage, coverage.shared / coverage.vocabulary
    return [
        f"aligned reading, as not all models have the key's tokenizer: {c.aligned} of {c.positions} positions "
        f"({c.aligned / c.positions:.1%}) are boundaries of every tokenizer; {c.shared} tokens ({share:.1%} of the "
        "key's) are tokens of the same text in all, and alone can carry weight; the questioned model gives them "
        f"{c.mass:.1%} of its probability there, on average"
    ]


def notes_on_tokenizer(model_name: str, own: PreTrainedTokenizerBase) -> list[str]:
    """Which tokenizer the questioned model was fed with, where it is not the key's."""
    from watermark.engines.models import tokenizer_fingerprint

    name = tokenizer_fingerprint(model_name)[:16]
    return [
        f"the questioned model has a tokenizer of its own ({name}, {len(own)} tokens), "
        "not the key's: it was fed its own tokens, prompts through its own chat template"
    ]


def notes_on_retokenising(
    keys: PreTrainedTokenizerBase, context_width: int, answers: Sequence[Document], rows: Sequence[Row]
) -> list[str]:
    """What tokenising the answers again may have cost.

    Args:
        answers: in the key's tokens.
        rows: of the probes; where they hold token ids, a teacher drew these.
    """
    from detect.questioned.answer_ids import surviving_share

    width = context_width + 1
    notes = ["token ids: the model's own answers, tokenised again from their text with the key's tokenizer"]
    for documents, what in (
        (answers, "our ids of the answers, decoded and tokenised once more"),
        ([row.token_ids for row in rows if row.token_ids is not None], "the probes' own token ids, the same way"),
    ):
        share = surviving_share(keys, documents, width)
        if share is not None:
            notes.append(f"{what}: {share:.1%} of their windows of {width} tokens are there again")
    return notes
