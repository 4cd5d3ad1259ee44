"""What a report says: every section in its order, every test, and the same bytes for the same bundle."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from detect.bundles.verify.check import verify_files
from detect.bundles.verify.runs import RecordedFamily
from detect.reports.blocks import SIGNIFICANT, Picture, Table, plain, stripped
from detect.reports.commission import Commission
from detect.reports.content import report_of
from detect.reports.controls import Controls
from detect.reports.given import Given
from detect.reports.page import html_of
from detect.reports.pictures import lineup_picture, order_picture
from detect.reports.validation import Validation
from detect.wording import bound_words
from tests.detect.bundles.bad.mutations import good
from tests.detect.bundles.factory import KEY, MODEL, Made, planned, sealed, text_families
from tests.detect.reports.pages import Parsed, given, page, whole, words_of
from tests.detect.reports.test_ratio import CONTROLS, write
from tests.detect.test_words import BANNED
from watermark.errors import InputError

KINDS = ["text", "texts-closed", "texts-checked", "early", "exhausted-closed", "weights", "weights-none", "stamped"]
KINDS.append("nothing")
TITLES = [
    "Question and commission",
    "Items and custody",
    "The plan, and deviations from it",
    "Propositions, and the alternatives that the tests cannot exclude",
    "The method in plain language",
    "The method in formulas",
    "Every test that was run",
    "Controls",
    "Validation study and error rates",
    "Multiplicity",
    "Likelihood ratio",
    "Limitations",
    "How to reproduce this",
    "Signatures",
]


def said(name: str, section: int | None = None, **changes: Any) -> str:
    """The words of a report, or of one section of it, in one string."""
    made = plain(report_of(replace(given(name), **changes)) if changes else whole(name))
    return "\n".join(words_of(made if section is None else made["sections"][section - 1]["text"]))


def summary(name: str, **changes: Any) -> str:
    made = report_of(replace(given(name), **changes)) if changes else whole(name)
    return "\n".join(words_of(plain(made)["summary"]))


@pytest.mark.parametrize("name", KINDS)
def test_structure(name: str) -> None:
    parsed = Parsed(page(name))
    numbered = [f"{i}{title}" for i, title in enumerate(TITLES, 1)]
    assert parsed.headings == ["Summary", "Contents", *numbered]
    assert parsed.open == []
    ids = [attributes["id"] for _, attributes in parsed.tags if "id" in attributes]
    assert len(set(ids)) == len(ids)
    assert {f"#{one}" for one in ids} >= {attributes["href"] for attributes in parsed.of("a")}
    case, bundle = given(name).verified.manifest.case, given(name).bundle
    assert case in parsed.text
    assert bundle in parsed.text
    assert page(name).decode().count(bundle[:32]) >= 3  # on every printed page, too


@pytest.mark.parametrize("name", KINDS)
def test_every_test_with_its_numbers(name: str) -> None:
    text = said(name, 7)
    for test in given(name).tests:
        if test.name.startswith("each/"):  # as its document is called
            number = int(test.name.removeprefix("each/")) - 1
            assert f"row {number} ({test.name}, run {test.run})" in text
        else:
            assert f"{test.name} (run {test.run}" in text
        assert bound_words(test.evidence["log10_p_adjusted"]) in text
        assert test.evidence["finding"] in text
    if not given(name).tests:
        assert "No test gave a result" in text
        assert "No test gave a result" in summary(name)


@pytest.mark.parametrize("name", KINDS)
def test_no_word_claims_too_much(name: str) -> None:
    found = [hit.group() for text in words_of(plain(whole(name))) if (hit := BANNED.search(text))]
    assert found == []
    assert BANNED.search(Parsed(page(name)).text) is None


@pytest.mark.parametrize("name", KINDS)
def test_no_number_is_longer_than_people_are_shown(name: str) -> None:
    cells = [stripped(cell) for section in whole(name).sections for block in section.blocks if isinstance(block, Table)
             for row in block.rows for cell in row if "options" not in stripped(cell)]  # fmt: skip
    fractions = [found for cell in cells for found in re.findall(r"(?<![\d.:])\d+\.\d+(?![\d.:])", cell)]
    assert [one for one in fractions if len(one.replace(".", "").lstrip("0")) > SIGNIFICANT] == []


def test_two_bundles_give_the_same_bytes_twice(tmp_path: Path) -> None:
    """In an interpreter of its own, with another seed of hashes."""
    from detect.bundles.seal import write_bundle

    write_bundle(good("stamped"), tmp_path / "bundle.zip")
    program = (
        "import sys; from detect.bundles.verify.check import verify_bundle;"
        "from detect.reports.content import report_of;"
        "from detect.reports.given import Given; from detect.reports.page import html_of;"
        "sys.stdout.buffer.write(html_of(report_of(Given(verify_bundle(sys.argv[1])))))"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "bundle.zip")]
    done = subprocess.run(command, capture_output=True, check=True, env=None)
    assert done.stdout == page("stamped")
    assert html_of(report_of(given("stamped"))) == page("stamped")


def test_the_first_page_says_what_was_found_and_what_not() -> None:
    found = summary("stamped")
    assert "detected" in found
    assert "Confirmatory: key, test, level and stopping rule were settled" in found
    assert "does not say who wrote, copied, trained" in found
    assert "not the probability that they have nothing to do with each other" in found
    assert "Exploratory: the log does not show" in summary("text")
    assert "not a sign of absence" in summary("exhausted-closed")
    assert "counts of green pairs, and S, are the examiner's word" in summary("texts-closed")


def _a_plan_and_then_texts(made: Made) -> None:
    """A planned negative; then texts that carry the mark, one by one besides; then a run that was stopped."""
    planned(made, green=0.25)
    for _ in range(2):
        made.run("detect", text_families(made.key))
    made.begin("detect").stop("no text")


def test_the_first_page_says_what_was_detected_beside_the_plan(tmp_path: Path) -> None:
    one = Given(verify_files(sealed(tmp_path, KEY, _a_plan_and_then_texts)))
    (main,) = one.main_tests
    assert (main.name, main.evidence["finding"]) == ("sampled/distinct", "not detected")
    texts = [test for test in one.tests if test is not main]
    detected = [test for test in texts if test.evidence["finding"] == "detected"]
    assert 3 < len(detected) < len(texts)
    found = "\n".join(words_of(plain(report_of(one))["summary"]))
    begins = f"Besides these, {len(texts)} exploratory tests in 2 runs (section 7); of these {len(detected)} say"
    assert f"{begins} “detected”: answers.jsonl (text, run 0002, probability below 10^-" in found
    assert f"; {len(detected) - 3} more; choices made after looking are not excluded in these." in found
    assert "Without a result ended 1 run (section 3)" in found
    assert (
        "“Detected”: What was observed would hardly have come about, had it nothing to do with the secret key" in found
    )
    assert "Besides these" not in summary("stamped")
    assert "Besides these" in summary("texts")  # single documents


def test_a_negative_says_of_which_effect_and_that_hardly_any_student_has_it() -> None:
    for found in (summary("maximum"), said("maximum", 7)):
        assert "a green fraction of 0.5" in found
        assert "rarely greener than 35% (those measured at gamma .25: 26 to 30 %)" in found
        assert "of such models this result says next to nothing" in found
    assert "as strong as a green fraction of 0.5 would most likely have been found" in summary("maximum")
    assert "a result “not detected” says next to nothing of such models" in said("maximum", 3)
    assert "Caution" in said("stamped", 3)  # the plan is as hopeful, the finding is not
    assert "Caution" not in summary("stamped") + said("stamped", 7)
    control = "as strong as that of the positive control (section 8), which the one test of it found, would most"
    assert control in summary("weights-none")
    assert "Caution" not in summary("weights-none") + said("texts-checked", 7)  # of texts students say nothing


@pytest.mark.parametrize(("log10_p", "spoken"), [(-4.0, True), (-1.5, False), (None, False)])
def test_a_small_p_short_of_its_level_is_spoken_of(log10_p: float | None, spoken: bool) -> None:
    one = given("stamped")
    (test,) = one.main_tests
    evidence = {**test.evidence, "finding": "not detected", "log10_p_adjusted": log10_p}
    short = replace(test, evidence=evidence)
    families = (RecordedFamily((short,), key_check=False),)
    planned = replace(one.verified, families=families, confirmatory=(short,))
    words = "below 0.01 without reaching the level that was set, 10^-6, is not counted as a finding"
    assert (words in summary("stamped", verified=planned)) == spoken
    unplanned = replace(planned, confirmatory=())
    assert ("without reaching the level, 10^-6" in summary("stamped", verified=unplanned)) == spoken
    assert "without reaching the level" not in summary("stamped")


def test_a_run_that_goes_on_and_a_mark_looked_for_among_many() -> None:
    text = said("resumed", 3)
    assert "Run 0002 goes on from run 0001: what is recorded of the server's answers" in text
    assert "Run 0003 goes on from run 0001 and run 0002: what is recorded of the server's answers" in text
    assert text.count("cut before that from both copies of the answers") == 2
    assert "Holm with the tests of 999 other keys, each as p = 1" in said("attributed", 10)


def test_what_was_settled_and_what_deviated() -> None:
    assert "No plan was recorded" in said("text", 3)
    assert "No commitment to the key was recorded" in said("text", 3)
    assert "The log shows no deviation from the plan." in said("stamped", 3)
    assert "bears that order out" in said("stamped", 3)
    stopped = said("texts-checked", 3)
    assert "under no plan, ended without a result: answers.jsonl cannot be read" in stopped
    assert "No answers of it are in the log" in stopped
    plan = given("resumed").verified.log.entries[2].details["plan"]
    assert f"Run 0001 (suspect), under the plan {plan[:16]}…, ended without a result" in said("resumed", 3)
    assert "0 answers of a server had been logged by then" in said("resumed", 3)
    assert "was checked once on human text" in stopped


def _looked_before(made: Made) -> None:
    """A text, a model under another name, then a plan whose one run was stopped without answers and begun anew."""
    made.commit()
    made.begin("detect").stop("no text")
    made.begin("suspect", questioned={"server": "http://127.0.0.1:8000/v1", "model_name": "other"}).stop("no answer")
    one = made.plan(effect=0.5)
    for reason in ("no connection", "killed"):
        made.begin("suspect", plan=one, questioned=MODEL).stop(reason)


def test_runs_before_the_plan_are_listed_and_one_begun_anew_does_not_go_on(tmp_path: Path) -> None:
    one = Given(verify_files(sealed(tmp_path, KEY, _looked_before)))
    text = "\n".join(words_of(plain(report_of(one))["sections"][2]["text"]))
    assert "run 0001 (detect, texts); run 0002 (suspect, model other at server http://127.0.0.1:8000/v1)" in text
    assert "one model can have several names, and several digests" in text
    assert "goes on from" not in text
    assert "had begun before the plan" not in said("stamped", 3)


def test_custody_says_what_the_holder_of_the_key_can_do() -> None:
    text = said("text", 2)
    assert "can go back to any earlier entry and write all that follows anew" in text
    assert "a timestamp from outside excludes that only for what came before it" in text


def test_what_the_mark_does_and_what_the_second_verifier_leaves_out() -> None:
    assert "chooses other words than it would have, which costs some fluency" in said("text", 5)
    text = said("text", 13)
    for words in (
        "It leaves to the second command: scans",
        "the source repository of Taggant",
        metadata.version("taggant"),
    ):
        assert words in text


def test_stretches_are_named_by_the_ids_of_their_rows() -> None:
    (scan,) = [test for test in given("text").tests if test.kind == "scan"]
    (index,) = {span["document_index"] for span in scan.evidence["spans"]}
    tables = [block for block in whole("text").sections[6].blocks if isinstance(block, Table)]
    (spans,) = [table for table in tables if table.caption == "Stretches found"]
    assert {stripped(row[0]) for row in spans.rows} == {f"row {index}"}


@pytest.mark.parametrize("name", KINDS)
def test_no_word_is_of_a_terminal(name: str) -> None:
    for number, text in [(0, summary(name)), *((i, said(name, i)) for i in (1, 4, 5, 6, 7, 8, 9, 10, 11, 12))]:
        assert "`" not in text, number
        assert "(--" not in text, number


def test_custody_and_timestamps() -> None:
    text = said("texts-checked", 2)
    for event in ("opened", "key-checked", "committed", "noted", "begun", "stopped", "finished", "sealed"):
        assert event in text
    assert "the disk came from the court, its seal intact" in text
    assert "the word of whoever signed them" in text
    stamps = said("stamped", 2)
    assert "was not checked, as no roots were given" in stamps
    assert stamps.count("CN=") >= 3


def test_controls_and_the_lineup_as_a_picture() -> None:
    pictures = [block for block in whole("weights").sections[7].blocks if isinstance(block, Picture)]
    assert len(pictures) == 2
    assert all(one.svg.startswith(b"<svg") and b"<script" not in one.svg and b"http://" not in one.svg.replace(
        b"http://www.w3.org/", b"") for one in pictures)  # fmt: skip
    assert "19 decoys" in pictures[0].description
    assert "reading/difference/control" in said("weights", 8)
    assert "No line-up of decoys was made" in said("nothing", 8)
    assert "No positive control was tested" in said("text", 8)


def test_multiplicity_counts_families_without_controls() -> None:
    assert "Over the whole case 2 tests gave a p in 2 families" in said("weights", 10)


def test_pictures_are_the_same_twice_and_show_the_key() -> None:
    once, again = (lineup_picture([1.0, 2.0, 2.0, 5.0], 9.0, "green pairs") for _ in range(2))
    assert once == again
    other = lineup_picture([1.0, 2.0, 2.0, 5.0], 4.0, "green pairs")
    assert once != other
    events = [("2026-11-30T01:02:03Z", f"event {i} $x_1$") for i in range(200)]
    assert order_picture(events) == order_picture(events)
    assert len(order_picture(events)) < 2 * len(order_picture(events[:40]))


def test_a_commission_is_quoted(tmp_path: Path) -> None:
    lines = ['question = "Was this text marked?\\nAnd how?"', 'examiner = "A. Expert"', 'commissioned_by = "The court"',
             "[[items]]", f'sha256 = "{"AB" * 32}"', 'description = "the answers, from the disk"',
             "[[items]]", f'sha256 = "{"12" * 32}"', 'description = "never read"']  # fmt: skip
    commission = Commission.load(write(tmp_path / "c.toml", "\n".join(lines)))
    text = said("text", commission=commission)
    for words in ("Was this text marked?", "And how?", "A. Expert", "The court", "the answers, from the disk"):
        assert words in text
    assert f"were read by no run: {'12' * 32}" in text
    assert "Was this text marked?" in summary("text", commission=commission)
    assert "No commission was given" in summary("text")


@pytest.mark.parametrize(
    ("text", "dated"),
    [
        ("2026-11-30", "2026-11-30"),
        ('"30 November 2026"', "30 November 2026"),
        ("2026-11-30T08:00:00Z", "2026-11-30 08:00:00+00:00"),
    ],
)
def test_a_commission_is_dated_in_words_or_by_toml(text: str, dated: str, tmp_path: Path) -> None:
    commission = Commission.load(write(tmp_path / "c.toml", f"dated = {text}"))
    assert commission.dated == dated
    assert dated in said("text", 14, commission=commission)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dated = 2026", "dated must be text"),
        ("examiner = 2026-11-30", "examiner must be text"),
        ("question = 1", "question must be text"),
        ('quest = "x"', "'quest' is not known"),
        ("[[items]]\nsha256 = 'x'", "sha256 and a description"),
        ("= =", "no TOML"),
    ],
)
def test_commissions_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        Commission.load(write(tmp_path / "c.toml", text))


def rate(level: float, count: int, of: int) -> dict[str, Any]:
    return {"level": level, "count": count, "of": of, "rate": count / of, "interval95": [0.0, 0.0123456789]}


STUDY: dict[str, Any] = {
    "format": "taggant-validation/1",
    "mark": {"scheme": "greenlist/1", "gamma_65536": 16384, "context_width": 1, "tokenizer_sha256": None},
    "populations": [{"name": "prose", "what": "letters by clerks", "documents": 9, "tokens": 999, "sha256": "ef" * 32}],
    "nulls": [],
    "pooled": [{"population": "prose", "test": "count", "rates": [rate(0.01, 90, 10_000)]}],
    "models": [{"population": "model", "keys": 100, "tests": {"reading": {"rates": [rate(0.1, 9, 100)]}}}],
    "marked": [{"population": "answers", "delta": 2.0, "tokens": 100, "texts": 50,
                "tests": {"count": {"rates": [rate(1e-6, 49, 50)]}}}],
    "limits": {"checked": 12, "within": 12},
    "notes": ["texts under one key are no independent experiments"],
}  # fmt: skip


def test_error_rates_are_cited_with_their_population(tmp_path: Path) -> None:
    study = Validation.load(write(tmp_path / "v.json", STUDY))
    text = said("texts", 9, validation=study)
    for words in ("texts of all lengths", "10,000 trials in each row", "90 (0 to 0.012)", "answers, δ = 2, 100 tokens",
                  "12 lie within", "letters by clerks",
                  study.sha256, "no independent experiments", "Without rates in it: scan"):  # fmt: skip
        assert words in text
    assert "with the parameters of this mark" in text
    assert "context_width 1 instead of 2" in said("texts-wide", 9, validation=study)
    assert "states no measured error rate" in said("texts", 9)


@pytest.mark.parametrize("change", [{"pooled": 1}, {"mark": {}}, {"limits": {"checked": -1}}, {"format": "x/1"}])
def test_studies_that_are_none(change: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="taggant validate"):
        Validation.load(write(tmp_path / "v.json", {**STUDY, **change}))


def test_a_likelihood_ratio_only_from_controls(tmp_path: Path) -> None:
    controls = Controls.load(write(tmp_path / "c.json", CONTROLS))
    assert "No likelihood ratio is given" in said("text", 11)
    with_ratio = said("text", 11, controls=(controls,))
    detected = given("text").main_tests[0].evidence["finding"] == "detected"
    assert str(controls.ratio(detected).words[1]) in with_ratio
    assert "not the odds that a proposition holds" in with_ratio
    assert "of another test, of another level, or of another kind of mark" in said("stamped", 11, controls=(controls,))
    assert "is the word of whoever made the file" in with_ratio
    assert "Each control is judged alone" in with_ratio


WEIGHED = {"test": "reading", "kind": "weights", "weights": "difference", "reference": True}


@pytest.mark.parametrize(
    "other",
    [{}, {"gamma": 0.5}, {"context_width": 3}, {"weights": "mass"}, {"weights": "excess"}, {"reference": False},
     {"alpha": 1e-5}, {"test": "sampled"}, {"kind": "count"}],
)  # fmt: skip
def test_controls_of_another_design_are_not_used(other: dict[str, Any], tmp_path: Path) -> None:
    controls = Controls.load(write(tmp_path / "c.json", {**CONTROLS, **WEIGHED, **other}))
    text = said("weights", 11, controls=(controls,))
    assert ("and are not used" in text) == bool(other)
    assert ("under H1 than under H0, judged by" in text) == (not other)


@pytest.mark.parametrize("finding", ["inconclusive", "not detected"])
def test_no_ratio_of_too_little_and_one_of_absence_only_for_so_strong_a_dependence(
    finding: str, tmp_path: Path
) -> None:
    one = given("weights")
    (test,) = one.main_tests
    changed = replace(test, evidence={**test.evidence, "finding": finding, "log10_p_adjusted": -1.0})
    families = (RecordedFamily((changed,), key_check=True),)
    verified = replace(one.verified, families=families, confirmatory=(changed,))
    controls = Controls.load(write(tmp_path / "c.json", {**CONTROLS, **WEIGHED}))
    text = said("weights", 11, verified=verified, controls=(controls,))
    if finding == "inconclusive":
        assert "It is no sign of absence, and gets no likelihood ratio" in text
        assert "support for H" not in text
        assert "verbal scale" not in text
    else:
        assert "under H1, for a dependence as strong as that of the controls, than under H0" in text
        assert "support for H0; H1: a dependence as strong as that of the controls" in text


def test_too_few_controls_give_no_ratio_and_it_says_so(tmp_path: Path) -> None:
    few = {**CONTROLS, "positives": CONTROLS["positives"][2:5], "negatives": CONTROLS["negatives"][:4]}
    controls = Controls.load(write(tmp_path / "few.json", few))
    text = said("text", 11, controls=(controls,))
    assert "No likelihood ratio is given" in text
    assert "detected in 3 of 3 positive controls and in 0 of 4 negative controls. They are too few" in text
    assert "support" not in text.replace("would support one", "")
    both = said("text", 11, controls=(controls, Controls.load(write(tmp_path / "c.json", CONTROLS))))
    assert "They are too few" in both
    assert "No likelihood ratio is given" not in both


def test_json_holds_the_words_of_the_page() -> None:
    made = plain(whole("weights"))
    assert json.loads(json.dumps(made)) == made
    assert [one["title"] for one in made["sections"]] == TITLES
    assert "<" not in "".join(words_of(made["summary"]))
