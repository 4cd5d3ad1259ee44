"""The runs of a bundle: which tests there were, which were judged together, and what each says it found."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from detect.bundles import canonical
from detect.bundles.custody import Log
from detect.bundles.entries import Entry
from detect.bundles.material import ATTRIBUTE, ATTRIBUTION, COUNT, E_PROCESS, FORMAT, RUN, SCAN, WEIGHTS
from detect.bundles.members import Check, has, is_bool, is_count, is_digest, is_text, list_of, or_null, require
from detect.bundles.refused import Refused
from detect.bundles.seal import FILES
from detect.bundles.verify.manifest import Files
from detect.bundles.verify.marked import Marked
from detect.bundles.verify.planned import check_controls, check_planned, check_stopping
from detect.decoys import MOST_DECOYS
from detect.evidence import DEFAULT_EFFECT, SCHEMA
from detect.plans.plan import Plan

FINDINGS, STATUSES = ("detected", "inconclusive", "not detected"), ("exploratory", "confirmatory")
ENDS = ("early", "maximum", "exhausted")

LEAST_ALPHA = 1e-202  # 1e-200 may be asked for, of several tests, with a check of the key
_NAME = re.compile(r"[A-Za-z0-9._/-]{1,100}")
MOST_SHARED = 8  # tests that rest on the same documents: of a text there are two, of answers three
MOST_KEYS = 1_000_000_000  # among which a mark was looked for

_TEXTS = {"documents", "prompts"}
MATERIAL = {COUNT: _TEXTS, E_PROCESS: _TEXTS, SCAN: _TEXTS, WEIGHTS: {"weights"}}


def is_number(value: Any) -> bool:
    """A finite one; True is none."""
    return type(value) in (int, float) and math.isfinite(value)


_FAMILY: dict[str, Check] = {"tests": list_of(is_text), "key_check": is_bool}
_AMONG: dict[str, Check] = {**_FAMILY, "keys": lambda value: is_count(value) and 0 < value <= MOST_KEYS}
_RUN: dict[str, Check] = {
    "format": lambda value: value == FORMAT,
    "run": is_text,
    "command": is_text,
    "family": lambda value: isinstance(value, list),
    "tests": lambda value: isinstance(value, dict),
}
_TEST: dict[str, Check] = {
    "kind": lambda value: is_text(value) and value in MATERIAL,
    "evidence": is_text,
    "material": lambda value: isinstance(value, dict) and all(map(is_text, value.values())),
}
_JUDGED: dict[str, Check] = {
    "log10_p": or_null(lambda value: is_number(value) and value <= 0),
    "log10_p_adjusted": or_null(is_number),
    "finding": lambda value: value in FINDINGS,
    "notes": list_of(is_text),
}
_SCAN: dict[str, Check] = {
    **_JUDGED,
    "family": is_text,
    "intervals": is_count,
    "spans": list_of(lambda value: isinstance(value, dict)),
}
_EVIDENCE: dict[str, Check] = {
    **_JUDGED,
    "schema": lambda value: value == SCHEMA,
    "test": lambda value: value in ("text", "sampled", "reading"),
    "key_id": is_digest,
    "scheme": is_text,
    "gamma": is_number,
    "context_width": is_count,
    "n_tokens": is_count,
    "n_scored": is_count,
    "n_green": or_null(is_count),
    "green_fraction": or_null(is_number),
    "ci95": or_null(lambda value: isinstance(value, list) and len(value) == 2 and all(map(is_number, value))),
    "z_score": or_null(is_number),
    "log10_e": or_null(is_number),
    "log10_p_saddlepoint": or_null(is_number),
    "theta": or_null(is_number),
    "n_contexts": is_count,
    "alpha": lambda value: is_number(value) and LEAST_ALPHA <= value < 1,
    "status": lambda value: value in STATUSES,
}
_OPTIONAL: dict[str, Check] = {
    "lineup": has(
        decoys=lambda value: is_count(value) and 0 < value <= MOST_DECOYS,
        seed=is_digest,
        rank=is_count,
        p_rank=is_number,
        log10_p_best_decoy=is_number,
        uniformity_p=or_null(is_number),
    ),
    "comparisons": lambda value: isinstance(value, dict) and all(isinstance(one, dict) for one in value.values()),
    "sequential": has(
        alpha=lambda value: is_number(value) and LEAST_ALPHA <= value < 1,
        maximum_pairs=lambda value: is_count(value) and value > 0,
        n_answers=is_count,
        stopped=lambda value: value in ENDS,
    ),
    "plan": has(
        sha256=is_digest,
        test=is_text,
        primary=is_bool,
        control=or_null(lambda value: isinstance(value, dict)),
    ),
    "changes": lambda value: isinstance(value, dict),
}


_BESIDES = {  # what evidence may have, by kind
    COUNT: ("lineup", "plan", "changes"),
    E_PROCESS: ("lineup", "plan", "sequential"),
    WEIGHTS: ("lineup", "plan", "comparisons"),
}


@dataclass(frozen=True)
class RecordedTest:
    """One test of a run.

    Attributes:
        name: in its run.
        evidence: the object that `--json` printed; a scan's has fewer members.
        material: bytes of what it rests on, by what they are.
        statistic: S, as the examiner says, of a weighted test.
        begun: number of the entry by which its run began.
        effect: green fraction that was to be found; None: the test's default.
        control: the same test of the plan's positive control; None: it was not examined.
        plan: that its run carries out.
    """

    run: str
    name: str
    kind: str
    evidence: Mapping[str, Any]
    material: Mapping[str, bytes] = field(repr=False)
    statistic: float | None
    begun: int
    effect: float | None = None
    control: RecordedTest | None = field(default=None, repr=False)
    plan: Plan | None = field(default=None, repr=False)

    @property
    def what(self) -> str:
        """For people."""
        return f"run {self.run}, {self.name}"

    @property
    def claims(self) -> bool:
        """Whether a p is claimed."""
        return self.evidence["log10_p"] is not None

    @property
    def sought(self) -> float | None:
        """Green fraction that a count was to find, given or by default; None: of weights and scans."""
        if self.kind not in (COUNT, E_PROCESS):
            return None
        return DEFAULT_EFFECT[self.evidence["test"]] if self.effect is None else self.effect


@dataclass(frozen=True)
class RecordedFamily:
    """Tests that were judged together.

    Attributes:
        key_check: p is multiplied for the key's check.
        keys: among how many the mark was looked for.
    """

    tests: tuple[RecordedTest, ...]
    key_check: bool
    keys: int = 1


def read_runs(files: Files, log: Log, marked: Marked) -> list[RecordedFamily]:
    """Every family of every run that gave results, in order.

    Raises:
        Refused: "json", "run" or "evidence".
    """
    begun = {entry.details["run"]: number for number, entry in log.of("begun")}
    families = []
    for _, entry in log.of("finished"):
        families += _read_run(files, log, marked, entry, begun[entry.details["run"]])
    return families


def _read_run(files: Files, log: Log, marked: Marked, finished: Entry, begun: int) -> list[RecordedFamily]:
    run, begin = finished.details["run"], log.entries[begun].details
    what = f"runs/{run}/{RUN}"
    said = require(canonical.loads(files[f"{FILES}/{what}"], what), _RUN, "run", what)
    if (said["run"], said["command"]) != (run, begin["command"]):
        raise Refused("run", f"{what}: another run or command than the log has")
    for family in said["family"]:
        require(family, _AMONG if begin["command"] == ATTRIBUTE else _FAMILY, "run", f"{what}, a family")
    placed = sorted(name for family in said["family"] for name in family["tests"])
    if not sorted(said["tests"]) == sorted(finished.details["tests"]) == placed:
        raise Refused("run", f"{what}: not the tests that the log has, each in one family")
    if not all(map(_NAME.fullmatch, placed)):
        raise Refused("run", f"{what}: names that no test has")
    if (begin["command"] == ATTRIBUTE) != (ATTRIBUTION in placed) or (ATTRIBUTION in placed and len(placed) > 1):
        raise Refused("run", f"{what}: the one test of {ATTRIBUTE}, and of no other command, is {ATTRIBUTION}")
    own = [one.get("evidence") for one in said["tests"].values() if isinstance(one, dict)]
    if len(set(map(str, own))) < len(own):
        raise Refused("run", f"{what}: tests that share their evidence")
    served = asks_server(begin)
    tests = {name: _read_test(files, marked, finished, begun, name, one, served) for name, one in said["tests"].items()}
    shared = Counter(one["material"].get("documents", name) for name, one in said["tests"].items())
    if max(shared.values(), default=0) > MOST_SHARED:
        raise Refused("run", f"{what}: more than {MOST_SHARED} tests on the same documents")
    for test in tests.values():
        if "plan" in test.evidence and test.evidence["plan"]["sha256"] != begin["plan"]:
            raise Refused("evidence", f"{test.what}: of another plan than the run")
    plan = marked.plans.get(begin["plan"])
    if plan is None and begin["plan"] is not None:
        raise Refused("run", f"{what}: the plan that it carries out was not recorded")
    if plan is not None and (plan.access != "weights") != served:
        raise Refused("run", f"{what}: the model was not reached as the plan says ({plan.access})")
    controls = set() if plan is None or plan.positive_control is None else {f"{name}/control" for name in plan.tests}
    if any(name.endswith("/control") and name not in controls for name in tests):
        raise Refused("run", f"{what}: a control that was not planned, or of another test")
    effect = begin["options"].get("effect") if plan is None else plan.effect
    effect = effect if is_number(effect) and 0 < effect < 1 else None
    beside = {name: tests.get(f"{name}/control") for name in tests}
    tests = {n: replace(one, effect=effect, control=beside[n], plan=plan) for n, one in tests.items()}
    if plan is not None:
        check_planned(plan, tests, what)
        check_controls(plan, tests)
        check_stopping(plan, tests, {name: one["key_check"] for one in said["family"] for name in one["tests"]})
    _check_families([one["tests"] for one in said["family"]], None if plan is None else plan.primary, what)
    for family in said["family"]:
        if family["tests"] and all(tests[name].kind == SCAN for name in family["tests"]):
            raise Refused("run", f"{what}: a family of scans alone")
    return [
        RecordedFamily(tuple(tests[name] for name in one["tests"]), one["key_check"], one.get("keys", 1))
        for one in said["family"]
    ]


def _check_families(families: Sequence[Sequence[str]], primary: str | None, what: str) -> None:
    """Raise Refused unless tests were judged together that must be: whoever splits a family pays less for many tests.

    Documents by themselves are one family; the plan's primary test, and every control, is one alone; all else is one.
    """
    together: dict[str, set[str]] = {}
    for name in (name for family in families for name in family):
        alone = name == primary or name.endswith("/control")
        group = name if alone else "each" if name.startswith("each/") else "all else"
        together.setdefault(group, set()).add(name)
    if sorted(map(sorted, together.values())) != sorted(map(sorted, filter(None, families))):
        raise Refused("run", f"{what}: tests that must be judged together are in several families, or others beside")


def asks_server(begun: Mapping[str, Any]) -> bool:
    """Whether the model that a run's `begun` names is behind a server."""
    return begun["questioned"] is not None and "server" in begun["questioned"]


