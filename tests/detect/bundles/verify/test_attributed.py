"""A mark that was looked for among many keys: what both verifiers make of how many there were."""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.detect.bundles.bad.registry import RUN, good
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.verify.both import first_outcome, verified
from tests.tools.second import check_of, outcome_of


def family(draft: Draft, **members: Any) -> None:
    """Members of the one family; None: it has it no more."""
    value = draft.json(RUN)
    value["family"][0] = {name: one for name, one in (value["family"][0] | members).items() if one is not None}
    draft.put(RUN, value)


def test_the_p_is_multiplied_by_the_number_of_keys() -> None:
    (found,) = verified(good("attributed")).tests
    assert found.name == "attribution"
    assert found.evidence["log10_p_adjusted"] == pytest.approx(found.evidence["log10_p"] + math.log10(1000))
    assert found.evidence["finding"] == "detected"
    assert "Holm over 1000 tests" in " ".join(found.evidence["notes"])
    assert check_of(good("attributed")) == "passed"


def fewer_keys(draft: Draft) -> None:
    family(draft, keys=10)


def no_keys(draft: Draft) -> None:
    family(draft, keys=0)


def keys_that_are_no_number(draft: Draft) -> None:
    family(draft, keys=True)


def nothing_of_keys(draft: Draft) -> None:
    family(draft, keys=None)


def another_command(draft: Draft) -> None:
    """The p of the one key alone would do for it."""
    draft.entry("begun")["details"]["command"] = "detect"
    draft.change(RUN, command="detect")


@pytest.mark.parametrize(
    ("code", "check", "change"),
    [
        ("adjusted", "findings", fewer_keys),
        ("run", "runs", no_keys),
        ("run", "runs", keys_that_are_no_number),
        ("run", "runs", nothing_of_keys),
        ("run", "runs", another_command),
    ],
)
def test_anything_else_is_refused(code: str, check: str, change: Callable[[Draft], None]) -> None:
    draft = Draft.of(deepcopy(good("attributed")))
    change(draft)
    files = draft.build()
    assert first_outcome(files) == (code, check)
    assert check_of(files) == check, outcome_of(files)
