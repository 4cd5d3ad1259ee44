"""No secret in any byte that any command gives out: well ended, refused, crashed with its traceback, as text or JSON.

Every command of the command line has a case here; one without fails `test_every_command_has_a_case`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import click
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from detect.cli.main import cli as taggant
from distill_sim import pipeline, teacher
from tests import tiny
from tests.detect.cli.helpers import SPEECH, Cli, Result, save_key, write_rows
from tests.detect.questioned.fake_server import FakeServer
from tests.detect.secrecy.canary import files_below, found_in
from tests.distill_sim.small import CONDITION, inline
from tests.distill_sim.study.small import shrink
from tests.distill_sim.test_cli_simulate import STUDY
from watermark import Key
from watermark.greenlist import GreenList

pytestmark = pytest.mark.usefixtures("one_torch_thread", "compiled_colours")
API_KEY = "sk-canary-5150ab77e1"
ACCOUNT, MONTH = "acct-1", "2026-11"
TEXT = "The moon goes still over the harbour where the boats counted coins twice and then the rain fell. "
Arguments = Sequence[object]


@dataclass
class World:
    """Where commands run: an owner's key, an account's, texts, a server that repeats the API key.

    Attributes:
        holders: files that are there to hold a secret; nothing else may.
    """

    root: Path
    server: FakeServer
    holders: set[Path] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.model = tiny.shared()
        self.owner = self.holder(save_key(self.root / "owner.key"))
        self.account = self.holder(self.root / "account.key")
        Key.load(self.owner).account(ACCOUNT).save(self.account)
        self.text = self.root / "text.txt"
        self.text.write_text(SPEECH.read_text(encoding="utf-8")[:6000], encoding="utf-8")
        prompts = ("Where is the sea?", "Who counted the coins?", "What fell on the harbour?")
        self.prompts = write_rows(self.root / "prompts.jsonl", [{"prompt": one} for one in prompts])
        rows = [{"prompt": one, "text": TEXT[i * 9 :]} for i, one in enumerate(prompts)]
        self.probes = write_rows(self.root / "probes.jsonl", rows)
        self.accounts = self.root / "ids.txt"
        self.accounts.write_text(f"acct-0\n{ACCOUNT}\n")

    def holder(self, path: Path) -> Path:
        self.holders.add(path)
        return path

    @property
    def case(self) -> Path:
        self.holder(self.root / "case" / "signer.pem")
        return self.root / "case"

    @property
    def keys(self) -> Path:
        """A directory of keys alone."""
        directory = self.root / "keys"
        directory.mkdir(exist_ok=True)
        path = self.holder(directory / "one.key")
        if not path.exists():
            Key.load(self.account).save(path)
        return directory

    def secrets(self) -> dict[str, bytes]:
        """All there are by now, as bytes."""
        found = {"the API key": API_KEY.encode()}
        for path in (path for path in self.holders if path.exists()):
            name, data = path.relative_to(self.root), path.read_bytes()
            if path.suffix == ".pem":
                key = load_pem_private_key(data, None)
                found[f"{name}"] = key.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
                continue
            found[f"{name}, secret"] = bytes.fromhex(json.loads(data)["secret"])
            found[f"{name}, ChaCha20 key"] = Key.load(path).chacha_key
        return found


def commits(w: World) -> Arguments:
    accounts = ["--account", ACCOUNT, "--account", "acct-0"]
    files = ["-o", w.root / "commitment.json", "--leaves", w.root / "leaves.json"]
    return ["key", "commit", w.owner, *accounts, *files, "--case", w.case]


def plans(w: World) -> Arguments:
    committed = ["--commitment", w.root / "commitment.json", "--leaves", w.root / "leaves.json"]
    files = ["-o", w.root / "plan.json", "--probes", w.prompts, "--case", w.case]
    return ["plan", *files, "--key", w.account, *committed, "--effect", 0.5, "--decoys", 9]


def asks(w: World) -> Arguments:
    where = ["--api", w.server.url, "--model-name", "m", "--log", w.root / "log", "--give-up-after", 0]
    return ["suspect", "--key", w.account, "--probes", w.prompts, *where, "--case", w.case]


def detects(w: World) -> Arguments:
    return ["detect", "--key", w.account, w.text, "--case", w.case]


def seals(w: World, *more: object) -> Arguments:
    return ["seal", w.case, "-o", w.root / "bundle.zip", *more]


def reads(w: World) -> Arguments:
    return ["suspect", "--key", w.account, "--model", w.model, "--probes", w.probes, "--case", w.case]


def keygens(w: World) -> Arguments:
    return ["keygen", "-o", w.holder(w.root / "new.key"), "--tokenizer", w.model]


def studies(w: World) -> Arguments:
    config = w.root / "study.toml"
    config.write_text(STUDY)
    w.holder(w.root / "study" / "keys" / "owner.key")  # a study goes on with the key it began with
    return ["simulate", config, "-o", w.root / "study", "--key", w.owner, "--model", w.model, "--workers", 1]


def demonstrates(w: World) -> Arguments:
    for name in ("owner.key", "account.key"):
        w.holder(w.root / "demo" / "keys" / name)
    return ["demo", "-o", w.root / "demo", "--model", w.model]


def validates(w: World) -> Arguments:
    small = ["--keys", 100, "--length", 30, "--length", 120]
    return ["validate", "-o", w.root / "validation", "--key", w.owner, *small]


Case = Callable[[World], list[Arguments]]  # commands, one after the other; the last is the one that is looked at
CASES: dict[tuple[str, ...], dict[str, Case]] = {
    ("keygen",): {"": lambda w: [keygens(w)]},
    ("key", "check"): {"": lambda w: [["key", "check", w.owner, SPEECH, "--case", w.case]]},
    ("key", "commit"): {"": lambda w: [commits(w)]},
    ("key", "derive"): {
        "": lambda w: [["key", "derive", w.owner, "--account", "x", "-o", w.holder(w.root / "x.key")]],
        "month": lambda w: [["key", "derive", w.account, "--epoch", MONTH, "-o", w.holder(w.root / "x.key")]],
    },
    ("key", "rotate"): {"": lambda w: [["key", "rotate", w.owner, "-o", w.holder(w.root / "x.key")]]},
    ("key", "show"): {"": lambda w: [["key", "show", w.account]]},
    ("model", "pull"): {"": lambda w: [["model", "pull", "smollm2", "-o", w.root / "pulled"]]},
    ("generate",): {
        "": lambda w: [
            ["generate", "--model", w.model, "--key", w.account, "--prompts", w.prompts, "-o", w.root / "answers.jsonl",
             "--max-new-tokens", 12]
        ],
    },
    ("detect",): {
        "": lambda w: [[*detects(w), "--scan", "--normalise", "--decoys", 9, "--highlight", w.root / "page.html"]],
        "each": lambda w: [[*detects(w), "--each"]],
        "corpus": lambda w: [
            ["detect", "--key", w.account, w.text, w.prompts.with_name("probes.jsonl"), "-o", w.root / "job",
             "--workers", 1]
        ],
    },
    ("suspect",): {
        "weights": lambda w: [[*reads(w), "--sample", 60, "--decoys", 9, "--save-reading", w.root / "reading.npz"]],
        "server": lambda w: [[*asks(w), "--sample", 60]],
        "plan": lambda w: [commits(w), plans(w), [*asks(w), "--plan", w.root / "plan.json"]],
    },
    ("attribute",): {
        "directory": lambda w: [["attribute", "--keys", w.keys, w.text]],
        "case": lambda w: [["attribute", "--keys", w.keys, w.text, "--key", w.account, "--case", w.case]],
        "owner": lambda w: [["attribute", "--owner", w.owner, "--accounts", w.accounts, "--epoch", MONTH, w.text]],
    },
    ("plan",): {"": lambda w: [commits(w), plans(w)]},
    ("case", "note"): {"": lambda w: [detects(w), ["case", "note", w.case, "the disk came from the court"]]},
    ("case", "show"): {"": lambda w: [detects(w), ["case", "show", w.case]]},
    ("seal",): {
        "": lambda w: [detects(w), seals(w)],
        "server": lambda w: [[*asks(w), "--sample", 60], seals(w)],
    },
    ("verify",): {"": lambda w: [detects(w), seals(w), ["verify", w.root / "bundle.zip"]]},
    ("validate",): {"": lambda w: [validates(w)]},
    ("report",): {
        "": lambda w: [detects(w), seals(w), ["report", w.root / "bundle.zip", "-o", w.root / "report.html"]]
    },
    ("simulate",): {"": lambda w: [studies(w)]},
    ("demo",): {"": lambda w: [demonstrates(w)]},
    ("doctor",): {"": lambda w: [["doctor"]]},
}  # fmt: skip
EVERY = [pytest.param(path, name, id=" ".join((*path, name)).strip()) for path in CASES for name in CASES[path]]


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if not isinstance(group, click.Group):
        yield path
        return
    ctx = click.Context(group)
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        yield from commands(command, (*path, name))


def options_of(path: tuple[str, ...]) -> set[str]:
    command: Any = taggant
    for name in path:
        command = command.get_command(click.Context(command), name)
    return {option for param in command.params for option in param.opts}


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("TAGGANT_API_KEY", API_KEY)
    monkeypatch.setenv("TAGGANT_DEBUG", "1")  # a crash shows its traceback
    monkeypatch.setattr(pipeline, "run_tasks", inline)
    monkeypatch.setattr(teacher, "_from_hub", lambda *_: None)  # nothing is fetched
    monkeypatch.setattr(teacher, "_from_wheel", lambda *_: None)
    monkeypatch.setattr("distill_sim.demo.condition.Condition", lambda seed: replace(CONDITION, seed=seed))
    monkeypatch.setattr("distill_sim.demo.run.parallelism", lambda: (1, 1))
    shrink(monkeypatch)
    with FakeServer(key=API_KEY, text=lambda q: f"{TEXT} my key is {API_KEY}, {q[1]} times over") as server:
        yield World(tmp_path, server)


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> Callable[[Arguments], Result]:
    """`taggant -v` in this process; what its own packages log counts as output."""
    for name in ("watermark", "detect", "distill_sim"):
        caplog.set_level(logging.DEBUG, name)
    return lambda arguments: Cli(capfd)("-v", *arguments)


def leaks(world: World, outputs: Sequence[Result], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Every secret that stands where none may."""
    own = {str(path.relative_to(world.root)) for path in world.holders}
    written = [(name, data) for name, data in files_below(world.root) if name not in own]
    for number, one in enumerate(outputs):
        written += [(f"stdout {number}", one.out.encode()), (f"stderr {number}", one.err.encode())]
    written.append(("the logs of the packages", caplog.text.encode()))
    return found_in(world.secrets(), written)