def _read_test(
    files: Files, marked: Marked, finished: Entry, begun: int, name: str, said: Any, served: bool
) -> RecordedTest:
    run = finished.details["run"]
    what = f"run {run}, {name}"
    statistic = said.get("statistic") if isinstance(said, dict) else None
    form = _TEST if statistic is None else {**_TEST, "statistic": is_number}
    one = require(said, form, "run", what)
    parts = MATERIAL[one["kind"]] | ({"documents"} if served else set())
    if one["material"].keys() != parts or (one["kind"] == WEIGHTS) != (statistic is not None):
        raise Refused("run", f"{what}: not what a test of this kind has")
    paths = {part: f"runs/{run}/{path}" for part, path in {**one["material"], "evidence": one["evidence"]}.items()}
    for path in paths.values():
        if path not in finished.subjects:
            raise Refused("run", f"{what}: {path} is not a file of the run")
    evidence = canonical.loads(files[f"{FILES}/{paths.pop('evidence')}"], what)
    material = {part: files[f"{FILES}/{path}"] for part, path in paths.items()}
    _check_evidence(evidence, one["kind"], marked, what)
    named = name.partition("/")[0]
    if named in ("sampled", "reading") and evidence.get("test") != named:
        raise Refused("evidence", f"{what}: it is the test {evidence.get('test')}, which its name is not of")
    return RecordedTest(run, name, one["kind"], evidence, material, statistic, begun)


def _check_evidence(evidence: Any, kind: str, marked: Marked, what: str) -> None:
    if kind == SCAN:
        require(evidence, _SCAN, "evidence", what)
        return
    there = evidence if isinstance(evidence, dict) else {}
    optional = {name: check for name, check in _OPTIONAL.items() if name in there and name in _BESIDES[kind]}
    require(evidence, {**_EVIDENCE, **optional}, "evidence", what)
    mark = marked.mark
    own = {"key_id": mark.key_id, "scheme": mark.scheme, "gamma": mark.gamma, "context_width": mark.context_width}
    for name, value in own.items():
        if evidence[name] != value:
            raise Refused("evidence", f"{what}: {name} is {evidence[name]}, the mark's is {value}")
    if (kind == E_PROCESS) != ("sequential" in evidence):
        raise Refused("evidence", f"{what}: an e-process, and it alone, says how it ended")
    if kind == WEIGHTS and evidence["log10_p"] is not None and "comparisons" not in evidence:
        raise Refused("evidence", f"{what}: it has no comparison tests")
