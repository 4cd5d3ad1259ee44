"""A plan carried out in several runs, of which all but the last were stopped: what both verifiers make of it."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from tests.detect.bundles.bad.findings import answers_of
from tests.detect.bundles.bad.registry import good
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.served import SERVER
from tests.detect.bundles.verify.both import first_code, verified
from tests.tools.second import check_of


def test_a_run_that_goes_on_is_confirmatory() -> None:
    files = good("resumed")
    assert [(one.run, one.name) for one in verified(files).confirmatory] == [("0003", "sampled/distinct")]
    assert check_of(files) == "passed"


def answers_cut_off_at_the_end(d: Draft) -> None:
    """Those of the stopped run are more than those of the one that goes on."""
    whole = d.files["case/runs/0003/responses.log"]
    last = whole.splitlines(keepends=True)[-1]
    answers_of(d, "0002", whole + last.replace(b'"request": 10, "prompt": 0', b'"request": 12, "prompt": 0'))


def going_on_without_answers(d: Draft) -> None:
    answers_of(d, "0003", None)


def going_on_with_another_model(d: Draft) -> None:
    d.entry("begun")["details"]["questioned"] = SERVER | {"model_name": "another"}


def going_on_from_a_run_that_had_ended(d: Draft) -> None:
    """The last run again, with the same answers."""
    at = len(d.entries) - 1
    d.insert(at, "begun", d.entry("begun", 2)["details"] | {"run": "0004"})
    names = [one["name"] for one in d.entry("finished")["subjects"]]
    again = [name.replace("0003", "0004") for name in names]
    for name, new in zip(names, again, strict=True):
        d.files[f"case/{new}"] = d.files[f"case/{name}"]
    d.change("case/runs/0004/run.json", run="0004")
    d.insert(at + 1, "finished", d.entry("finished")["details"] | {"run": "0004"}, again)


def stopped_run_with_the_answers_of_another(d: Draft) -> None:
    d.entry("stopped", 1)["subjects"] = deepcopy(d.entry("stopped")["subjects"])
    del d.files["case/runs/0002/responses.log"]


def stopped_run_with_another_file(d: Draft) -> None:
    d.files["case/runs/0001/text.json"] = b"{}"
    d.entry("stopped")["subjects"].append({"name": "runs/0001/text.json", "sha256": ""})


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("entry", stopped_run_with_another_file),
        ("premature", answers_cut_off_at_the_end),
        ("responses", going_on_without_answers),
        ("premature", going_on_with_another_model),
        ("premature", going_on_from_a_run_that_had_ended),
        ("entry", stopped_run_with_the_answers_of_another),
    ],
)
def test_anything_else_is_refused(code: str, change: Callable[[Draft], None]) -> None:
    draft = Draft.of(deepcopy(good("resumed")))
    change(draft)
    files = draft.build()
    assert (first_code(files), check_of(files)) == (code, {"premature": "order", "entry": "custody"}.get(code, code))
