"""`suspect --case`: what a questioned model was asked, and in which order it was settled, recorded and borne out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from detect.bundles.case import Case
from detect.bundles.held import Held
from detect.bundles.order import shortcomings
from detect.bundles.seal import write_bundle
from detect.bundles.verify.check import verify_bundle
from detect.counting import tally, weigh
from detect.exact.evalue import log10_e_value
from detect.observation import Excess, Reading
from detect.questioned.responses import Response, ResponseLog
from detect.sequential import Sequential
from tests.detect.bundles.helpers import events, payloads, sealed_files
from tests.detect.cli.helpers import Cli, save_key, write_rows
from tests.detect.cli.test_case import CASE, evidence, last, rounded, rows, run_of
from tests.detect.cli.test_suspect_api import started
from tests.detect.cli.test_suspect_plan import EASY, PROMPTS, by_hand, written
from tests.detect.questioned import table_model
from tests.detect.questioned.fake_server import FakeServer
from tests.tools.second import check_of
from tests.watermark.engines.helpers import tokenizer
from watermark import Key
from watermark.engines.models import model_digest

pytestmark = pytest.mark.usefixtures("here", "unconfigured")
CANARY = "sk-canary-5150ab77"


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "prompts.jsonl", [{"prompt": prompt} for prompt in PROMPTS])


@pytest.fixture
def probes(tmp_path: Path) -> Path:
    text = "The moon goes still over the harbour where the boats counted coins twice and then the rain fell. "
    return write_rows(tmp_path / "probes.jsonl", [{"prompt": p, "text": text[i * 9 :]} for i, p in enumerate(PROMPTS)])


@pytest.fixture
def account(cli: Cli, text_key: Path) -> Path:
    """The key of an account, committed to in the case."""
    files = ["-o", "commitment.json", "--leaves", "leaves.json", "--case", CASE]
    assert cli("key", "commit", text_key, "--account", "a", "--account", "b", *files).code == 0
    assert cli("key", "derive", text_key, "--account", "b", "-o", "b.key").code == 0
    return Path("b.key")


def planned(cli: Cli, key: Path, probes: Path, *options: object, case: Path | None = CASE) -> Path:
    committed = ["--commitment", "commitment.json", "--leaves", "leaves.json"]
    where = [] if case is None else ["--case", case]
    command = ["plan", "-o", "plan.json", "--key", key, "--probes", probes, *EASY, *committed, *where, "-q"]
    assert cli(*command, *options).code == 0
    return Path("plan.json")


def asking(server: FakeServer, key: Path, probes: Path, *more: object) -> list[object]:
    where = ["--api", server.url, "--model-name", "m", "--log", "log", "--case", CASE]
    return ["suspect", "--key", key, "--probes", probes, *where, *more]


def borne_out(case: Path = CASE) -> list[bool]:
    """Of every run, whether the log lets its findings be confirmatory."""
    log = Held.read(case).log
    return [not shortcomings(log, number, Held.read(case).file) for number, _ in log.of("begun")]


# --- behind a server ---


def test_committed_planned_asked(cli: Cli, account: Path, prompts: Path) -> None:
    plan = planned(cli, account, prompts)
    with FakeServer(text=written(account, 0.6)) as server:
        result = cli(*asking(server, account, prompts, "--plan", plan, "--json"))
        url = server.url
    shown = result.json()["sampled"]
    assert events(CASE) == ["opened", "committed", "planned", "begun", "finished"]
    begun = payloads((CASE / "custody.jsonl").read_bytes())[3]["details"]
    assert begun["questioned"] == {"server": f"{url}/v1" if not url.endswith("/v1") else url, "model_name": "m"}
    assert begun["plan"] == shown["plan"]["sha256"]
    assert begun["options"]["tests"] == ["sampled/distinct"]
    assert (shown["status"], borne_out()) == ("confirmatory", [True])
    assert evidence(1, "sampled/distinct") == rounded(shown)
    assert (CASE / "runs" / "0001" / "responses.log").read_bytes() == Path("log").read_bytes()
    assert run_of(1)["tests"]["sampled/distinct"]["kind"] == "e-process"
    # The answers, in the order of their requests, are all that the e-process needs
    answers = [row["token_ids"] for row in rows(1, "sampled/distinct")]
    assert len(answers) == shown["sequential"]["n_answers"]
    excluded = [row["token_ids"] for row in rows(1, "sampled/distinct", "prompts")]
    again = Sequential(Key.load(account), excluded, 1e-6, 212)
    for number, answer in enumerate(answers):
        again.add(number, answer)
    assert again.result().log10_p == shown["log10_p"]
    pairs, colours, values, stopped = by_hand(account, Path("log"), 1e-6, 212)
    assert (len(pairs), sum(colours), stopped) == (shown["n_scored"], shown["n_green"], "early")
    assert -max(values) == pytest.approx(shown["log10_p"])


def test_an_e_process_without_a_stop_has_every_answer(cli: Cli, account: Path, prompts: Path) -> None:
    plan = planned(cli, account, prompts)
    with FakeServer(text=lambda q: "" if q[1] % 3 == 0 else "The rain fell on the harbour") as server:
        shown = cli(*asking(server, account, prompts, "--plan", plan, "--json")).json()["sampled"]
    answers = [row["token_ids"] for row in rows(1, "sampled/distinct")]
    assert len(answers) == shown["sequential"]["n_answers"]
    assert [] in answers
    assert shown["sequential"]["stopped"] == "exhausted"
    assert sum(map(len, answers)) == shown["n_tokens"]


def test_a_second_run_of_a_plan_is_exploratory(cli: Cli, account: Path, prompts: Path) -> None:
    plan = planned(cli, account, prompts)
    with FakeServer(text=written(account, 0.6)) as server:
        command = asking(server, account, prompts, "--plan", plan)
        assert "Warning" not in cli(*command).err
        asked = len(server.asked)
        second = cli(*command, "--json")
        assert len(server.asked) == asked
    warning = "Warning: results will be exploratory: the case records an earlier run of the same plan."
    assert warning in second.err
    shown = second.json()["sampled"]
    assert (shown["status"], shown["finding"]) == ("exploratory", "detected")
    assert any(note.endswith("the case records an earlier run of the same plan") for note in shown["notes"])
    assert [evidence(number, "sampled/distinct")["status"] for number in (1, 2)] == ["confirmatory", "exploratory"]
    assert borne_out() == [True, False]


class Stop:
    """Makes a server end this process' questioning by Ctrl-C, once, when it has been asked so often."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: int) -> None:
        self.left, self.record = answers, ResponseLog.record
        monkeypatch.setattr(ResponseLog, "record", lambda log, response: self._recorded(log, response))

    def _recorded(self, log: ResponseLog, response: Response) -> None:
        self.record(log, response)
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


