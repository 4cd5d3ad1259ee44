"""What no check of a bundle can tell: said in the last line, and in reports."""

from __future__ import annotations

from collections.abc import Sequence

from detect.bundles.custody import Log
from detect.bundles.material import ATTRIBUTION, E_PROCESS, SCAN, WEIGHTS
from detect.bundles.verify.judgement import is_negative
from detect.bundles.verify.leftout import leaves_out_freely
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.responses import Answered
from detect.bundles.verify.runs import RecordedFamily, RecordedTest, asks_server
from detect.bundles.verify.stamped import Stamped
from detect.wording import amount

FIXED_AMOUNT = "that as many tokens were sampled as the plan says, not fewer or more"
ASKED_AND_SAID = "what a server was asked and said: its log, with a digest of the prompts, is the examiner's word"
AGAIN = "are the text of their answers, tokenised again (--tokenizer)"
BEFORE = "that nothing questioned was examined before, outside this log, under another name, or as texts"
AT_HAND = "that weights and answers are those of the model that is named"
UNSTAMPED = (
    "when anything was done: no plan that was carried out has a timestamp from outside, so the order is the "
    "signer's word"
)
UNSETTLED = "when anything was done: the order is the signer's word, but where a plan was stamped; of {}"
RANDOM = "that the key was drawn at random, not chosen for its colours"
COMPARED = "tests of comparison, without the key; of"
GOES_ON = "run {}: why it goes on from {}"
CONTACT = "that the first contact with the model came after the timestamp of its plan: the signer's word"
MADE_FOR = "that the tokenizer that the key was made for, with its {} special ids, is the model's (--tokenizer)"
WEIGHED = "that weights are what a reference makes of a server's answers"
AMONG = "among how many keys the mark was looked for, and that no others were tried: {} is the examiner's word"
SEEDS = "seeds of line-ups that no plan settled: the examiner chose them; of"
NO_CLAIM = "{}: why a planned test claims no p"
NO_NEGATIVE = "{}: why it is called inconclusive, where its numbers make it a negative"
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
    families: Sequence[RecordedFamily],
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
    tests = [test for family in families for test in family.tests]
    if not marked.opened and tests:
        found.append("colours: the key is not opened, so counts of green pairs, and S, are the examiner's word")
    if not trusted:
        found.append("whose the signers' keys are (--trust)")
    found.append(_of_order(stamps, log, confirmatory))
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
        found += [BEFORE, *_special(marked, tokenized)]
        free = [test.what for test in tests if leaves_out_freely(test, test in confirmatory)]
        found += [f"{PROMPTS}; of {_names(free)}"] if free else []
        found += _of_tests(families, log, marked.opened)
        found += _of_stopped(confirmatory, log)
        found.append(RANDOM)
        found.append(NOTES)
    return tuple(found)


def _special(marked: Marked, tokenized: bool) -> list[str]:
    """Of the special ids: whose they are, or that they are a tokenizer's at all."""
    if marked.mark.tokenizer_sha256 is None or (marked.opened and tokenized):
        return []
    if marked.opened and marked.shown:
        return [MADE_FOR.format(len(marked.special_ids))] if marked.special_ids else []
    return [f"{SPECIAL} (--tokenizer, with the key opened)"]


def _of_stopped(confirmatory: Sequence[RecordedTest], log: Log) -> list[str]:
    """How many stopped runs of their plan those of confirmatory tests go on from."""
    found = []
    for number in sorted({test.begun for test in confirmatory}):
        run = log.entries[number].details
        stopped = sum(one.details["plan"] == run["plan"] for at, one in log.of("begun") if at < number)
        found += [GOES_ON.format(run["run"], amount(stopped, "stopped run"))] if stopped else []
    return found


def _of_tests(families: Sequence[RecordedFamily], log: Log, opened: bool) -> list[str]:
    """What is the examiner's word in some kinds of tests."""
    tests = [test for family in families for test in family.tests]
    served = any(test.kind == WEIGHTS and asks_server(log.entries[test.begun].details) for test in tests)
    found = [WEIGHED] if served else []
    among = [family.keys for family in families if any(test.name == ATTRIBUTION for test in family.tests)]
    found += [AMONG.format(amount(keys, "key")) for keys in among]
    compared = [] if opened else [test.what for test in tests if test.evidence.get("comparisons")]
    found += [f"{COMPARED} {_names(compared)}"] if compared else []
    seeded = [test.what for test in tests if "plan" not in test.evidence and _chosen_seed(test)]
    found += [f"{SEEDS} {_names(seeded)}"] if seeded else []
    for family in families:
        for test in family.tests:
            if "plan" in test.evidence and None in (test.evidence["log10_p"], test.evidence["log10_p_adjusted"]):
                found.append(NO_CLAIM.format(test.what))
            elif test.evidence["finding"] == "inconclusive" and test.kind != SCAN and is_negative(test, family):
                found.append(NO_NEGATIVE.format(test.what))
    return found


def _chosen_seed(test: RecordedTest) -> bool:
    """Whether a line-up has another seed than the one there is by default."""
    return "lineup" in test.evidence and test.evidence["lineup"]["seed"] != "0" * 64


def _names(tests: Sequence[str]) -> str:
    return amount(len(tests), "test") if len(tests) > MOST_NAMED else ", ".join(tests)


def _of_fixed_amount(test: RecordedTest, log: Log) -> bool:
    """Whether a planned test's answers were to be of a number of tokens: the model's own, which no ids here tell.

    Behind a server they are the key's, and `check_responses` counts them.
    """
    planned = "plan" in test.evidence and test.name.startswith("sampled/") and test.kind != E_PROCESS
    return planned and not asks_server(log.entries[test.begun].details)


def _of_order(stamps: Sequence[Stamped], log: Log, confirmatory: Sequence[RecordedTest]) -> str:
    """Whose word the order of events is: plans may have been stamped, themselves or by the entry that records them."""
    stamped = {one.of for one in stamps}
    settled = {
        entry.details["plan"]
        for number, entry in log.of("planned")
        if entry.details["plan"] in stamped or log.digests[number] in stamped
    }
    rest = [one.what for one in confirmatory if log.entries[one.begun].details["plan"] not in settled]
    if confirmatory and not rest:
        return CONTACT
    return UNSTAMPED if not settled else UNSETTLED.format(_names(rest) if rest else "no confirmatory test")
