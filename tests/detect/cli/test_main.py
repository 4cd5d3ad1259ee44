"""What every command shares: lazy start, help, exit codes, one-line errors, quiet, pipes."""

from __future__ import annotations

import logging
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from detect.cli import failures, keys, plan
from detect.cli.main import COMMANDS, LazyGroup
from detect.cli.main import cli as root
from tests.detect.cli.helpers import EXECUTABLE, Cli, environment, execute, save_key
from watermark.errors import CommitmentError, InputError, KeyFileError, ModelError, TaggantError, UnsupportedError

SUBCOMMANDS = [
    *((name,) for name in COMMANDS),
    *(("key", name) for name in ("show", "derive", "commit", "check", "rotate")),
    ("model", "pull"),
    *(("case", name) for name in ("show", "note")),
]
GROUPS = ("key", "model", "case")
HEAVY = ("numpy", "torch", "transformers", "scipy", "numba", "cryptography", "watermark.keys", "pyarrow", "tqdm")


def modules_after(code: str, *names: str) -> set[str]:
    """Which of `names` a fresh interpreter has loaded after `code`."""
    script = f"import sys\n{code}\nprint(*[n for n in {names!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, env=environment(), check=True, text=True, timeout=60
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("arguments", [["--help"], ["detect", "--help"], ["suspect", "--help"], ["demo", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"from detect.cli.main import run\nassert run({arguments!r}) == 0"
    assert modules_after(code, "click", *HEAVY) == {"click"}


def test_all_commands_are_listed_in_the_order_of_a_first_day(cli: Cli) -> None:
    result = cli("--help")
    assert result.code == 0
    listed = result.out[result.out.index("Commands:") :]
    places = [listed.index(f"\n  {name} ") for name in COMMANDS]
    assert places == sorted(places)
    assert "Exit codes: 0 done" in result.out


@pytest.mark.parametrize("names", SUBCOMMANDS, ids=" ".join)
def test_every_command_explains_itself(names: tuple[str, ...], cli: Cli) -> None:
    for flag in ("--help", "-h"):
        result = cli(*names, flag)
        assert (result.code, result.err) == (0, "")
        assert result.out.startswith(f"Usage: taggant {' '.join(names)}")
    if names[0] not in GROUPS or len(names) > 1:
        assert "--quiet" in result.out
    assert all(line.strip() != "TEXT" for line in result.out.splitlines())


@pytest.mark.parametrize("names", SUBCOMMANDS, ids=" ".join)
def test_every_option_says_what_it_is(names: tuple[str, ...]) -> None:
    command: click.Command = root
    for name in names:
        assert isinstance(command, click.Group)
        found = command.get_command(click.Context(command), name)
        assert found is not None
        command = found
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    assert [option.name for option in options if not option.help] == []
    assert command.help


def test_forbidden_words_are_in_no_help(cli: Cli) -> None:
    for names in SUBCOMMANDS:
        words = cli(*names, "--help").out.lower()
        for word in ("proves", "match", "guilty", "caught", "thief", "certain", "confidence", "ngram", "hash_key"):
            assert word not in words, (names, word)


def test_version(cli: Cli) -> None:
    result = cli("--version")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("taggant, version ")


@pytest.mark.parametrize("arguments", [[], *([group] for group in GROUPS)], ids=str)
def test_a_group_alone_shows_its_help_on_stderr(arguments: list[str], cli: Cli) -> None:
    result = cli(*arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("Usage: taggant")
    assert "Commands:" in result.err


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["frobnicate"], ["No such command 'frobnicate'", "taggant --help"]),
        (["detct"], ["Did you mean 'detect'?", "taggant --help"]),
        (["key", "frobnicate"], ["No such command 'frobnicate'", "taggant key --help"]),
        (["--frobnicate"], ["No such option '--frobnicate'", "taggant --help"]),
        (["plan", "--frobnicate"], ["No such option '--frobnicate'", "taggant plan --help"]),
        (["plan", "extra"], ["extra", "taggant plan --help"]),
        (["detect"], ["Missing", "taggant detect --help"]),
        (["detect", "--key"], ["'--key' requires an argument", "taggant detect --help"]),
        (["model", "pull", "gpt5"], ["'gpt5' is not 'smollm2'", "taggant model pull --help"]),
        (["keygen", "-o", "x", "--profile", "loud"], ["'loud' is not one of", "taggant keygen --help"]),
    ],
    ids=str,
)
def test_bad_options_are_one_line_with_the_way_to_help(arguments: list[str], fragments: list[str], cli: Cli) -> None:
    cli(*arguments).refused(2, *fragments)


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (KeyFileError("the key"), 5, "the key"),
        (CommitmentError("the root"), 5, "the root"),
        (InputError("the text"), 3, "the text"),
        (ModelError("the model"), 3, "the model"),
        (UnsupportedError("the combination"), 3, "the combination"),
        (TaggantError("anything else"), 3, "anything else"),
        (FileNotFoundError(2, "No such file or directory", "x.txt"), 3, "x.txt: No such file or directory"),
        (OSError(28, "No space left on device"), 3, "No space left on device; free some and run the command again"),
        (click.ClickException("click's"), 3, "click's"),
        (MemoryError(), 70, "out of memory"),
        (ModuleNotFoundError("No module named 'numba'", name="numba"), 70, "numba cannot be imported"),
        (ModuleNotFoundError("x", name="watermark.keys"), 70, "the package 'watermark'"),
        (OSError("no number"), 70, "internal error (OSError)"),
        (EOFError(), 70, "internal error (EOFError)"),
        (ValueError("secret detail"), 70, "internal error (ValueError); please report it"),
        (KeyboardInterrupt(), 130, "interrupted; nothing is left half-written"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_errors_become_the_designs_exit_codes(
    error: BaseException, code: int, message: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(plan, "_table", fail)
    result = cli("plan")
    result.refused(code, message)
    assert "secret detail" not in result.err


def test_what_can_be_resumed_says_so() -> None:
    for command in ("generate", "demo"):
        assert "goes on from there" in failures.judge(KeyboardInterrupt(), command)[1]
    assert set(failures.RESUMABLE) < set(COMMANDS)


def test_a_developer_may_ask_for_the_traceback_of_an_internal_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("deep inside")

    monkeypatch.setattr(plan, "_table", fail)
    cli("plan").refused(70, "TAGGANT_DEBUG=1 shows where")
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    result = cli("plan")
    assert (result.code, result.out) == (70, "")
    assert "deep inside" in result.err
    assert "Traceback" in result.err
    assert result.err.splitlines()[-1].startswith("taggant: internal error (ZeroDivisionError)")


def test_a_traceback_cannot_steer_the_terminal(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("a\x1b[2Jb\u202ec\rd")

    monkeypatch.setattr(plan, "_table", fail)
    monkeypatch.setenv("TAGGANT_DEBUG", "1")
    result = cli("plan")
    assert "ZeroDivisionError: a⟨U+001B⟩[2Jb⟨U+202E⟩c⟨U+000D⟩d\n" in result.err
    assert result.err.startswith("Traceback")
    assert not {"\x1b", "\u202e", "\r"} & set(result.err)


WRITES = """
import signal, sys, time
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a parent under nohup ignores it
from detect.cli import plan
from detect.cli.main import main
from watermark.files import new_file
path = sys.argv.pop()
def write(*_):
    with new_file(path, mode=0o600) as handle:
        handle.write(b"half a secret")
        handle.flush()
        print("now", flush=True)
        time.sleep(60)
plan._table = write
sys.argv[1:] = ["plan"]
main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_cleans_up_and_is_told_by_the_exit_code(number: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITES, str(tmp_path / "file")]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "now\n"
        assert len(list(tmp_path.iterdir())) == 1
        process.send_signal(number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert errors == "taggant: interrupted; nothing is left half-written\n"
    assert list(tmp_path.iterdir()) == []


def test_nohup_keeps_its_meaning() -> None:
    code = (
        "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
        "from detect.cli.main import _clean_up_when_stopped\n_clean_up_when_stopped()\n"
        "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN, callable(signal.getsignal(signal.SIGTERM)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"


def test_an_error_message_cannot_steer_the_terminal(cli: Cli, tmp_path: Path) -> None:
    cli("key", "show", tmp_path / "a\x1b[2Jb\n\u202ec").refused(5, "a⟨U+001B⟩[2Jb ⟨U+202E⟩c does not exist")


def test_a_reader_that_leaves_is_no_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def leave(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(click, "echo", leave)
    assert cli("plan").code == 0
    assert cli("--help").code == 0


def test_head_takes_one_line_and_nothing_is_complained_about(key: Path, ids: Path) -> None:
    script = f"'{EXECUTABLE}' detect --key '{key}' '{ids}' --each | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment(), text=True, check=True)
    first, code = done.stdout.splitlines()
    assert first.startswith('{"id": "a"')
    assert (code, done.stderr) == ("0", "")


def test_a_reader_that_never_read_is_no_error_either() -> None:
    script = (
        f"'{EXECUTABLE}' plan | true; echo ${{PIPESTATUS[0]}}; '{EXECUTABLE}' --help | true; echo ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment(), text=True, check=True)
    assert (done.stdout.split(), done.stderr) == (["0", "0"], "")


@pytest.mark.parametrize("command", ["plan", "plan --json", "--help"])
def test_a_full_stdout_is_refused_output(command: str) -> None:
    script = f"'{EXECUTABLE}' {command} > /dev/full"
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment(), text=True, check=False)
    assert done.returncode == 3
    assert done.stderr.startswith("taggant: ")
    assert done.stderr.count("\n") == 1
    assert "No space left on device" in done.stderr


@pytest.mark.parametrize(
    ("redirection", "code"), [("plan >&-", 0), ("plan 2>&-", 0), ("nope 2>&-", 2), ("nope 2>/dev/full", 2)]
)
def test_closed_and_full_streams_change_no_exit_code(redirection: str, code: int) -> None:
    done = subprocess.run(["bash", "-c", f"'{EXECUTABLE}' {redirection}"], capture_output=True, env=environment())
    assert done.returncode == code
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr
    if code:
        assert done.stdout == b""


def test_a_closed_stdin_is_named(key: Path) -> None:
    script = f"'{EXECUTABLE}' detect --key '{key}' - <&-"
    done = subprocess.run(["bash", "-c", script], capture_output=True, env=environment(), text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "taggant: standard input is closed; give files, or pipe something in\n"


@pytest.mark.parametrize("place", ["before", "after"])
def test_quiet_silences_notes_before_and_after_the_command(place: str, cli: Cli, tmp_path: Path) -> None:
    assert "No --tokenizer" in cli("keygen", "-o", tmp_path / "loud.key").err
    arguments = ["keygen", "-o", tmp_path / f"{place}.key"]
    result = cli("-q", *arguments) if place == "before" else cli(*arguments, "-q")
    assert (result.code, result.err) == (0, "")
    assert "key_id" in result.out


def test_quiet_does_not_silence_errors(cli: Cli, tmp_path: Path) -> None:
    cli("-q", "key", "show", tmp_path / "none", "--quiet").refused(5, "does not exist")


def test_logs_of_our_packages_are_notes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: list(logging.getLogger(name).handlers) for name in ("watermark", "detect", "distill_sim")}

    def chatty(*_: object) -> str:
        logging.getLogger("watermark.engines.models").warning("weights \x1b[31mare not used")
        return "table"

    monkeypatch.setattr(plan, "_table", chatty)
    assert cli("plan") == (0, "table\n", "weights ⟨U+001B⟩[31mare not used\n")
    assert cli("-q", "plan") == (0, "table\n", "")
    assert before == {name: list(logging.getLogger(name).handlers) for name in before}


def test_nothing_is_coloured(key: Path, ids: Path) -> None:
    for changes in ({}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1"}):
        result = execute("detect", "--key", key, ids, **changes)
        assert result.code == 0
        assert "\x1b" not in result.out + result.err


def test_output_survives_a_terminal_that_knows_ascii_only(key: Path) -> None:
    result = execute("key", "show", key, PYTHONIOENCODING="ascii", LC_ALL="C", PYTHONUTF8="0")
    assert (result.code, result.err) == (0, "")
    assert result.out.startswith("key_id")


def test_shell_completion_prints_a_script_and_completes(tmp_path: Path) -> None:
    script = execute(_TAGGANT_COMPLETE="bash_source")
    assert (script.code, script.err) == (0, "")
    assert "complete -o nosort -F _taggant_completion taggant" in script.out
    for words, expected in (
        ("taggant ", [f"plain,{name}" for name in COMMANDS]),
        ("taggant de", ["plain,detect", "plain,demo"]),
        ("taggant key r", ["plain,rotate"]),
        ("taggant keygen --prof", ["plain,--profile"]),
        ("taggant keygen --profile d", ["plain,discreet"]),
        ("taggant suspect --model ", ["dir,"]),
        ("taggant detect ./x", ["file,./x"]),
    ):
        number = str(len(words.split(" ")) - 1)
        result = execute(_TAGGANT_COMPLETE="bash_complete", COMP_WORDS=words, COMP_CWORD=number)
        assert (result.code, result.err, result.out.split()) == (0, "", expected), words


def test_completion_of_subcommands_loads_nothing_heavy() -> None:
    code = (
        "import os\nos.environ.update(_TAGGANT_COMPLETE='bash_complete', COMP_WORDS='taggant key ', COMP_CWORD='2')\n"
        "from detect.cli.main import run\ntry:\n    run([])\n"
        "except SystemExit as leaving:\n    assert leaving.code == 0"
    )
    assert modules_after(code, "click", *HEAVY) == {"click"}


def test_keygen_without_a_tokenizer_loads_no_torch(tmp_path: Path) -> None:
    code = f"from detect.cli.main import run\nassert run(['keygen', '-o', {str(tmp_path / 'k.key')!r}]) == 0"
    assert modules_after(code, "watermark.keys", "torch", "transformers", "scipy", "numba") == {"watermark.keys"}
    assert (tmp_path / "k.key").is_file()


def test_detect_on_token_ids_loads_neither_torch_nor_transformers(key: Path, ids: Path) -> None:
    arguments = ["detect", "--key", str(key), str(ids), "--decoys", "3", "--each"]
    code = f"from detect.cli.main import run\nassert run({arguments!r}) == 0"
    names = ("numpy", "torch", "transformers", "tokenizers", "pyarrow")
    assert modules_after(code, *names) == {"numpy"}


def test_the_executable_hides_libraries_warnings_and_the_rest_of_main_works(tmp_path: Path) -> None:
    save_key(tmp_path / "k", bare=True)
    result = execute("key", "show", tmp_path / "k", "--json")
    assert result.json()["scheme"] == "greenlist/1"
    missing = execute("key", "show", tmp_path / "none")
    missing.refused(5, "none does not exist")


def test_commands_are_found_by_name_and_only_known_ones() -> None:
    group = LazyGroup()
    context = click.Context(group)
    assert group.get_command(context, "keygen") is keys.keygen
    assert group.get_command(context, "os") is None


def test_ctrl_c_before_anything_has_begun_leaves_no_traceback(tmp_path: Path) -> None:
    """The program interrupts itself where the first heavy module would be imported."""
    stand_in = tmp_path / "click.py"
    stand_in.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import detect.cli.entry as e; "
    done = subprocess.run(
        [sys.executable, "-c", f"{code}import sys; sys.path.insert(0, {str(tmp_path)!r}); e.main()"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
