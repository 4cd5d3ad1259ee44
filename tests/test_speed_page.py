"""docs/speed.md is what the committed results make, and they hold what is claimed of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import speed_page
from benchmarks.common import RESULTS
from benchmarks.peers import tables
from benchmarks.peers.contest import Case, _summed_up
from benchmarks.peers.environments import peers
from benchmarks.scaling import exponent

PEERS: dict[str, Any] = json.loads((RESULTS / "peers.json").read_text())


def test_the_page_is_what_its_command_makes_of_the_committed_results() -> None:
    made = speed_page.page(speed_page.results(), speed_page.profiles())
    assert speed_page.PAGE.read_text(encoding="utf-8") == made, "run python -m benchmarks.speed_page"


def test_every_picture_and_file_of_the_page_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", speed_page.PAGE.read_text(encoding="utf-8"))
    assert "scaling.svg" in links
    assert [link for link in links if not (speed_page.PAGE.parent / link).exists()] == []


def test_the_headline_follows_from_the_cases() -> None:
    assert PEERS["headline"] == tables.headline(PEERS["cases"])


@pytest.mark.parametrize(("batch", "cached"), [(1, 10), (8, 10), (64, 8)])
def test_a_step_against_transformers_as_measured(batch: int, cached: float) -> None:
    found = PEERS["headline"][f"step_batch_{batch}"]
    assert found["left_over_cold"] >= 6
    assert found["left_over_cached"] >= cached
    assert found["self_over_cold"] >= 250


def test_scoring_against_transformers_and_vllm_as_measured() -> None:
    found = PEERS["headline"]["score_8192_tokens"]
    assert min(found["left_over_taggant"], found["self_over_taggant"]) >= 1000
    assert found["vllm_over_taggant"] >= 10


def test_the_hot_paths_as_measured() -> None:
    found = json.loads((RESULTS / "hot_paths.json").read_text())
    assert found["colouring"]["no_block_shared"]["million_pairs_per_cpu_second"]["from_ids_one_key"] >= 30
    assert (found["lineup"]["decoys"], round(found["lineup"]["pairs"], -3)) == (1000, 100_000)
    assert found["attribution"]["accounts"] == 10_000
    for part, measured, limit in (
        ("lineup", found["lineup"]["counted"], 3),
        ("lineup", found["lineup"]["weighed"], 3),
        ("attribution", found["attribution"], 30),
    ):
        idle = found[part]["load_average_at_start"] < 1  # else other work had its share of the wall time
        assert (measured["wall_seconds"] if idle else measured["cpu_seconds"] / found[part]["threads"]) < limit


def test_text_against_its_tokenizer_as_measured() -> None:
    for run in json.loads((RESULTS / "text.json").read_text())["runs"]:
        assert run["share_of_the_bare_speed_wall"] >= 0.9, run["threads"]


def test_corpora_as_measured() -> None:
    found = json.loads((RESULTS / "corpus.json").read_text())
    points = found["sizes"]["points"]
    assert [one["megabytes"] for one in points] == [1000, 10_000]
    for one in points:
        assert one["peak_mb_together"] < 1000
        assert (one["marked_selected"], one["unmarked_selected"]) == (one["marked"], 0)
        assert one["marked"] > 0.005 * one["documents"]
    assert found["sizes"]["exponents"]["cpu_seconds"] < 1.05
    assert found["workers"]["ratio"] >= 1.8
    assert {found[part]["megabytes"] for part in ("workers", "kill", "ray")} == {1000}
    assert len(found["kill"]["killed_after_seconds"]) > len(set(found["kill"]["shards_scored_at_each"])) > 2
    assert found["kill"]["scored_again"] == 0
    for part in ("workers", "kill", "ray"):
        assert found[part]["files_that_differ"] == [], part
    assert (found["equal"]["documents_that_differ"], found["equal"]["pooled_differs"]) == (0, False)
    assert found["pairs"]["as_by_sorting"]
    assert found["pairs"]["pairs"] > 50_000_000


def test_no_torch_and_no_transformers_for_ids_and_text_as_measured() -> None:
    started = json.loads((RESULTS / "startup.json").read_text())["started"]
    for name in ("taggant --help", "taggant detect, token ids", "taggant detect, text"):
        assert {"torch", "transformers"}.isdisjoint(started[name]["imported"])
    assert "tokenizers" in started["taggant detect, text"]["imported"]
    assert started["import transformers"]["imported"], "the control"


def test_a_missing_contestant_leaves_no_ratio_and_no_column() -> None:
    times = {"median": 2.0, "least": 1.0, "most": 3.0}
    results = {
        "taggant": {"cpu_ms": times, "wall_ms": times, "rounds": 7, "calls": 50},
        "slow": {"cpu_ms": {**times, "median": 5.0}, "wall_ms": times, "rounds": 2, "calls": 1},
    }
    case = {"task": "score", "vocabulary": tables.VOCABULARY, "tokens": 8192, "results": results}
    assert tables.ratio(case, "slow", "taggant") == 2.5
    assert tables.ratio(case, "absent", "taggant") is None
    assert tables.headline([case])["score_8192_tokens"]["vllm_over_taggant"] is None
    lines = tables.table(case).splitlines()
    assert lines[2].startswith("| taggant | 2 | 1 … 3 | 7 × 50 | 2 | 4,096,000 |")
    assert lines[3].endswith("| 2.5 |")


def test_rounds_are_summed_up_by_their_median() -> None:
    rounds = [{"cpu": cpu, "wall": 2 * cpu, "calls": 7} for cpu in (0.003, 0.001, 0.002)]
    assert _summed_up(rounds) == {
        "rounds": 3, "calls": 7,
        "cpu_ms": {"median": 2.0, "least": 1.0, "most": 3.0}, "wall_ms": {"median": 4.0, "least": 2.0, "most": 6.0},
    }  # fmt: skip


def test_every_peer_has_a_worker_and_pins_itself() -> None:
    workers = Path(tables.__file__).parent / "workers"
    assert set(peers()) == {"markllm", "textseal", "synthid_text", "vllm"}
    for name, packages in peers().items():
        assert (workers / f"with_{name}.py").is_file()
        assert re.fullmatch(r"[a-z-]+==[\d.]+", packages[0])


def test_a_request_names_the_case() -> None:
    case = Case("step", 100, [[1, 2]])
    assert case.request("x", None) == {"name": "x", "task": "step", "vocabulary": 100, "ids": [[1, 2]], "calls": None}


def test_exponents_are_those_of_powers() -> None:
    points = [{"size": size, "wall": 3e-7 * size**1.5, "megabytes": 0.0} for size in (10, 100, 1000, 10_000)]
    assert exponent(points, "wall") == 1.5
    assert exponent(points, "megabytes") is None
