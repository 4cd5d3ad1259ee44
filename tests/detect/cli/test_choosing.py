"""`plan --choose`: the reference decides which probes are fed in; and `--probes builtin`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.shell_completion import CompletionItem

from detect.cli.types import PROBES, ROWS
from detect.fed import Probe, probes_digest
from detect.plans.parts import PlannedProbes
from detect.plans.plan import Plan
from detect.questioned.information import choose, expected_information
from detect.questioned.probes import make_probes
from detect.readers import read_rows as rows_in
from tests import tiny
from tests.detect.cli.helpers import Cli, names, read_rows, save_key, write_rows
from tests.detect.material import docstrings
from watermark import GreenList, Key
from watermark.engines.models import load_model, load_tokenizer, model_digest
from watermark.windows import WindowRule

RULE = WindowRule(1, (0, 1, 2))


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """Texts of different lengths, ids, a prompt alone, and one probe twice."""
    texts = [text[: 60 + 25 * i] for i, text in enumerate(docstrings()[:8])]
    rows: list[dict[str, Any]] = [{"id": f"t{i}", "prompt": f"Question {i}?", "text": t} for i, t in enumerate(texts)]
    rows += [
        {"token_ids": list(range(60, 130)), "prompt_ids": [5, 6], "prompt": "So?"},
        {"prompt": "Why?"},
        {**rows[3], "id": "again"},
    ]
    return write_rows(tmp_path / "pool.jsonl", rows)


def expected(pool: Path, tokens: int, corpus: list[Any] | None = None) -> tuple[list[int], list[Probe]]:
    """The choice, by the library."""
    tokenizer = load_tokenizer(tiny.shared())
    probes = make_probes(rows_in([str(pool)], prompts_only_ok=True), tokenizer)
    model = load_model(tiny.shared())
    return choose(expected_information(model, probes, rule=RULE, vocab_size=384, corpus=corpus), tokens), probes


def content(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "id"} for row in rows]


def test_the_plan_names_the_chosen_probes(cli: Cli, text_key: Path, model: Path, pool: Path, tmp_path: Path) -> None:
    plan_file, out = tmp_path / "plan.json", tmp_path / "chosen.jsonl"
    options = ["--key", text_key, "--probes", pool, "--reference", model, "--choose", 300, "--chosen", out]
    shown = cli("plan", "-o", plan_file, *options, "--primary", "reading", "--json").json()
    numbers, probes = expected(pool, 300)
    rows = read_rows(pool)
    assert 1 < len(numbers) < len(rows) - 2
    assert content(read_rows(out)) == content([rows[number] for number in numbers])
    plan = Plan.load(plan_file)
    plan.check_probes(rows_in([str(out)], prompts_only_ok=True))
    assert plan.probes == PlannedProbes.of(rows_in([str(out)], prompts_only_ok=True))
    assert shown["plan"] == plan.to_json()
    tokens = sum(len(probes[number].answer_ids) for number in numbers)
    how = shown["notes"][0]
    for said in (
        f"{len(numbers)} of 11 candidates, {tokens} answer tokens of at most 300", "ADR 0011", model_digest(model),
        PlannedProbes.of(rows_in([str(pool)], prompts_only_ok=True)).sha256,
    ):  # fmt: skip
        assert said in how
    assert tokens <= 300


def test_frequencies_change_the_choice_and_are_named(
    cli: Cli, text_key: Path, model: Path, pool: Path, tmp_path: Path
) -> None:
    _, probes = expected(pool, 200)
    corpus = [list(probes[number].answer_ids) for number in (0, 1, 5)] * 40
    given = write_rows(tmp_path / "unmarked.jsonl", [{"token_ids": ids} for ids in corpus])
    base = ["--key", text_key, "--probes", pool, "--reference", model, "--choose", 200]
    told = ["--frequencies", given, "--chosen", tmp_path / "a.jsonl", "--json"]
    shown = cli("plan", "-o", tmp_path / "a", *base, *told).json()
    digest = PlannedProbes.of(rows_in([str(given)])).sha256
    assert digest in shown["notes"][0]
    assert shown["plan"]["frequencies"] is None  # no planned test weighs by them: they served the choice alone
    both = ["--frequencies", given, "--chosen", tmp_path / "c.jsonl", "--json", "--primary", "reading"]
    assert cli("plan", "-o", tmp_path / "c", *base, *both).json()["plan"]["frequencies"] == {"sha256": digest}
    result = cli("plan", "-o", tmp_path / "b", *base, "--chosen", tmp_path / "b.jsonl")
    assert "1 probe has no answer" in result.err
    assert "frequency in the candidates" in result.out
    assert f"chosen        the probes to examine with: {tmp_path / 'b.jsonl'}\n" in result.out
    assert f" --probes {tmp_path / 'b.jsonl'}" in result.out.splitlines()[-1]
    assert str(pool) not in result.out.splitlines()[-1]
    assert "--reference" not in result.out.splitlines()[-1]  # it only chose
    with_f, without = (content(read_rows(tmp_path / f"{name}.jsonl")) for name in "ab")
    assert with_f == content([read_rows(pool)[number] for number in expected(pool, 200, corpus)[0]])
    assert with_f != without


def test_frequencies_of_marked_answers_are_refused(
    cli: Cli, text_key: Path, model: Path, pool: Path, tmp_path: Path
) -> None:
    """They depend on the key, and so would the choice; under another key they are like any other."""
    mark, rng = GreenList(Key.load(text_key)), np.random.default_rng(8)
    ids = [100]
    while len(ids) < 400:
        green = np.flatnonzero(mark.mask(np.array([[ids[-1]]]), 384)[0])
        ids.append(int(rng.choice(green[green > 2])))
    given = write_rows(tmp_path / "marked.jsonl", [{"token_ids": ids}])
    for number, code in ((0, 3), (1, 0)):
        key, out = save_key(tmp_path / f"{number}.key", number), tmp_path / f"{number}.jsonl"
        options = ["--key", key, "--probes", pool, "--reference", model, "--choose", 250, "--chosen", out]
        result = cli("plan", "-o", tmp_path / f"{number}.plan", *options, "--frequencies", given, "-q")
        assert (result.code, out.exists()) == (code, code == 0), result
        assert ("carries the key's mark" in result.err) == (code == 3)


def test_the_choice_is_the_same_again_and_under_every_key(cli: Cli, model: Path, pool: Path, tmp_path: Path) -> None:
    written = set()
    for number in range(3):
        key, out = save_key(tmp_path / f"{number}.key", number), tmp_path / f"{number}.jsonl"
        options = ["--key", key, "--probes", pool, "--reference", model, "--choose", 250, "--chosen", out, "-q"]
        assert cli("plan", "-o", tmp_path / f"{number}.plan", *options).err == ""
        written.add(out.read_bytes())
    assert len(written) == 1


@pytest.mark.parametrize(
    ("options", "code", "fragments"),
    [
        (["--choose", "300", "--reference", "M"], 2, ["--chosen FILE.jsonl"]),
        (["--choose", "300", "--chosen", "T/c.jsonl"], 2, ["--reference"]),
        (["--choose", "300", "--chosen", "T/c.txt", "--reference", "M"], 2, ["ends in .jsonl"]),
        (["--choose", "0", "--chosen", "T/c.jsonl", "--reference", "M"], 2, ["--choose"]),
        (["--chosen", "T/c.jsonl", "--reference", "M"], 2, ["--chosen belongs to --choose"]),
        (["--choose", "300", "--chosen", "P", "--reference", "M"], 3, ["pool.jsonl already exists"]),
        (["--choose", "300", "--chosen", "T/no/c.jsonl", "--reference", "M"], 3, ["not a directory"]),
        (["--choose", "5", "--chosen", "T/c.jsonl", "--reference", "M"], 3, ["no probe fits into 5 tokens"]),
        (["--choose", "300", "--chosen", "T/c.jsonl", "--reference", "M", "--frequencies", "T/no"], 3, ["T/no"]),
        (["--choose", "300", "--chosen", "T/c.jsonl", "--reference", "M", "--effect", "0.2"], 3, ["above gamma"]),
    ],
    ids=str,
)
def test_what_is_refused_leaves_nothing(
    options: list[str], code: int, fragments: list[str], cli: Cli, text_key: Path, model: Path, pool: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    before = names(tmp_path)
    values = {"M": str(model), "P": str(pool)}
    given = [values.get(option, option.replace("T/", f"{tmp_path}/")) for option in options]
    result = cli("plan", "-o", tmp_path / "plan.json", "--key", text_key, "--probes", pool, *given)
    result.refused(code, *(fragment.replace("T/", f"{tmp_path}/") for fragment in fragments))
    assert names(tmp_path) == before


def test_a_plan_that_cannot_be_written_takes_the_chosen_rows_with_it(
    cli: Cli, text_key: Path, model: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Plan, path: Path) -> None:
        raise OSError(28, "No space left on device")

    before = names(tmp_path)
    monkeypatch.setattr(Plan, "save", full)
    out = ["--choose", 300, "--chosen", tmp_path / "c.jsonl", "--reference", model]
    result = cli("plan", "-o", tmp_path / "plan.json", "--key", text_key, "--probes", pool, *out)
    assert (result.code, "No space left" in result.err) == (3, True)
    assert names(tmp_path) == before


def test_the_chosen_rows_carry_the_plan_out(cli: Cli, text_key: Path, model: Path, pool: Path, tmp_path: Path) -> None:
    """Evidence names what was fed by one digest, that of its token ids, and says that the plan's is another."""
    plan_file, out = tmp_path / "plan.json", tmp_path / "chosen.jsonl"
    base = ["--key", text_key, "--reference", model]
    options = ["--primary", "reading", "--choose", 300, "--chosen", out, "--decoys", 3]
    assert cli("plan", "-o", plan_file, *base, "--probes", pool, *options).code == 0
    other = tiny.build(tmp_path / "other", seed=5)
    carried_out = ["suspect", "--plan", plan_file, *base, "--model", other]
    evidence = cli(*carried_out, "--probes", out, "--json").json()["reading"]
    (note,) = [note for note in evidence["notes"] if note.startswith("probes: ")]
    chosen = make_probes(rows_in([str(out)], prompts_only_ok=True), load_tokenizer(model))
    assert f"{len(chosen)} rows, SHA-256 {probes_digest(chosen)} over the token ids" in note
    assert "the plan's own digest is over the rows as written, so another" in note
    assert Plan.load(plan_file).probes.sha256 not in note
    cli(*carried_out, "--probes", pool).refused(3, "the probes have 11 rows")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), True),
        (("--effect", 0.5, "--max-new-tokens", 256), False),  # at most 212 pairs: once each is enough
        (("--effect", 0.5, "--max-new-tokens", 8), False),  # ten times each, at most, is borne
        (("--effect", 0.5, "--max-new-tokens", 8, "--temperature", 0.05), True),  # there the first answer is the last
        (("--stopping", "fixed", "--sample", 20000), False),
        (("--primary", "reading"), False),
    ],
    ids=str,
)
def test_too_few_prompts_for_an_e_process_are_named(
    options: tuple[object, ...], said: bool, cli: Cli, text_key: Path, model: Path, pool: Path, tmp_path: Path
) -> None:
    plan_file, out = tmp_path / "plan.json", tmp_path / "chosen.jsonl"
    base = ["--key", text_key, "--probes", pool, "--reference", model, "--choose", 600, "--chosen", out]
    result = cli("plan", "-o", plan_file, *base, *options)
    assert (result.code, "may end before its maximum, inconclusive" in result.out) == (0, said), result
    if said:
        plan = Plan.load(plan_file)
        prompts = {str(row.get("prompt_ids", row.get("prompt"))) for row in read_rows(out)}
        assert plan.sampling is not None
        assert plan.maximum_pairs is not None
        rounds = -(-plan.maximum_pairs // (len(prompts) * plan.sampling.max_new_tokens))
        assert f"the probes have {len(prompts)} distinct prompts: " in result.out
        assert f"maximum of {plan.maximum_pairs:,} pairs each would be asked {rounds:,} times or more" in result.out


def test_a_plan_of_the_built_in_probes(cli: Cli, key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    base = ["--key", key, "--json", "--probes"]
    planned = cli("plan", "-o", tmp_path / "a", *base, "builtin").json()["plan"]["probes"]
    assert (planned["rows"], planned["prompts"]) == (185, 185)
    write_rows(Path("builtin"), [{"text": "mine"}])
    cli("plan", "-o", tmp_path / "b", *base, "./builtin").refused(3, "row of JSON")
    assert cli("plan", "-o", tmp_path / "c", *base, "builtin").json()["plan"]["probes"] == planned


def test_a_questioned_model_reads_the_built_in_probes(
    cli: Cli, text_key: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`suspect --probes builtin`: the first rows of them, so that it is quick."""
    from detect.readers import builtin, paths

    monkeypatch.setattr(paths, "builtin_rows", lambda: list(builtin.builtin_rows())[:4])
    shown = cli("suspect", "--key", text_key, "--model", model, "--probes", "builtin", "--json").json()
    _, probes = expected_builtin(4)
    assert shown["reading"]["n_tokens"] == sum(len(probe.answer_ids) for probe in probes) > 500


def expected_builtin(rows: int) -> tuple[int, list[Probe]]:
    read = list(rows_in(["builtin"], prompts_only_ok=True))[:rows]
    return len(read), make_probes(read, load_tokenizer(tiny.shared()))


def test_completion_offers_the_built_in_name_for_probes_alone() -> None:
    def offered(kind: Any, typed: str) -> list[str]:
        items: list[CompletionItem] = kind.shell_complete(None, None, typed)
        return [item.value for item in items if item.type == "plain"]

    assert offered(PROBES, "bu") == ["builtin"]
    assert offered(PROBES, "") == offered(PROBES, "x") == offered(ROWS, "bu") == []
