"""The findings, counted again from the rows."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill_sim.condition import Condition
from distill_sim.curves import inversions, median_of
from distill_sim.report import dose_words, summary
from distill_sim.report.material import gather
from distill_sim.report.trends import noticed
from distill_sim.survival import FRESH, QUALITY, SURVIVAL, read_table, write_table
from tests.distill_sim.report import synthetic
from tests.distill_sim.report.synthetic import row
from watermark.errors import InputError


def of(found: dict[str, Any], condition: str) -> dict[str, Any]:
    (one,) = [each for each in found["conditions"] if each["condition"] == condition]
    return dict(one)


def p_of(rows: list[Any], condition: str, test: str, who: str = "account") -> list[float]:
    return [
        r["log10_p"]
        for r in rows
        if r["condition"] == condition and r["test"] == test and r["looked_for"] == who and r["log10_p"] is not None
    ]


class TestConditions:
    def test_there_are_at_least_forty(self, found: dict[str, Any]) -> None:
        assert len(found["conditions"]) == len(synthetic.CHANGES) >= 40
        assert found["counts"]["conditions"] == len(synthetic.CHANGES)

    def test_what_was_neither_varied_nor_tried_is_told(self, found: dict[str, Any]) -> None:
        """From every field, attack and step that a condition can have."""
        assert found["missing"] == [
            "Not varied: kinds of prompts (held: all kinds of prompts).",
            "Not varied: tokens of an answer, at most (held: answers of 48 tokens).",
            "Not varied: temperature of the teacher's sampling (held: teacher's temperature 1).",
            "Not varied: top-p of the teacher's sampling (held: teacher's top-p 1).",
            "Not varied: green fraction γ: share of the tokens that is green (held: green fraction 0.25).",
            "Not varied: accounts whose answers one student mixes (held: 1 account).",
            "Not varied: layers trained, where only the top ones are (held: 2 layers trained).",
            "Not varied: rank of the adapter, where there is one (held: adapter of rank 8).",
            "Not varied: learning rate at its peak (held: learning rate 0.001).",
            "Not varied: passes over the answers (held: 2 passes over the answers).",
            "Not varied: answers in a training step (held: 8 answers a step).",
            "Not tried, what the student starts from: started from a smaller model or started from a model with "
            "another tokenizer.",
            "Not tried on the answers: tokens drawn anew.",
            "Not tried on the student: neutralised, context width not known.",
            "No two treatments of the answers were combined.",
        ]

    @pytest.mark.parametrize("condition", ["base", "answers-24", "clean-8000", "h-0"])
    @pytest.mark.parametrize("test", ["reading", "sampled", "text"])
    def test_medians_counted_again(self, found: dict[str, Any], rows: list[Any], condition: str, test: str) -> None:
        p = sorted(p_of(rows, condition, test))
        one = of(found, condition)["tests"][test]
        assert one["median"] == pytest.approx(np.median(p), rel=1e-11)
        assert (one["low"], one["high"]) == pytest.approx((p[1], p[7]), rel=1e-11)  # nine runs
        assert one["coverage"] == pytest.approx(0.9609375)
        assert (one["runs"], one["claimed"]) == (9, 9)
        assert one["detected"] == sum(value <= -6 for value in p)

    def test_a_licensed_student_is_looked_at_with_its_own_key_first(
        self, found: dict[str, Any], rows: list[Any]
    ) -> None:
        one = of(found, "licensed")
        assert one["looked_for"] == "licensed"
        assert one["tests"]["reading"]["median"] == pytest.approx(
            np.median(p_of(rows, "licensed", "reading", "licensed"))
        )
        assert one["others"]["account"]["reading"]["detected"] == 0
        under = [{**r, "marked_tokens": 0} if r["looked_for"] == "account" else r for r in rows]
        assert of(summary(synthetic.study(), under), "licensed")["marked_tokens"] == one["marked_tokens"] > 0

    def test_where_no_p_is_claimed_nothing_is_detected(self) -> None:
        rows = [
            row("base", Condition(), 0, key, "account", "reading", p) for key, p in enumerate((-9.0, None, -8.0, -7.0))
        ]
        one = of(summary(synthetic.study(series=[]), rows), "base")["tests"]["reading"]
        assert (one["runs"], one["claimed"], one["detected"], one["median"]) == (4, 3, 3, -8.0)
        none = [{**r, "log10_p": None} for r in rows]
        one = of(summary(synthetic.study(series=[]), none), "base")["tests"]["reading"]
        assert one == {"runs": 4, "claimed": 0, "detected": 0, "z": one["z"], "median": None}


class TestAxes:
    def test_dose_rises(self, found: dict[str, Any]) -> None:
        (line,) = found["series"][0]["lines"]
        assert line["x"] == [24, 48, 96, 192, 384, 768]
        assert line["trends"]["reading"] == {
            "tau": 1.0,
            "inversions": [],
            "notices": [[1.0, noticed(9, 1.0)], [2.0, noticed(9, 2.0)]],
        }

    @pytest.mark.parametrize(("runs", "fall"), [(9, 1.0), (9, 1.35), (9, 2.0), (3, 1.0)])
    def test_how_large_a_fall_is_noticed(self, runs: int, fall: float) -> None:
        """Counted again with other draws by `inversions` itself; a limit of four standard deviations."""
        rng = np.random.default_rng(5)
        pairs = [(rng.standard_normal(runs), rng.standard_normal(runs) - fall) for _ in range(500)]
        share = np.mean([bool(inversions([median_of(one), median_of(other)])) for one, other in pairs])
        stated = noticed(runs, fall)
        assert abs(share - stated) < 4 * np.sqrt(stated * (1 - stated) / 500) + 0.005
        assert noticed(runs, 0.0) < stated < noticed(runs, 4.0)

    def test_the_law_is_found_again(self, rows: list[Any]) -> None:
        """Evidence grows like the dose; so much is weighed that no ceiling is near."""
        found = summary(synthetic.study(), [{**r, "n_scored": 10**12} for r in rows])
        one = found["dose"]["lines"][0]["tests"]["reading"]
        assert one["fit"]["slope_low"] < 1.0 < one["fit"]["slope_high"]
        assert [each["answers"] for each in one["extrapolation"]] == [10**5, 10**6, 10**7, 10**8, 10**9]
        for each in one["extrapolation"]:
            assert each["extrapolation_from"] == [24, 768]
            assert each["low"] < -24 * each["answers"] / 192 < each["high"]
            assert not each["at_ceiling"]
        assert one["hold_out"]["fitted"] == [24, 48, 96]
        assert one["hold_out"]["promised"] is None
        assert one["hold_out"]["low"] < one["hold_out"]["measured"] < one["hold_out"]["high"]

    def test_no_extrapolation_goes_beyond_what_the_test_can_give(self, found: dict[str, Any]) -> None:
        """1,500 pairs weighed, a quarter green: at most 1,500 · log10 4 decades."""
        for one in found["dose"]["lines"][0]["tests"].values():
            assert one["ceiling"] == pytest.approx(-1500 * np.log10(4))
            for each in one["extrapolation"]:
                assert one["ceiling"] <= each["low"] <= each["log10_p"] <= each["high"] < 0
                assert each["at_ceiling"] == (each["low"] == one["ceiling"])
        cut = found["dose"]["lines"][0]["tests"]["reading"]["extrapolation"]
        assert all(each["log10_p"] == found["dose"]["lines"][0]["tests"]["reading"]["ceiling"] for each in cut)

    @pytest.mark.parametrize(
        ("factor", "promised", "way"), [(0.2, "too much", "upwards"), (5.0, "too little", "downwards")]
    )
    def test_a_line_that_bends_says_that_it_failed(
        self, rows: list[Any], factor: float, promised: str, way: str
    ) -> None:
        bent = [{**r, "log10_p": r["log10_p"] * factor} if r["answers"] >= 384 else r for r in rows]
        one = summary(synthetic.study(), bent)["dose"]["lines"][0]["tests"]["reading"]
        check = one["hold_out"]
        p = p_of(bent, "answers-768", "reading")
        assert (check["answers"], check["runs"], check["promised"]) == (768, 9, promised)
        assert check["inside"] == sum(check["low"] <= each <= check["high"] for each in p) < 5
        assert check["measured"] == pytest.approx(np.median(p))
        said = dose_words.sentences("reading", one)
        assert f"this line has failed its own check {way}: it promised {promised}" in said[0]
        assert f"{check['inside']} of 9 runs inside the interval" in said[0]
        assert "no forecast" in said[0]

    def test_enough_lies_where_nine_of_ten_are_detected(self, found: dict[str, Any], rows: list[Any]) -> None:
        one = found["dose"]["enough"]["reading"]
        assert [k for _, k, _ in one["shares"]] == [
            sum(p <= -6 for p in p_of(rows, name, "reading")) for name in found["series"][0]["conditions"]
        ]
        assert one["status"] == "measured"
        assert 48 < one["dose"] <= 96

    def test_clean_tokens_start_from_the_untreated(self, found: dict[str, Any]) -> None:
        (one,) = found["clean"]
        assert one["tokens"] == [0, 2000, 8000, 32000]
        assert one["conditions"][0] == "base"
        assert 2000 < one["half_life"]["reading"] < 8000  # the law halves every 4,000
        assert one["trends"]["reading"]["inversions"] == []

    def test_two_varied_fields_make_a_line_for_each_value_of_the_other(self) -> None:
        rows = [
            row(f"{n}-{h}", Condition(answers=n, context_width=h), seed, 0, "account", "reading", -n / 10 / (h + 1))
            for n in (50, 100, 200)
            for h in (0, 1)
            for seed in range(3)
        ]
        names = sorted({r["condition"] for r in rows})
        series = [{"name": "grid", "title": "Grid", "vary": ["answers", "context_width"], "conditions": names}]
        found = summary(synthetic.study(series=series), rows)
        assert {line["label"]: line["x"] for line in found["series"][0]["lines"]} == {
            "context width 0": [50, 100, 200],
            "context width 1": [50, 100, 200],
        }
        assert [line["label"] for line in found["dose"]["lines"]] == ["context width 1", "context width 0"]
        assert any("no results" in line for line in found["headline"])  # the reference has none

    def test_the_line_through_the_base_is_the_main_one_and_no_cell_stands_twice(self) -> None:
        """The reference is also a cell of the grid, by another name."""
        cells = {f"{n}-{h}": Condition(answers=n, context_width=h) for h in (0, 1) for n in (96, 192, 384)}
        rows = [
            row(
                name,
                condition,
                seed,
                0,
                "account",
                "reading",
                -(condition.answers / 20.0) / (condition.context_width + 1),
            )
            for name, condition in {"base": Condition(), **cells}.items()
            for seed in range(3)
        ]
        series = [{"name": "g", "title": "G", "vary": ["answers", "context_width"], "conditions": list(cells)}]
        found = summary(synthetic.study(series=series), rows)
        assert [line["label"] for line in found["dose"]["lines"]] == ["context width 1", "context width 0"]
        assert {line["label"]: line["conditions"] for line in found["series"][0]["lines"]} == {
            "context width 0": ["96-0", "192-0", "384-0"],
            "context width 1": ["96-1", "192-1", "384-1"],
        }
        assert found["dose"]["enough"]["reading"]["shares"][0][1] == 0  # 96 answers: p = 10^-2.4

    def test_inversions_are_told(self) -> None:
        rows = [
            row(f"n-{n}", Condition(answers=n), seed, 0, "account", "reading", p - seed / 10)
            for n, p in ((50, -8.0), (100, -3.0), (200, -9.0))
            for seed in range(3)
        ]
        series = [{"name": "d", "title": "D", "vary": ["answers"], "conditions": ["n-50", "n-100", "n-200"]}]
        found = summary(synthetic.study(series=series), rows)
        assert found["series"][0]["lines"][0]["trends"]["reading"]["inversions"] == [[50, 100]]


class TestTreatments:
    def test_the_most_damaging_comes_first(self, found: dict[str, Any]) -> None:
        left = [-one["tests"]["reading"]["median"] for one in found["treatments"]]
        assert left == sorted(left)
        assert {one["condition"] for one in found["treatments"][:2]} <= {"clean-32000", "paraphrase"}
        named = {name for name, change in synthetic.CHANGES.items() if {"attack", "after"} & set(change)}
        assert {one["condition"] for one in found["treatments"]} == named

    def test_share_left_and_words(self, found: dict[str, Any], rows: list[Any]) -> None:
        (one,) = [each for each in found["treatments"] if each["condition"] == "prune-0.5"]
        assert one["what"] == "50% of the weights pruned, then healed on 64 unmarked answers"
        left = np.median(p_of(rows, "prune-0.5", "reading")) / np.median(p_of(rows, "base", "reading"))
        assert one["tests"]["reading"]["share_left"] == pytest.approx(left)
        assert one["plain"] == "base"

    def test_a_test_that_saw_nothing_before_says_nothing(self, found: dict[str, Any]) -> None:
        assert not any(one["tests"]["argmax"]["told"] for one in found["treatments"])
        rows = [
            row(name, Condition(after=after), 0, key, "account", "reading", -1.0)
            for name, after in (("base", ()), ("int4", ("int4",)))
            for key in range(3)
        ]
        said = summary(synthetic.study(series=[]), rows)["headline"]
        assert any("none can say what erases the mark" in sentence for sentence in said)

    def test_ladders_are_the_same_steps_at_growing_strength(self, rows: list[Any]) -> None:
        ladders = {one.title: one for one in gather(synthetic.study(), rows).ladders()}
        pruned, cleaned = ladders["Pruned, then healed"], ladders["Fine-tuned on human text"]
        assert [pruned.strength(rung) for rung in pruned.rungs] == ["30% of the weights", "50% of the weights"]
        assert [rung.cell.name for rung in cleaned.rungs] == ["clean-2000", "clean-8000", "clean-32000"]
        assert ladders["Sentences shuffled"].strength(ladders["Sentences shuffled"].rungs[0]) == ""
        assert ladders["Second generation"].plain is not None

    def test_what_a_treatment_needs_and_costs(self, found: dict[str, Any], quality: list[Any]) -> None:
        treated = {one["condition"]: one for one in found["treatments"]}
        assert not any(one["needs"]["key"] for one in found["treatments"])
        assert treated["prune-0.3"]["needs"] == {"key": False, "unmarked_teacher": True, "start_model": False}
        assert treated["neutralise-1"]["needs"] == {"key": False, "unmarked_teacher": False, "start_model": True}
        assert treated["delete"]["needs"] == {"key": False, "unmarked_teacher": False, "start_model": False}

        for told, measure in (("held_out_loss", "held_out_nats"), ("written_perplexity", "written_perplexity")):
            medians = [
                np.median([q["value"] for q in quality if (q["condition"], q["measure"]) == (name, measure)])
                for name in ("base", "int4")
            ]
            assert treated["int4"][told] == pytest.approx(medians)
            assert medians[0] != medians[1]

    def test_an_interval_is_of_one_run(self, found: dict[str, Any], quality: list[Any]) -> None:
        rows = [q for q in quality if (q["condition"], q["measure"]) == ("base", "auc")]
        (one,) = [q for q in found["quality"] if (q["condition"], q["measure"]) == ("base", "auc")]
        assert one["interval"] == pytest.approx([np.median([q[end] for q in rows]) for end in ("low", "high")])
        assert one["interval"][0] < one["median"] < one["interval"][1]
        assert all(q["interval"] is None for q in found["quality"] if q["measure"] == "perplexity")

    def test_what_is_left_is_told_in_z(self, found: dict[str, Any], rows: list[Any]) -> None:
        (one,) = [each for each in found["treatments"] if each["condition"] == "prune-0.5"]
        z = {
            name: np.median([r["z_score"] for r in rows if (r["condition"], r["test"]) == (name, "reading")])
            for name in ("base", "prune-0.5")
        }
        assert one["tests"]["reading"]["z_left"] == pytest.approx(z["prune-0.5"] / z["base"])
        assert "z_left" in one["tests"]["argmax"]
        assert one["tests"]["argmax"]["z_left"] is None  # it has no z


class TestLearning:
    def test_what_is_hardly_learnt_and_what_answers_alone_show(self) -> None:
        evidence = {"base": (20, 2), "half": (20, 2), "lora": (3, 1), "wide": (1, 0), "hot": (30, 9), "int4": (1, 0)}
        conditions = {
            "base": Condition(),
            "half": Condition(share=0.5),
            "lora": Condition(method="lora"),
            "wide": Condition(context_width=3),
            "hot": Condition(temperature=0.5),
            "int4": Condition(after=("int4",)),
        }
        rows = [
            row(name, condition, 0, key, "account", test, -float(p))
            for name, condition in conditions.items()
            for key in range(4)
            for test, p in zip(("reading", "sampled"), evidence[name], strict=True)
        ]
        found = summary(synthetic.study(series=[], seeds=1, keys=4), rows)
        assert [one["condition"] for one in found["learning"]["weaker"]] == ["wide", "lora"]  # int4 is a treatment
        assert [one["what"] for one in found["learning"]["weaker"]] == ["context width 3", "low-rank adapter (LoRA)"]
        assert [one["condition"] for one in found["learning"]["stronger"]] == ["hot"]
        (said,) = [line for line in found["headline"] if line.startswith("What keeps it from being learnt")]
        assert "context width 3 (0 of 4); low-rank adapter (LoRA) (0 of 4)." in said
        (said,) = [line for line in found["headline"] if line.startswith("Asking")]
        assert "under: teacher's temperature 0.5 (4 of 4)." in said
        (said,) = [line for line in found["headline"] if line.startswith("What erases it")]
        assert said == (
            "What erases it: after 1 treatment of answers or students, Reading detected no run after: weights "
            "rounded to 4 bits."
        )

    def test_values_of_one_field_are_one_phrase(self) -> None:
        rows = [
            row(name, Condition(context_width=h), 0, key, "account", "reading", -9.0 if h == 1 or key < k else -1.0)
            for name, h, k in (("base", 1, 3), ("two", 2, 1), ("three", 3, 0))
            for key in range(3)
        ]
        said = summary(synthetic.study(series=[], seeds=1), rows)["headline"]
        assert any("under: context width 2 or 3 (0 to 1 of 3)." in line for line in said)


class TestControls:
    def test_whose_mark_a_student_met(self, rows: list[Any]) -> None:
        cells = gather(synthetic.study(), rows).cells
        met = {name: {who: cells[name].met(who) for who in ("account", "licensed", "owner")} for name in cells}
        assert met["base"] == {"account": True, "licensed": False, "owner": False}
        assert met["licensed"] == {"account": False, "licensed": True, "owner": False}
        assert met["unmarked"] == {"account": False, "licensed": False, "owner": False}
        assert met["another-owner"] == {"account": False, "licensed": False, "owner": True}
        assert met["imitated"]["account"] is None

    def test_deployed_keys(self, found: dict[str, Any], rows: list[Any]) -> None:
        deployed = found["controls"]["deployed"]
        p = [
            r["log10_p"]
            for r in rows
            if r["condition"] in ("unmarked", "human", "another-owner", "licensed") and r["looked_for"] == "account"
        ]
        assert deployed["tests"] == len(p) == 4 * 9 * 6
        assert deployed["smallest_adjusted"] == min(0, min(p) + np.log10(len(p)))
        assert deployed["quiet"]

    def test_a_loud_control_is_said_first(self, rows: list[Any]) -> None:
        loud = [{**r, "log10_p": -12.0} if r["condition"] == "human" and r["key"] == 1 else r for r in rows]
        found = summary(synthetic.study(), loud)
        assert not found["controls"]["deployed"]["quiet"]
        assert "no detection here should be relied on" in found["headline"][0]

    def test_a_study_without_controls_says_so(self, rows: list[Any]) -> None:
        marked = [r for r in rows if r["exposed"] and not r["licensed"]]
        found = summary(synthetic.study(), marked)
        assert "there is no control" in found["headline"][0]
        assert found["controls"]["deployed"]["quiet"] is None
        assert "No student of unmarked answers." in found["missing"]
        assert "No control was looked at under fresh keys." in found["missing"]
        assert "Condition human has no rows." in found["missing"]

    def test_fresh_keys(self, found: dict[str, Any], fresh: list[Any]) -> None:
        one = found["controls"]["fresh"]
        assert (one["models"], one["checks"], one["outside"]) == (9, 9 * 3 * 4 + 9, [])  # counts at .1 from below too
        assert set(one["alive"]) == {"reading", "sampled"}
        assert one["alive"]["reading"] == {"detected": 9, "runs": 9}
        assert one["no_lower"] == []
        assert one["exposed"] == 0
        first = one["rows"][0]
        same = [
            r["log10_p"]
            for r in fresh
            if (r["condition"], r["test"], r["seed"]) == (first["condition"], first["test"], first["seed"])
        ]
        assert first["n"] == len(same) == 1000
        assert first["at_or_below"]["0.1"] == sum(p <= -1 for p in same)
        assert first["limits"] == {"0.1": 137, "0.01": 24, "0.001": 6, "0.0001": 3}
        assert {r["test"] for r in one["rows"] if r["least"]["0.1"] > 0} == {"distinct_pairs"}

    def test_fresh_keys_of_a_student_that_met_another_mark(self, rows: list[Any], fresh: list[Any]) -> None:
        human = [r for r in fresh if (r["seed"], r["condition"]) == (0, "human")]
        more = [{**r, "condition": "base, key 1", "log10_p": r["log10_p"] * 0.9} for r in human]
        one = summary(synthetic.study(), rows, [*fresh, *more])["controls"]["fresh"]
        assert (one["models"], one["exposed"], one["no_lower"]) == (10, 1, [])

    def test_a_dead_count_under_fresh_keys_is_told(self, rows: list[Any], fresh: list[Any]) -> None:
        dead = [{**r, "log10_p": 0.0} if r["condition"] == "human" else r for r in fresh]
        outside = summary(synthetic.study(), rows, dead)["controls"]["fresh"]["outside"]
        assert {(one["condition"], one["test"], one["level"], one["too"]) for one in outside} == {
            ("human", "distinct_pairs", "0.1", "few")
        }
        unknown = [r for r in rows if r["condition"] != "human"]
        one = summary(synthetic.study(), unknown, dead)["controls"]["fresh"]
        assert (one["outside"], one["no_lower"]) == ([], ["distinct_pairs"])

    def test_small_p_under_fresh_keys_are_told(self, rows: list[Any], fresh: list[Any]) -> None:
        bad = [{**r, "log10_p": r["log10_p"] * 2} if r["condition"] == "human" else r for r in fresh]
        outside = summary(synthetic.study(), rows, bad)["controls"]["fresh"]["outside"]
        assert outside
        assert {one["condition"] for one in outside} == {"human"}

    def test_exposure_and_licence_are_kept_apart(self, found: dict[str, Any]) -> None:
        groups = {
            (one["exposed"], one["licensed"], one["imitated"], one["looked_for"]): (one["runs"], one["detected"])
            for one in found["exposure"]
            if one["test"] == "reading"
        }
        assert groups[True, True, False, "licensed"] == (9, 9)
        assert groups[True, True, False, "account"] == (9, 0)
        assert groups[False, False, False, "account"] == (27, 0)
        assert groups[False, False, True, "account"][0] == 9
        questioning = sum({"probe_tokens", "sampled_tokens"} & set(c) != set() for c in synthetic.CHANGES.values())
        assert questioning == 5  # conditions whose students are the base's
        assert sum(runs for runs, _ in groups.values()) == 9 * (len(synthetic.CHANGES) + 2 - questioning)

    def test_imitation_is_a_warning_and_no_control(self, found: dict[str, Any]) -> None:
        assert "imitated" not in {one["condition"] for one in found["controls"]["deployed"]["rows"]}
        assert any("answers that imitate the mark" in sentence for sentence in found["headline"])


class TestForm:
    def test_it_is_json_of_twelve_digits_whatever_the_order(
        self, found: dict[str, Any], rows: list[Any], fresh: list[Any], quality: list[Any]
    ) -> None:
        text = json.dumps(found, allow_nan=False)
        shuffled = []
        for table in (rows, fresh, quality):
            shuffled.append(list(table))
            random.Random(0).shuffle(shuffled[-1])
        assert json.dumps(summary(synthetic.study(), *shuffled), allow_nan=False) == text

        def floats(value: Any) -> list[float]:
            if isinstance(value, dict):
                return [one for each in value.values() for one in floats(each)]
            if isinstance(value, list):
                return [one for each in value for one in floats(each)]
            return [value] if isinstance(value, float) else []

        assert len(floats(found)) > 1000
        assert all(float(f"{value:.12g}") == value for value in floats(found))

    def test_through_the_tables_on_disk(
        self, found: dict[str, Any], rows: list[Any], fresh: list[Any], quality: list[Any], tmp_path: Path
    ) -> None:
        tables = {SURVIVAL: rows, FRESH: fresh, QUALITY: quality}
        for name, table in tables.items():
            write_table(tmp_path / name, table)
        assert summary(synthetic.study(), *(read_table(tmp_path / name) for name in tables)) == found

    def test_refusals(self, rows: list[Any]) -> None:
        with pytest.raises(InputError, match="lacks 'machine'"):
            gather({name: v for name, v in synthetic.study().items() if name != "machine"}, rows)
        with pytest.raises(InputError, match="no rows yet"):
            summary(synthetic.study(), [])

    def test_incomplete_runs_are_told(self, rows: list[Any]) -> None:
        some = [r for r in rows if (r["condition"], r["seed"]) != ("lora", 2)]
        assert "Fewer than 9 runs (seeds × keys): lora." in summary(synthetic.study(), some)["missing"]

    def test_students_that_two_conditions_share_count_once(self) -> None:
        """A share of 0 and unmarked answers give the same student, under every key; probes change no student."""
        conditions = {
            "base": Condition(),
            "none": Condition(share=0.0),
            "unmarked": Condition(source="unmarked"),
            "few": Condition(probe_tokens=250),
        }
        rows = [
            row(name, condition, seed, key, "account", test, -9.0 if condition.exposed else -0.5)
            for name, condition in conditions.items()
            for seed in range(2)
            for key in range(3)
            for test in ("reading", "sampled", "text")
        ]
        found = summary(synthetic.study(series=[], seeds=2, keys=3), rows)
        assert found["counts"] == {
            "conditions": 4,
            "cells": 24,  # condition × seed × key
            "students": 6 + 2,
            "tests": 6 * 3 + 6 * 3 + 6,  # of the marked, of the unmarked, and the second reading of the marked
        }
        deployed = found["controls"]["deployed"]
        assert deployed["tests"] == 6 * 3
        assert [(one["students"], one["keys"], one["new"]) for one in deployed["rows"]] == [(2, 3, 18), (2, 3, 0)]
        met = {one["exposed"]: (one["runs"], one["detected"]) for one in found["exposure"] if one["test"] == "reading"}
        assert met == {True: (6, 6), False: (6, 0)}

    def test_a_control_under_two_names_is_one_under_fresh_keys(self, rows: list[Any], fresh: list[Any]) -> None:
        again = [{**r, "condition": "also-human"} for r in fresh if r["condition"] == "human"]
        models = [
            summary(synthetic.study(), rows, each)["controls"]["fresh"]["models"] for each in (fresh, fresh + again)
        ]
        assert models == [9, 9]

    def test_a_share_of_zero_is_a_control(self) -> None:
        condition = replace(Condition(), share=0.0)
        rows = [row("none", condition, 0, key, "account", "reading", -0.5) for key in range(3)]
        assert summary(synthetic.study(series=[]), rows)["controls"]["deployed"]["tests"] == 3