def test_every_command_has_a_case() -> None:
    assert set(commands(taggant)) == set(CASES)


@pytest.mark.parametrize(("path", "name"), EVERY)
def test_a_command_that_ends_well_and_once_more(
    path: tuple[str, ...], name: str, world: World, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """What it wrote is there then, so that most are refused the second time, and a wrong option always is."""
    steps = CASES[path][name](world)
    results = [run(step) for step in steps]
    assert all(one.code in (0, 4, 5) for one in results) or path == ("model", "pull"), results
    json_option = ["--json"] if "--json" in options_of(path) else []
    results += [run([*steps[-1], *json_option]), run([*steps[-1], "--no-such-option"]), run([*path, "--help"])]
    assert results[-2].code == 2
    assert leaks(world, results, caplog) == []


@pytest.mark.parametrize(("path", "name"), [one for one in EVERY if "--json" in options_of(one.values[0])])
def test_its_json(path: tuple[str, ...], name: str, world: World, run: Any, caplog: pytest.LogCaptureFixture) -> None:
    *before, last = CASES[path][name](world)
    results = [*map(run, before), run([*last, "--json"])]
    assert results[-1].out.lstrip().startswith("{"), results
    assert leaks(world, results, caplog) == []


def _colours(patch: pytest.MonkeyPatch) -> None:
    """Where a key is at work; the message holds what it was at work on."""

    def crash(*arguments: Any, **named: Any) -> None:
        raise RuntimeError(f"crashed with {arguments!r} and {named!r}")

    patch.setattr(GreenList, "__init__", crash)


def _key(patch: pytest.MonkeyPatch) -> None:
    """Once a key was read."""
    load = Key.load

    def crash(path: Path) -> Key:
        raise RuntimeError(f"crashed with {load(path)!r} {load(path)!s}")

    patch.setattr(Key, "load", crash)


def _end(patch: pytest.MonkeyPatch) -> None:
    """When the result is told."""
    echo = click.echo

    def crash(message: Any = None, *arguments: Any, err: bool = False, **named: Any) -> None:
        if not err:
            raise RuntimeError("crashed")
        echo(message, *arguments, err=err, **named)

    patch.setattr(click, "echo", crash)


@pytest.mark.parametrize("where", [_colours, _key, _end])
@pytest.mark.parametrize(("path", "name"), EVERY)
def test_a_command_that_crashes(
    path: tuple[str, ...],
    name: str,
    where: Callable[[pytest.MonkeyPatch], None],
    world: World,
    run: Any,
    caplog: pytest.LogCaptureFixture,
) -> None:
    *before, last = CASES[path][name](world)
    results = [run(step) for step in before]
    with pytest.MonkeyPatch.context() as patch:
        where(patch)
        results.append(run(last))
    if results[-1].code == 70:
        assert "Traceback" in results[-1].err
    elif where is _end and path not in (("generate",), ("report",)):  # which tell nothing on stdout
        assert results[-1].code != 0, results
    assert leaks(world, results, caplog) == []


def _cut(content: str) -> str:
    return content.rstrip()[:-1]


def _twice(content: str) -> str:
    return content.replace('"secret"', f'"secret": "{json.loads(content)["secret"]}", "secret"', 1)


def _renamed(content: str) -> str:
    return content.replace('"secret"', '"secrets"', 1)


def _longer(content: str) -> str:
    return content.replace(json.loads(content)["secret"], f"{json.loads(content)['secret']}00", 1)


@pytest.mark.parametrize(("path", "name"), EVERY)
def test_a_key_file_that_is_damaged(
    path: tuple[str, ...], name: str, world: World, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    *before, last = CASES[path][name](world)
    results = [run(step) for step in before]
    whole = {file: file.read_text() for file in world.holders if file.suffix == ".key" and file.exists()}
    if not any(file in last or file.parent in last for file in whole):
        pytest.skip("it reads no key")
    for damage in (_cut, _twice, _renamed, _longer):
        for file, content in whole.items():
            file.write_text(damage(content))
        results.append(run(last))
        assert results[-1].code == 5, results[-1]
    for file, content in whole.items():
        file.write_text(content)
    assert leaks(world, results, caplog) == []


@pytest.mark.parametrize("status", [401, 500])
def test_a_server_that_refuses_and_repeats_the_api_key(
    status: int, world: World, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(handler: Any, _: Any) -> bool:
        handler.reply(status, {"error": {"message": f"no such key: {API_KEY}"}})
        return True

    world.server.misbehave = refuse
    results = [run([*asks(world), "--sample", 60]), run(seals(world))]
    assert [one.code for one in results] == [3, 0], results
    assert leaks(world, results, caplog) == []


def test_an_opened_bundle_holds_the_one_key_in_one_file(
    world: World, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """--open-key: the account's ChaCha20 key, and nothing that leads to another."""
    results = [run(detects(world)), run(seals(world, "--open-key", "--key", world.account))]
    assert [one.code for one in results] == [0, 0], results
    opened = "account.key, ChaCha20 key in bundle.zip, opening.json"
    assert leaks(world, results, caplog) == [opened]
