"""The README is checked against the program: its commands exist, its options are real, its Python runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest

from detect.cli.main import COMMANDS, cli
from tests import tiny

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def shell_commands() -> list[str]:
    """Lines after `$ `, continued lines joined, comments and redirections cut."""
    text = "\n".join(blocks("console")).replace("\\\n", " ")
    lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
    return [re.split(r"\s+#|\s+[>|]", line)[0].strip() for line in lines]


def test_the_readme_has_commands() -> None:
    assert {"make demo", "make test"} <= set(shell_commands())
    assert sum(line.startswith("taggant ") for line in shell_commands()) >= 5


@pytest.mark.parametrize("line", sorted({line for line in shell_commands() if line.startswith("make ")}))
def test_make_targets_exist(line: str) -> None:
    for target in shlex.split(line)[1:]:
        assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("line", sorted({line for line in shell_commands() if "taggant " in line}))
def test_taggant_commands_parse(line: str) -> None:
    """Every option and the number of arguments are what the program takes; nothing is run."""
    words = shlex.split(line[line.index("taggant ") :])[1:]
    context = click.Context(cli, **cli.context_settings)  # else the commands would keep its names of --help
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        found = command.get_command(context, words.pop(0))
        assert found is not None, line
        command = found
    if not isinstance(command, click.Group):
        command.make_context(command.name, words, parent=context, resilient_parsing=False)


def test_every_command_is_in_the_table() -> None:
    for name in COMMANDS:
        assert re.search(rf"`taggant {name}", README), name


def test_figures_are_short_lines() -> None:
    """A cell is a line of a page; what needs more words stands in docs/, where the links lead."""
    figures = README[README.index("## Figures") : README.index("## For developers")]
    cells = [cell.strip() for line in figures.splitlines() if line.startswith("|") for cell in line.split("|")]
    assert len(cells) > 100
    assert max(map(len, cells)) <= 100
    assert "docs/simulator.md#figures-of-two-studies" in figures
    assert "\n## Figures of two studies\n" in (ROOT / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_the_python_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks are run in order on a tiny model, with the names a reader is expected to have."""
    import torch

    from watermark import Key
    from watermark.engines.models import load_model, load_tokenizer

    monkeypatch.chdir(tmp_path)
    model, tokenizer = load_model(tiny.shared()), load_tokenizer(tiny.shared())
    Key.generate(tokenizer=tokenizer).save("account.key")
    prompt_ids = tokenizer("one two three", add_special_tokens=False)["input_ids"]
    answer_ids = tokenizer("four five six seven", add_special_tokens=False)["input_ids"]
    names = {
        "model": model,
        "tokenizer": tokenizer,
        "base_model": load_model(tiny.shared()),
        "inputs": {"input_ids": torch.tensor([prompt_ids]), "max_new_tokens": 4},
        "prompt_ids": prompt_ids,
        "answer_ids": answer_ids,
        "unmarked_answer_ids": answer_ids,
        "unmarked_prompt_ids": prompt_ids,
        "questioned_model": model,
    }
    source = "\n".join(blocks("python")).replace(", …]", "]")
    assert "GreenListProcessor" in source
    assert "read_model" in source
    exec(compile(source, "README.md", "exec"), names)  # noqa: S102
    assert names["evidence"].test == "reading"  # type: ignore[attr-defined]