def answers_of(run: int) -> bytes:
    return (CASE / "runs" / f"{run:04d}" / "responses.log").read_bytes()


def bundled() -> list[str]:
    """The runs whose findings both verifiers take for confirmatory in what is sealed now."""
    bundle = Path(f"bundle-{len(list(Path().glob('bundle-*')))}")
    with Case(CASE) as case:
        write_bundle(sealed_files(case), bundle)
    assert check_of(bundle) == "passed"
    return [one.run for one in verify_bundle(bundle).confirmatory]


def test_a_run_that_goes_on_is_confirmatory(
    cli: Cli, account: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C, then a server that is gone; the third time it ends, and finds what one run would have found."""
    plan = planned(cli, account, prompts)
    with FakeServer(text=written(account, 0.6)) as server:
        command = asking(server, account, prompts, "--plan", plan, "--concurrency", 1)
        alone = [one for one in command if one not in ("--case", CASE)]
        calm = cli(*alone, "--log", "calm", "--json").json()["sampled"]
        Stop(monkeypatch, 3)
        assert cli(*command).code == 130
        assert answers_of(1) == Path("log").read_bytes()
        assert len(answers_of(1).splitlines()) == 1 + 3
        server.stop()
        broken = cli(*command, "--give-up-after", 0)
        assert (broken.code, "Warning" in broken.err) == (3, False)
        assert answers_of(2) == answers_of(1)
        server.start()
        shown = cli(*command, "--json")
    assert "Warning" not in shown.err
    assert events(CASE)[3:] == ["begun", "stopped", "begun", "stopped", "begun", "finished"]
    assert answers_of(3) == Path("log").read_bytes()
    assert answers_of(3).startswith(answers_of(1))
    found = shown.json()["sampled"]
    assert found | {"notes": 0} == calm | {"notes": 0, "status": "confirmatory"}
    assert bundled() == ["0003"]


@pytest.mark.parametrize("how", ["deleted", "altered", "cut", "elsewhere"])
def test_a_run_that_begins_anew_is_exploratory(
    how: str, cli: Cli, account: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped, looked at, and the answers thrown away, all or some: it is no first look."""
    plan = planned(cli, account, prompts)
    with FakeServer(text=written(account, 0.6)) as server:
        command = asking(server, account, prompts, "--plan", plan, "--concurrency", 1)
        Stop(monkeypatch, 3)
        assert cli(*command).code == 130
        kept = Path("log").read_bytes()
        if how == "deleted":
            Path("log").unlink()
            server.text = written(account, 0.9)
        elif how == "altered":
            Path("log").write_bytes(kept.replace(b'"text": "', b'"text": "The ', 1))
        elif how == "cut":
            Path("log").write_bytes(b"".join(kept.splitlines(keepends=True)[:2]))
            server.text = written(account, 0.9)
        again = cli(*command, *(["--log", "other"] if how == "elsewhere" else []), "--json")
    warning = "results will be exploratory: the case records an earlier run of the same plan, which was stopped"
    assert warning in again.err
    assert again.json()["sampled"]["status"] == "exploratory"
    assert borne_out() == [True, False]
    assert bundled() == []


def test_a_run_that_was_killed_goes_on(cli: Cli, account: Path, prompts: Path) -> None:
    plan = planned(cli, account, prompts)
    with FakeServer(text=written(account, 0.3), delay=0.1) as server:
        command = asking(server, account, prompts, "--plan", plan, "--concurrency", 1)
        process = started(command, server, 3)
        process.kill()
        process.communicate()
        assert cli("case", "note", CASE, "the power failed").code == 0
        shown = cli(*command, "--json")
    stopped = payloads((CASE / "custody.jsonl").read_bytes())[4]
    assert stopped["details"] == {"run": "0001", "reason": "killed"}
    assert [one["name"] for one in stopped["subjects"]] == ["runs/0001/responses.log"]
    assert len(answers_of(1).splitlines()) > 1
    assert shown.json()["sampled"]["status"] == "confirmatory"
    assert bundled() == ["0002"]


def test_answers_that_were_thrown_away_after_a_kill(
    cli: Cli, account: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log and the case's copy of it: then nobody knows what had been answered."""
    plan = planned(cli, account, prompts)
    with FakeServer(text=written(account, 0.3)) as server:
        command = asking(server, account, prompts, "--plan", plan, "--concurrency", 1)
        Stop(monkeypatch, 3)
        with monkeypatch.context() as killed:
            killed.setattr(Case, "stop", lambda *_: None)
            assert cli(*command).code == 130
        Path("log").unlink()
        (CASE / "runs" / "0001" / "responses.log").unlink()
        assert cli(*command, "--json").json()["sampled"]["status"] == "exploratory"
    assert bundled() == []


def test_a_plan_that_the_case_does_not_record_is_exploratory(cli: Cli, account: Path, prompts: Path) -> None:
    plan = planned(cli, account, prompts, case=None)
    with FakeServer(text=written(account, 0.6)) as server:
        result = cli(*asking(server, account, prompts, "--plan", plan, "--json"))
    assert "exploratory: the case does not record the plan before the run" in result.err
    assert result.json()["sampled"]["status"] == "exploratory"
    assert borne_out() == [False]
    assert events(CASE)[-3:] == ["begun", "planned", "finished"]
    assert bundled() == []  # and both verifiers pass it


def test_a_look_before_the_plan_is_told_by_the_log(cli: Cli, account: Path, prompts: Path) -> None:
    with FakeServer(text=written(account, 0.6)) as server:
        assert cli(*asking(server, account, prompts, "--sample", 60)).code == 0
        Path("log").unlink()
        plan = planned(cli, account, prompts)
        result = cli(*asking(server, account, prompts, "--plan", plan, "--json"))
    assert result.json()["sampled"]["status"] == "exploratory"
    assert "examined before the plan" in result.err


def test_a_server_that_fails_stops_the_run(cli: Cli, account: Path, prompts: Path) -> None:
    with FakeServer() as server:
        command = asking(server, account, prompts, "--sample", 60, "--give-up-after", 0)
        server.stop()
        assert cli(*command).code == 3
    assert events(CASE)[-2:] == ["begun", "stopped"]
    assert last()["details"]["reason"].startswith("http://127.0.0.1")
    assert [one["name"] for one in last()["subjects"]] == ["runs/0001/responses.log"]  # nothing came, and that is said
    assert len(answers_of(1).splitlines()) == 1


def test_ctrl_c_stops_the_run(cli: Cli, account: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("detect.questioned.api.ask", stopped)
    with FakeServer() as server:
        assert cli(*asking(server, account, prompts)).code == 130
    assert last()["details"] == {"run": "0001", "reason": "interrupted"}


def test_no_secret_of_the_server_is_recorded(
    cli: Cli, account: Path, prompts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API key, echoed by the server; and a gateway's key in the address."""
    monkeypatch.setenv("TAGGANT_API_KEY", CANARY)
    secret_path = "k3y" + "0123456789abcdef" * 2
    with FakeServer(key=CANARY, text=lambda q: f"my key is {CANARY}, {q[1]} times over") as server:
        address = server.url.removesuffix("/v1")
        where = ["--api", f"{address}/{secret_path}/v1", "--model-name", "m", "--log", "log", "--case", CASE]
        cli("suspect", "--key", account, "--probes", prompts, *where, "--sample", 60, "--give-up-after", 0)
        cli(*asking(server, account, prompts, "--sample", 60, "--log", "log2"))
    assert events(CASE).count("begun") == 2
    assert cli("seal", CASE, "-o", "bundle").code == 0
    for path in (path for root in (CASE, Path("bundle")) for path in root.rglob("*") if path.is_file()):
        content = path.read_bytes()
        if path.name == "custody.jsonl":
            content += json.dumps(payloads(content)).encode()
        for secret in (CANARY, secret_path):
            assert secret.encode() not in content, path


# --- a model at hand ---


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base model, and one that carries the mark of account b."""
    place = tmp_path_factory.mktemp("tables")
    key = Key.load(save_key(place / "key")).account("b")
    return {
        "base": table_model.build(place / "base", key=None, delta=0.0, seed=0),
        "student": table_model.build(place / "student", key=key, delta=1.0, seed=0),
        "other": table_model.build(place / "other", key=None, delta=0.0, seed=1),
    }


def test_a_reading_its_control_and_the_answers(
    cli: Cli, account: Path, probes: Path, tables: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("detect.cli.weighing.AUDITED", 60)  # a short audit of the reference
    known = ["--reference", tables["base"], "--positive-control", tables["student"]]
    options = ["--primary", "reading", "--also", "sampled/distinct", "--also", "sampled/excess", "--sample", 100]
    plan = planned(cli, account, probes, *options, *known)
    command = ["suspect", "--key", account, "--probes", probes, "--plan", plan, *known, "--model", tables["other"]]
    shown = cli(*command, "--case", CASE, "--json").json()
    begun = payloads((CASE / "custody.jsonl").read_bytes())[3]["details"]
    assert begun["questioned"] == {"model": model_digest(tables["other"])}
    entry, key = run_of(1), Key.load(account)
    assert [one["tests"] for one in entry["family"]] == [
        ["reading/difference"],
        ["sampled/distinct", "sampled/excess"],
        ["reading/difference/control"],
        ["sampled/excess/control"],
    ]
    assert evidence(1, "reading/difference") == rounded(shown["reading"])
    assert evidence(1, "sampled/excess") == rounded(shown["sampled/excess"])
    for name, kind in (("reading/difference", Reading), ("sampled/excess", Excess)):
        for one in (name, f"{name}/control"):
            test = entry["tests"][one]
            assert test["kind"] == "weights"
            again = weigh(key, kind.load(CASE / "runs" / "0001" / test["material"]["weights"]))
            assert test["statistic"] == rounded(again.statistic)
            assert evidence(1, one)["n_scored"] == again.n_scored
    for name in ("reading/difference", "sampled/excess"):
        control, said = evidence(1, f"{name}/control"), evidence(1, name)["plan"]["control"]
        assert {member: control[member] for member in said} == said
    assert evidence(1, "sampled/excess/control")["alpha"] == 1e-6 / 2
    counted = entry["tests"]["sampled/distinct"]
    assert (counted["kind"], "statistic" in counted) == ("count", False)
    found = tally(
        key,
        [row["token_ids"] for row in rows(1, "sampled/distinct")],
        [row["token_ids"] for row in rows(1, "sampled/distinct", "prompts")],
    )
    one = evidence(1, "sampled/distinct")
    assert (found.n_tokens, found.n_scored, found.n_green) == (one["n_tokens"], one["n_scored"], one["n_green"])
    assert one["log10_e"] == rounded(log10_e_value(found.n_green, found.n_scored, 0.25))


def test_an_examination_without_a_plan_is_one_family(
    cli: Cli, account: Path, probes: Path, tables: dict[str, Path]
) -> None:
    command = ["suspect", "--key", account, "--probes", probes, "--model", tables["student"], "--sample", 120]
    shown = cli(*command, "--case", CASE, "--json").json()
    assert [one["tests"] for one in run_of(1)["family"]] == [["reading/mass", "sampled/distinct"]]
    assert evidence(1, "reading/mass") == rounded(shown["reading"])
    begun = payloads((CASE / "custody.jsonl").read_bytes())[-2]["details"]
    assert begun["options"]["sample_tokens"] == 120
    assert [one["name"] for one in begun["inputs"]] == ["probes.jsonl"]
    cli("suspect", "--key", account, "--probes", "builtin", "--model", "nowhere", "--case", CASE).refused(3, "nowhere")
    assert events(CASE)[-1] == "finished"


def test_the_words_of_the_probes_are_the_keys_tokens(cli: Cli, account: Path, prompts: Path) -> None:
    """Prompts count nowhere in every form that they take: the model's, and their words alone."""
    with FakeServer() as server:
        assert cli(*asking(server, account, prompts, "--sample", 60)).code == 0
    excluded = [row["token_ids"] for row in rows(1, "sampled/distinct", "prompts")]
    for prompt in PROMPTS:
        assert tokenizer()(prompt, add_special_tokens=False)["input_ids"] in excluded
