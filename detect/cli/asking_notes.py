"""What people and other examiners must know of answers that a server gave: the notes of `taggant suspect --api`.

Nothing in them depends on the order of arrival or the number of runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from detect.normalise import DRESSED
from detect.visible import one_line
from detect.wording import amount

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from detect.cli.extent import Counting, Extent
    from detect.questioned.answer_ids import AnswerIds, AnswerReader
    from detect.questioned.questions import Questions
    from detect.questioned.responses import Response
    from watermark.windows import Document


def what_ended_it(
    extent: Extent, counting: Counting, reader: AnswerReader, responses: Sequence[Response]
) -> str | None:
    """What ended the asking early, other than its own rule; None: nothing."""
    got = sum(reader.length(one) for one in responses)
    if counting.ended_itself or (extent.tokens is not None and got >= extent.tokens):
        return None
    if extent.maximum_pairs is None:
        return f"the budget ended it at {got}"
    return f"the budget, or a run of empty answers, ended it at {got} tokens"


def notes_on_asking(
    questions: Questions, extent: Extent, short: str | None, responses: Sequence[Response]
) -> list[str]:
    """What another examiner needs; nothing that depends on the order of arrival or the number of runs.

    Args:
        short: from `what_ended_it`.
    """
    from detect.questioned.repeats import Repeats
    from detect.questioned.responses import responses_sha256

    q, s = questions, questions.sampling
    later = "" if extent.next_look is None else f": {extent.next_look}"
    use = "weighed" if extent.weighed else "in the log, not counted"
    repeating = Repeats(responses).words(q)
    logprobs = "" if s.logprobs is None else f", log-probabilities of {s.logprobs} tokens ({use})"
    return [
        f"questioned server {q.shown_server}, model {one_line(q.model, 80)}{_other_names(q.model, responses)}, "
        f"endpoint {q.endpoint}",
        f"prompts: {len(q.prompts)}, SHA-256 {q.prompts_sha256} over their canonical JSON list",
        _account(responses),
        *([] if repeating is None else [repeating]),
        f"sampling: temperature {s.temperature:g}, top_p {s.top_p:g}, at most {s.max_new_tokens} tokens an answer"
        f"{logprobs}; request i asks prompt i mod {len(q.prompts)} with a seed made of {q.seed} and i; settings of "
        "the server's own, if any, are not visible",
        f"{extent.words}, {extent.settled}{'' if short is None else f'; {short}'}; {extent.counted}{later}",
        f"response log: SHA-256 {responses_sha256(responses)} over what counts of each counted answer, in the "
        "order asked (canonical JSON, a line each); that it holds what the server sent, and all of it, is the word of "
        "who kept it: nothing in it is signed",
    ]


def notes_on_tokens(
    tokenizer: PreTrainedTokenizerBase,
    context_width: int,
    reader: AnswerReader,
    responses: Sequence[Response],
    drawn: Sequence[Document],
) -> list[str]:
    """Whose token ids were counted, and what share of the pairs a detour through text may have cost.

    Args:
        drawn: token ids of the probes' answers, where they were given.
    """
    from detect.questioned.answer_ids import SPELLED_ALIKE, Detour, surviving_share

    answers, width = [reader.read(one) for one in responses], context_width + 1
    own = [answer.ids for answer in answers if answer.returned]
    alike = surviving_share(tokenizer, own, width)
    share = "" if alike is None else f"; {alike:.1%} of their windows are the tokenizer's own"
    odd = [*_surplus(answers), *_odd_characters(answers)]
    if len(own) == len(answers):
        return [
            *odd,
            f"token ids: the server's own; the key's tokenizer decodes all {len(own)} to the text it sent{share}",
        ]
    again = len(answers) - len(own)
    notes = [*odd, f"token ids: the server's own in {len(own)} answers{share}; in {again} the text was tokenised again"]
    if otherwise := sum(answer.spelled_otherwise for answer in answers):
        notes.append(
            f"in {otherwise} of these the server's ids spelled the text otherwise than its tokenizer does (fewer than "
            f"{SPELLED_ALIKE:.0%} of their windows of two tokens are its own): they would hide pairs, and were not used"
        )
    detour = Detour.measured(reader, responses)
    if detour.answers:
        cost = f"{detour.share_of_pairs(context_width):.1%} of the pairs ({width + 1} a token)"
        notes.append(
            "tokenised again: as many tokens as the server counted (give or take an end-of-text) in "
            f"{detour.alike} of {detour.answers} answers; in all {detour.missing} of {detour.tokens} tokens more or "
            f"fewer, which may have cost about {cost}"
        )
    else:
        notes.append("tokenised again: the server counted no tokens, so what share of pairs this cost is unknown")
    stable = surviving_share(tokenizer, [answer.ids for answer in answers if not answer.returned], width)
    probes = surviving_share(tokenizer, drawn, width)
    if stable is not None:
        notes.append(
            f"our ids of the answers, decoded and tokenised once more: {stable:.1%} of their windows are there again "
            "(how stable the tokenizer is on this text; not what the model drew)"
        )
    if probes is not None:
        notes.append(f"the probes' own token ids, decoded and tokenised again: {probes:.1%} of windows survive")
    return notes


def _surplus(answers: Sequence[AnswerIds]) -> list[str]:
    """How many answers were longer than asked."""
    from detect.questioned.responses import SPELLINGS

    longer = [answer.surplus for answer in answers if answer.surplus]
    if not longer:
        return []
    return [
        f"{len(longer)} of {amount(len(answers), 'answer')} longer than was asked for, in the key's tokens (of text "
        f"that was tokenised again {SPELLINGS} times as many may pass, if the server says that it kept to it): "
        f"{amount(sum(longer), 'token')} beyond that left out"
    ]


def _odd_characters(answers: Sequence[AnswerIds]) -> list[str]:
    """How many answers hold characters that hide tokens from a test, and what was made of them."""
    odd = sum(answer.odd > 0 for answer in answers)
    disguised = [answer for answer in answers if answer.disguised]
    if not odd:
        return []
    note = (
        f"invisible, lookalike or oddly dressed characters (spaces, quotes, letters) in {odd} of "
        f"{amount(len(answers), 'answer')} ({odd / len(answers):.0%})"
    )
    if not disguised:
        return [f"{note}: none invisible or lookalike, and at most {DRESSED:.0%} of any answer; read as they came"]
    undone = amount(sum(answer.odd for answer in disguised), "place")
    return [
        f"{note}; {len(disguised)} of them hide their tokens so (anything invisible or lookalike, or more than "
        f"{DRESSED:.0%} in all, or a word of two scripts) and were counted as they look, as far as that "
        f"is known, {undone} in them: a rule of the text alone"
    ]


def _account(responses: Sequence[Response]) -> str:
    """Where the requests went, in one line."""
    empty = sum(not one.text for one in responses)
    reasons = [("length", "cut at the longest answer"), ("content_filter", "touched by the server's content filter")]
    parts = [f"{amount(len(responses), 'request')} answered, {amount(len(responses) - empty, 'answer')} counted"]
    if empty:
        parts.append(f"{empty} empty")
    for reason, words in reasons:
        if count := sum(one.finish_reason == reason for one in responses):
            parts.append(f"{count} {words}")
    return ", ".join(parts)


def _other_names(asked: str, responses: Sequence[Response]) -> str:
    """The names the server answered under, where they are others."""
    names = sorted({one.model for one in responses if one.model} - {asked})
    return f" (answered as {', '.join(one_line(name, 60) for name in names[:3])})" if names else ""
