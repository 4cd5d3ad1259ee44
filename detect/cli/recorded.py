"""The tests of a command as the families that a case records, with what each rests on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from detect.bundles.material import COUNT, SCAN, Family, Tested, write_run
from detect.examined import judge_control
from detect.observation import Texts
from watermark.errors import InputError

if TYPE_CHECKING:
    from detect.bundles.run import Run
    from detect.cli.text import Found
    from detect.evidence import Assessment, Evidence
    from detect.examined import Examined
    from detect.plans.plan import Plan


MOST_DOCUMENTS = 2000  # with --each: a bundle holds 10,000 files, and each document takes two to four


def text_families(found: Found) -> list[Family]:
    """Of `taggant detect`: the pooled tests, and those of every document.

    Raises:
        InputError: there are more documents than a case takes one by one.
    """
    if len(found.documents) > MOST_DOCUMENTS:
        raise InputError(
            f"--each would record {len(found.documents):,} documents one by one, and a case takes {MOST_DOCUMENTS:,} a "
            "run; give fewer, or leave out --each"
        )
    checked = found.how.key_check is True
    pooled = {
        name: Tested(SCAN if name.endswith("/scan") else COUNT, values, Texts(read.documents, read.prompts, read.ids))
        for name, (values, read) in found.results.apart().items()
    }
    return [Family(pooled, checked), Family(_of_documents(found), checked)]


def _of_documents(found: Found) -> dict[str, Tested]:
    """With --each; a document whose normalised text is another test is there twice."""
    collection, reread = found.results.collection, found.results.reread
    changed = frozenset() if reread is None else frozenset(reread.changed(collection))
    tests = {}
    for i, (identifier, judged) in enumerate(found.documents):
        values = {name: value for name, value in judged.items() if name != "normalised"}
        name = f"each/{i + 1:05d}"
        tests[name] = Tested(COUNT, values, Texts([collection.documents[i]], collection.prompts, [identifier]))
        if reread is not None and i in changed:
            again = Texts([reread.documents[i]], reread.prompts, [identifier])
            tests[f"{name}/normalised"] = Tested(COUNT, judged["normalised"], again)
    return tests


def record_examined(
    run: Run, tests: Mapping[str, Examined], judged: Mapping[str, Evidence], plan: Plan | None, how: Assessment
) -> None:
    """Record that an examination of a model finished."""
    write_run(run, "suspect", model_families(tests, judged, plan, how))


def model_families(
    tests: Mapping[str, Examined], judged: Mapping[str, Evidence], plan: Plan | None, how: Assessment
) -> list[Family]:
    """Of `taggant suspect`: one family without a plan; with one its primary test, the others, and each control."""
    tested = {name: _tested(one, judged[name]) for name, one in tests.items()}
    checked = how.key_check is True
    if plan is None:
        return [Family(tested, checked)]
    primary = {plan.primary: tested.pop(plan.primary)}
    return [Family(one, checked) for one in (primary, tested, *_controls(tests, plan, how))]


def _tested(one: Examined, evidence: Evidence) -> Tested:
    assert one.observed is not None
    return Tested.of(one.tally, evidence.to_dict(), one.observed, one.answers)


def _controls(tests: Mapping[str, Examined], plan: Plan, how: Assessment) -> list[dict[str, Tested]]:
    """The plan's positive control under every test that it was examined by."""
    found = []
    for name, one in tests.items():
        evidence = judge_control(plan, name, one, how)
        if evidence is not None and one.control is not None and one.control_observed is not None:
            tested = Tested.of(one.control, evidence.to_dict(), one.control_observed)
            found.append({f"{name}/control": tested})
    return found
