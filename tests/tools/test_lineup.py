"""A large line-up in tools/verify_bundle.py: its decoys are spread over processes, and nothing else comes out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from detect.bundles import material
from detect.bundles.seal import write_bundle
from detect.counting import tally
from detect.decoys import lineup
from detect.evidence import assess_family
from detect.observation import Texts
from tests.detect.bundles.draft import Draft
from tests.detect.bundles.factory import KEY, SEED, Files, Made, documents, sealed
from tests.tools.second import FILE, outcome_of

DECOYS = 8_000  # of some 70 pairs: more than are worth a process of their own
TEXT = "case/runs/0001/text.json"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    def made(made: Made) -> None:
        texts = documents(KEY, 0.4, 2)
        counted = tally(KEY, texts)
        (one,) = assess_family([counted], lineups=[lineup(counted, DECOYS, seed=SEED)])
        made.run(
            "detect",
            [material.Family({"text": material.Tested(material.COUNT, one.to_dict(), Texts(texts, []))}, False)],
        )

    return sealed(tmp_path_factory.mktemp("large"), KEY, made)


def as_a_command(files: Files, place: Path) -> str:
    write_bundle(files, place)
    ran = subprocess.run(
        [sys.executable, "-I", str(FILE), str(place)], capture_output=True, text=True, check=False, cwd=place.parent
    )
    assert ran.stderr == ""
    return ran.stdout.splitlines()[-1]


def test_over_processes_as_alone(files: Files, tmp_path: Path) -> None:
    draft = Draft.of(files)
    rank = draft.json(TEXT)["lineup"]["rank"]
    assert draft.json(TEXT)["n_scored"] * DECOYS > 1 << 19
    assert 1 < rank < DECOYS / 2
    assert as_a_command(files, tmp_path / "good.zip").startswith("PASSED: ")
    draft.change(TEXT, lineup__rank=rank - 1)
    expected = f"FAILED: numbers: run 0001, text: rank is {rank - 1}, not {rank}"
    assert as_a_command(draft.build(), tmp_path / "bad.zip") == expected == outcome_of(draft.build())
