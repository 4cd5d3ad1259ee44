"""What the tests of a run rest on, written beside their evidence, so that others can compute all of it again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detect.bundles import canonical
from detect.bundles.run import Run
from detect.counting import Tally, WeightTally
from detect.observation import Observed, Texts
from detect.sequential import SequentialTally
from watermark.files import new_file

FORMAT = "taggant-run/1"
RUN = "run.json"
ATTRIBUTION = "attribution"  # the one test of that command
ATTRIBUTE = "attribute"  # the command whose families say among how many keys the mark was looked for
COUNT, E_PROCESS, WEIGHTS, SCAN = "count", "e-process", "weights", "scan"


@dataclass(frozen=True)
class Tested:
    """One test for the record.

    Attributes:
        evidence: the object that `--json` prints.
        observed: what the test rests on.
        statistic: S of a weighted test; None for the others.
        answers: of a server, what was weighed.
    """

    kind: str
    evidence: Mapping[str, Any]
    observed: Observed = field(repr=False)
    statistic: float | None = None
    answers: Texts | None = field(default=None, repr=False)

    @classmethod
    def of(cls, tally: Tally, evidence: Mapping[str, Any], observed: Observed, answers: Texts | None = None) -> Tested:
        """A test that a tally was made for."""
        if isinstance(tally, WeightTally):
            return cls(WEIGHTS, evidence, observed, tally.statistic, answers)
        return cls(E_PROCESS if isinstance(tally, SequentialTally) else COUNT, evidence, observed)


@dataclass(frozen=True)
class Family:
    """Tests that were judged together.

    Attributes:
        tests: by name.
        key_check: the key had passed its check, so p is multiplied for that.
        keys: among how many the mark was looked for; None: it was this key that was asked about.
    """

    tests: Mapping[str, Tested]
    key_check: bool
    keys: int | None = None

    def to_json(self) -> dict[str, Any]:
        """As run.json has it."""
        among = {} if self.keys is None else {"keys": self.keys}
        return {"tests": list(self.tests), "key_check": self.key_check, **among}


def document_name(request: int, *, of_text: bool = False) -> str:
    """What an answer in ids of the key's tokenizer is called: they are the server's, or its text tokenised again."""
    return f"{request}/text" if of_text else str(request)


def write_run(run: Run, command: str, families: Iterable[Family]) -> None:
    """Write all tests of a run and what they rest on, and record that it finished.

    Raises:
        InputError, OSError: something cannot be written; the run has not finished then.
    """
    families = [family for family in families if family.tests]
    written = _Written(run.directory)
    tests: dict[str, dict[str, Any]] = {}
    for family in families:
        for name, one in family.tests.items():
            stem = name.replace("/", "-")
            written.json(f"{stem}.json", one.evidence)
            tests[name] = {
                "kind": one.kind,
                "evidence": f"{stem}.json",
                "material": written.material(stem, one.observed, one.answers),
                **({} if one.statistic is None else {"statistic": one.statistic}),
            }
    content = {
        "format": FORMAT,
        "run": run.number,
        "command": command,
        "family": [family.to_json() for family in families],
        "tests": tests,
    }
    written.json(RUN, content)
    run.finish(list(tests))


class _Written:
    """Files of one run; what several tests rest on is written once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._known: dict[int, tuple[object, str]] = {}  # by identity; the object is kept, or another could take its id

    def json(self, name: str, value: Any) -> None:
        self._bytes(name, canonical.dumps(value))

    def material(self, stem: str, observed: Observed, answers: Texts | None) -> dict[str, str]:
        """Names of the files that hold it, by what is in them."""
        if not isinstance(observed, Texts):
            weights = {"weights": self._once(observed, f"{stem}.npz", observed.save)}
            return weights if answers is None else {**weights, "documents": self._documents(stem, answers)}
        prompts = observed.prompts
        return {
            "documents": self._documents(stem, observed),
            "prompts": self._once(prompts, f"{stem}.prompts.jsonl", lambda path: _write_rows(path, Texts(prompts, ()))),
        }

    def _documents(self, stem: str, texts: Texts) -> str:
        return self._once(texts.documents, f"{stem}.documents.jsonl", lambda path: _write_rows(path, texts))

    def _once(self, held: object, name: str, write: Callable[[Path], None]) -> str:
        if id(held) not in self._known:
            write(self._directory / name)
            self._known[id(held)] = (held, name)
        return self._known[id(held)][1]

    def _bytes(self, name: str, data: bytes) -> None:
        with new_file(self._directory / name) as handle:
            handle.write(data)


def _write_rows(path: Path, texts: Texts) -> None:
    names: Sequence[str | None] = [None] * len(texts.documents) if texts.ids is None else texts.ids
    with new_file(path) as handle:
        for name, document in zip(names, texts.documents, strict=True):
            handle.write(canonical.dumps({"id": name, "token_ids": [int(token) for token in document]}) + b"\n")
