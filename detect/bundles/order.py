"""The order of events: whether a case's log bears out that what a run found had been settled before it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from detect.bundles import canonical
from detect.bundles.custody import Log
from detect.bundles.entries import Entry, answers_of

ANOTHER_RUN = "the case records an earlier run of the same plan"  # of a run that does not go on from it
_LOOPBACK = re.compile(r"//(localhost|127(\.\d+){3}|\[::1\])(?![^:/])", re.IGNORECASE)
ReadFile = Callable[[str], bytes]  # a recorded file of the case, by its name


def shortcomings(log: Log, run: int, read: ReadFile) -> list[str]:
    """Why nothing that a run found is confirmatory by the log; empty: it may be.

    1. The plan that it names was recorded as planned, with a commitment's root that was recorded before.
    2. Both were recorded before any run examined the same questioned model; for texts, before the run.
    3. No earlier run carried this plan out, but for those that it goes on from: they were stopped, asked the same
       model, and what it had answered by then is the beginning of what it had answered when this run ended. So nothing
       that it said was thrown away.
    4. Nor did any other run of this model that was stopped, or carried any plan out, or began when more than one plan
       was recorded: under as many plans as one likes, a model could be looked at as often, each time with the whole
       alpha, or once, and the plan chosen by what was seen.
    5. The key was not checked after it was planned for.
    6. It names the questioned model, so that the log can tell which runs were about it.
    7. Neither plan nor commitment is dated, by its own words, after the entry that records it.

    Args:
        run: number of the entry by which it began.
    """
    details = log.entries[run].details
    name, ended = answers_of(details["run"]), end_of(log, details["run"])
    answers = read(name) if ended is not None and name in ended.subjects else None
    reasons = why_not(log, run, read, plan=details["plan"], questioned=details["questioned"], answers=answers)
    if details["plan"] is not None and details["questioned"] is None:
        reasons.append("the run does not name the questioned model")
    return reasons


def why_not(
    log: Log,
    at: int,
    read: ReadFile,
    *,
    plan: str | None,
    questioned: Mapping[str, Any] | None = None,
    answers: bytes | None = None,
) -> list[str]:
    """The same of a run that begins as entry `at`, which need not be there yet.

    Args:
        plan: digest of the plan that it carries out; None: it carries none out.
        questioned: as its entry names the model.
        answers: its response log, as it is so far; None: it has none.
    """
    if plan is None:
        return ["it carries no plan out"]
    planned = [(number, one) for number, one in log.of("planned") if number < at and one.details["plan"] == plan]
    if not planned:
        return ["the case does not record the plan before the run"]
    place, entry = planned[0]
    reasons = []
    root = entry.details["root"]
    committed = [one for number, one in log.of("committed") if number < place and one.details["root"] == root]
    if root is None:
        reasons.append("the plan names no commitment of the key (plan --commitment and --leaves)")
    elif not committed:
        reasons.append("the case does not record the key's commitment before the plan")
    for what, one in (("plan", entry), *(("key's commitment", one) for one in committed)):
        if (dated := _date_of(one, read)) > one.time:
            reasons.append(f"the {what} is dated {dated}, after the entry that records it ({one.time})")
    begun = [(number, one.details) for number, one in log.of("begun") if number < at]
    if questioned is not None and any(
        number < place and _alike(one["questioned"], questioned) for number, one in begun
    ):
        reasons.append("the case records that the questioned model was examined before the plan")
    earlier = [one for _, one in begun if one["plan"] == plan]
    if not all(one["questioned"] == questioned and _goes_on(log, one["run"], read, answers) for one in earlier):
        reasons.append(ANOTHER_RUN)
        if all(_was_stopped(log, one["run"]) for one in earlier):
            reasons[-1] += ", which was stopped; this one does not go on from all that was answered then"
    others = [(number, one) for number, one in begun if one["plan"] != plan and _looked_at(one, questioned)]
    if any(_counts(log, one) for _, one in others):
        reasons.append(
            "the case records another run on the questioned model that was stopped, or carried another plan out"
        )
    if any(len({p.details["plan"] for at, p in log.of("planned") if at < number}) > 1 for number, _ in others):
        reasons.append("the questioned model was looked at when more than one plan was recorded to choose from")
    if any(number > place for number, _ in log.of("key-checked")):
        reasons.append("the case records a check of the key after the plan")
    return reasons


def end_of(log: Log, run: str) -> Entry | None:
    """The entry by which a run ended; None: it has not."""
    return log.ends.get(run)


def _date_of(entry: Entry, read: ReadFile) -> str:
    """When the plan or commitment that an entry records was made, as it says itself."""
    (name,) = entry.subjects
    return str(canonical.loads(read(name), name)["created"])


def _goes_on(log: Log, run: str, read: ReadFile, answers: bytes | None) -> bool:
    """Whether `answers` begin with those of an earlier run, which was stopped."""
    ended, name = end_of(log, run), answers_of(run)
    if answers is None or ended is None or not _was_stopped(log, run) or name not in ended.subjects:
        return False
    return answers.startswith(read(name))


def _looked_at(details: Mapping[str, Any], questioned: Mapping[str, Any] | None) -> bool:
    """Whether an earlier run was about a model, or may have been: it carried a plan out, and names none."""
    if questioned is None:
        return False
    return _alike(details["questioned"], questioned) or (details["plan"] is not None and details["questioned"] is None)


def _alike(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Whether two models are the same as far as their names tell; this machine has several."""
    return _named(one) == _named(other)


def _named(questioned: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if questioned is None or "server" not in questioned:
        return None if questioned is None else dict(questioned)
    return {**questioned, "server": _LOOPBACK.sub("//localhost", questioned["server"])}


def _counts(log: Log, details: Mapping[str, Any]) -> bool:
    """Whether an earlier run gave a choice: what it found could have been kept back, or been the confirmatory one."""
    return details["plan"] is not None or _was_stopped(log, details["run"])


def _was_stopped(log: Log, run: str) -> bool:
    ended = end_of(log, run)
    return ended is not None and ended.event == "stopped"
