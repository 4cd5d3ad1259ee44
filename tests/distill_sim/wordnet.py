"""A WordNet of four sets of synonyms, in the files and the format of the real one."""

from __future__ import annotations

from pathlib import Path

SETS = {
    "noun": (("dog", "hound"), ("house", "home")),
    "verb": (("see", "view"),),
    "adj": (("big", "large"),),
    "adv": (),
}
LETTERS = {"noun": "n", "verb": "v", "adj": "a", "adv": "r"}


def write(directory: Path) -> Path:
    """Returns `directory`, with an index and a data file for every part of speech."""
    for name, sets in SETS.items():
        data, index = "  1 This stands for WordNet's licence.  \n", ["  1 As here.  \n"]
        for words in sets:
            members = " ".join(f"{word} 0" for word in words)
            for word in words:
                index.append(f"{word} {LETTERS[name]} 1 0 1 1 {len(data):08d}  \n")
            data += f"{len(data):08d} 03 {LETTERS[name]} {len(words):02x} {members} 000 | a gloss  \n"
        (directory / f"data.{name}").write_text(data, encoding="ascii")
        (directory / f"index.{name}").write_text("".join(index), encoding="ascii")
    return directory
