"""What no check of a bundle can tell: said in the last line, and in reports."""

from __future__ import annotations

from collections.abc import Sequence

from detect.bundles.custody import Log
from detect.bundles.material import E_PROCESS, SCAN
from detect.bundles.verify.leftout import leaves_out_freely
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.responses import Answered
from detect.bundles.verify.runs import RecordedTest, asks_server
from detect.bundles.verify.stamped import Stamped
from detect.wording import amount

FIXED_AMOUNT = "that as many tokens were sampled as the plan says, not fewer or more"
ASKED_AND_SAID = "what a server was asked and said: its log, with a digest of the prompts, is the examiner's word"
AGAIN = "are the text of their answers, tokenised again (--tokenizer)"
BEFORE = "that nothing questioned was examined before, outside this log, or under another name"
AT_HAND = "that weights and answers are those of the model that is named"
UNSTAMPED = (
    "when anything was done: no timestamp from outside is over a commitment or plan, so the order is the signer's word"
)
CONTACT = "that the first contact with the model came after the timestamp of its plan: the signer's word"
SPECIAL = "which ids are special: pairs with one count nowhere, and the list is the examiner's word"
PROMPTS = "which ids were fed in as prompts, whose pairs count nowhere: the examiner's word"
MOST_NAMED = 3
NOTES = "the notes of tests: the examiner's words"


def unchecked_of(
    trusted: bool,
    rooted: bool,
    tokenized: bool,
    marked: Marked,
    stamps: Sequence[Stamped],
    tests: Sequence[RecordedTest],
    answered: Answered,
    log: Log,
    confirmatory: Sequence[RecordedTest],
) -> tuple[str, ...]:
    """What could not be checked, for people.

    Args:
        trusted: signers were held against keys that are trusted.
        rooted: the same of timestamps.
        tokenized: the mark's tokenizer is at hand, which the key's id is of.
        confirmatory: those of the tests that are, by the log.
    """
    found = []
    if not marked.opened and tests:
        found.append("colours: the key is not opened, so counts of green pairs, and S, are the examiner's word")
    if not trusted:
        found.append("whose the signers' keys are (--trust)")
    found.append(CONTACT if _settling(stamps, log) else UNSTAMPED)
    if stamps and not rooted:
        found.append("who made the timestamps (--tsa-root)")
    if not marked.opened and tests:
        scans = [test.what for test in tests if test.kind == SCAN]
        found += [f"without the key no scan: {', '.join(scans)}"] if scans else []
    fixed = [test.what for test in tests if _of_fixed_amount(test, log)]
    found += [f"{FIXED_AMOUNT}: {', '.join(fixed)}"] if fixed else []
    if answered.runs:
        found.append(ASKED_AND_SAID)
        if answered.again and not answered.remade:
            aside = f"; of {answered.given:,} the server gave ids, which were set aside" if answered.given else ""
            found.append(f"that {answered.again:,} of {amount(answered.documents, 'document')} {AGAIN}{aside}")
    found += answered.odd
    models = [entry.details for _, entry in log.of("begun") if entry.details["questioned"] is not None]
    found += [AT_HAND] if any(not asks_server(one) for one in models) else []
    if tests:
        bound = marked.mark.tokenizer_sha256 is None or (marked.opened and (tokenized or marked.shown))
        found += [BEFORE, *([] if bound else [f"{SPECIAL} (--tokenizer, with the key opened)"])]
        free = [test.what for test in tests if leaves_out_freely(test, test in confirmatory)]
        if free:
            all_of_many = len(free) > MOST_NAMED
            found.append(f"{PROMPTS}; of {amount(len(free), 'test') if all_of_many else ', '.join(free)}")
        found.append(NOTES)
    return tuple(found)


def _of_fixed_amount(test: RecordedTest, log: Log) -> bool:
    """Whether a planned test's answers were to be of a number of tokens: the model's own, which no ids here tell.

    Behind a server they are the key's, and `check_responses` counts them.
    """
    planned = "plan" in test.evidence and test.name.startswith("sampled/") and test.kind != E_PROCESS
    return planned and not asks_server(log.entries[test.begun].details)


def _settling(stamps: Sequence[Stamped], log: Log) -> bool:
    """Whether a commitment or a plan was stamped, itself or by the entry that records it."""
    recorded = {log.digests[number] for event in ("committed", "planned") for number, _ in log.of(event)}
    return any(one.what in ("commitment", "plan") or one.of in recorded for one in stamps)
