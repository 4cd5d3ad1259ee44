"""How a study's models are questioned: as `taggant suspect` does it, whatever tokenizer they have.

A witness is a model with its own tokenizer. Where that is not the key's, it reads at aligned offsets and is asked in
its own tokens (ADR 0010); nothing here opens a key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detect.fed import Probe
from detect.observation import Excess, Reading
from distill_sim.corpus import CorpusRow
from watermark.engines.answers import Sampling
from watermark.engines.chat import chat_prompt_ids
from watermark.files import strict_json
from watermark.progress import Progress
from watermark.windows import Document, WindowRule

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


INFERENCE = "inference"  # beside a model's files: what is done to its logits whenever it speaks
BIAS_OF_WIDTH, HOW = "bias-{}.safetensors", "how.json"  # a bias for each context width


@dataclass(frozen=True)
class Witness:
    """A model and its own tokenizer."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase

    def speaks(self, key_tokenizer: PreTrainedTokenizerBase) -> bool:
        """Whether its tokens are the key's."""
        from watermark.keys import TokenizerIdentity

        return TokenizerIdentity.of(self.tokenizer).same_tokens(TokenizerIdentity.of(key_tokenizer))


@contextmanager
def witness(directory: Path) -> Iterator[Witness]:
    """The model in a directory with its tokenizer; neutralised inside the block where that belongs to it.

    Raises:
        ModelError: as `load_model` and `load_tokenizer`.
    """
    from watermark.engines.models import load_model, load_tokenizer

    model, tokenizer = load_model(directory), load_tokenizer(directory)
    if not (directory / INFERENCE).is_dir():
        yield Witness(model, tokenizer)
        return
    from distill_sim.bias import Bias
    from distill_sim.neutralise import neutralised

    how: Any = strict_json((directory / INFERENCE / HOW).read_bytes())
    with ExitStack() as blocks:
        for name in how["biases"]:
            blocks.enter_context(neutralised(model, Bias.load(directory / INFERENCE / name), how["strength"]))
        yield Witness(model, tokenizer)


def read(
    questioned: Witness,
    reference: Witness,
    *,
    key_tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[CorpusRow],
    rule: WindowRule,
    positions: int | None,
    corpus: Sequence[Document] | None,
    top: int,
    scaled: bool,
    report: Progress,
) -> Reading:
    """Read a questioned model on probes, against a reference of the same tokenizer.

    Args:
        rows: probes in the key's token ids.
        positions: probes are taken until they hold so many, the last one cut; None: all.
        corpus: as in `read_model`.
    """
    from detect.questioned.probes import plain_prompts

    probes = first_positions([Probe(row.prompt_ids, row.token_ids) for row in rows], rule, positions)
    rows = rows[: len(probes)]
    total, done = sum(_positions(probe, rule) for probe in probes), 0

    def advance(read: int) -> None:
        nonlocal done
        done += read
        report(done, total, f"{done} of {total} positions")

    how: dict[str, Any] = {
        "rule": rule,
        "exclude": plain_prompts((row.prompt for row in rows), key_tokenizer),
        "corpus": corpus,
        "top": top,
        "scaled": scaled,
        "on_positions": advance,
    }
    if questioned.speaks(key_tokenizer):
        from detect.questioned.reading import read_model

        vocab_size = len(key_tokenizer)
        return read_model(questioned.model, probes, vocab_size=vocab_size, reference=reference.model, **how)
    return _aligned(questioned, reference, key_tokenizer, rows, probes, how)


def _aligned(
    questioned: Witness,
    reference: Witness,
    key_tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[CorpusRow],
    probes: Sequence[Probe],
    how: Mapping[str, Any],
) -> Reading:
    from detect.questioned.aligned import Reader, TextProbe, read_aligned
    from detect.questioned.alignment import Vocabulary

    vocabulary = Vocabulary.of(key_tokenizer)
    readers = [Reader(one.model, Vocabulary.of(one.tokenizer)) for one in (questioned, reference)]
    texts = [TextProbe.of(probe, row.prompt, vocabulary) for row, probe in zip(rows, probes, strict=True)]
    return read_aligned(readers[0], texts, vocabulary=vocabulary, reference=readers[1], **how).reading


def first_positions(probes: Sequence[Probe], rule: WindowRule, positions: int | None) -> list[Probe]:
    """The first probes, the last one cut, so that no more than `positions` positions are read."""
    if positions is None:
        return list(probes)
    kept: list[Probe] = []
    before = [0, *accumulate(_positions(probe, rule) for probe in probes)]
    for probe, already in zip(probes, before[:-1], strict=True):
        room = positions - already
        if room < 1:
            break
        kept.append(Probe(probe.prompt_ids, probe.answer_ids[: room + rule.context_width - 1]))
    return kept


def _positions(probe: Probe, rule: WindowRule) -> int:
    return max(0, len(probe.answer_ids) - rule.context_width + 1)


def ask(
    questioned: Witness,
    *,
    key_tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    n_tokens: int,
    sampling: Sampling,
    seed: int,
    report: Progress,
) -> dict[str, Any]:
    """Ask a questioned model; answers, prompts and which of them was asked, all in the key's token ids.

    The prompts hold every form: through both chat templates, and the plain words.

    Args:
        n_tokens: in the model's own tokens.
    """
    from detect.questioned.probes import plain_prompts
    from detect.questioned.retokenised import Retokeniser
    from detect.questioned.sampled import sample_model

    done = 0

    def advance(tokens: int) -> None:
        nonlocal done
        done += tokens
        report(min(done, n_tokens), n_tokens, f"{done} tokens")

    distinct = list(dict.fromkeys(prompts))
    own = [chat_prompt_ids(questioned.tokenizer, prompt) for prompt in distinct]
    found = sample_model(
        questioned.model, questioned.tokenizer, own, n_tokens, sampling=sampling, seed=seed, on_tokens=advance
    )
    plain = plain_prompts(distinct, key_tokenizer)
    if questioned.speaks(key_tokenizer):
        return {"answers": found.answers, "prompts": [*found.prompts, *plain], "asked": found.asked}
    words = Retokeniser(questioned.tokenizer, key_tokenizer)
    in_key_ids = {tuple(ids): chat_prompt_ids(key_tokenizer, p) for ids, p in zip(own, distinct, strict=True)}
    asked = [in_key_ids[tuple(ids)] for ids in found.prompts]
    fed = [words.again(ids) for ids in found.prompts]
    answers = [words.again(ids) for ids in found.answers]
    return {"answers": answers, "prompts": [*asked, *fed, *plain], "asked": found.asked}


def weigh_answers(
    reference: PreTrainedModel,
    content: Mapping[str, Any],
    *,
    rule: WindowRule,
    vocab_size: int,
    temperature: float,
    corpus: Sequence[Document] | None,
    top: int,
    report: Progress,
) -> Excess:
    """What `ask` gave, weighed against a reference with the key's tokenizer."""
    from detect.questioned.excess import excess_of

    prompts, answers = content["prompts"], content["answers"]
    probes = [Probe(prompts[which], ids) for which, ids in zip(content["asked"], answers, strict=True) if ids]
    total, done = sum(max(0, len(probe.answer_ids) - rule.context_width) for probe in probes), 0

    def advance(read: int) -> None:
        nonlocal done
        done += read
        report(done, total, f"{done} of {total} positions")

    return excess_of(
        reference,
        probes,
        rule=rule,
        vocab_size=vocab_size,
        exclude=prompts,
        temperature=temperature,
        corpus=corpus,
        top=top,
        on_positions=advance,
    )
