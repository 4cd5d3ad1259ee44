"""Rows become token ids; what is skipped or suspicious is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.readers import Collection, Row, encoding, tokenized
from detect.readers.remarks import Remarks, Skipped
from tests import tiny
from tests.detect.readers.helpers import never, write
from watermark.engines.models import load_tokenizer
from watermark.errors import InputError


def absent() -> Any:
    raise InputError("no tokenizer is named")


class TestTokenized:
    @staticmethod
    def count_loads(tokenizer: Any) -> tuple[Callable[[], Any], list[int]]:
        loads: list[int] = []

        def load() -> Any:
            loads.append(1)
            return tokenizer

        return load, loads

    def test_text_becomes_plain_ids(self, tokenizer: Any) -> None:
        texts = [*tiny.SENTENCES, "naïve ✓ 中文", "a\n\nb"]
        collection = tokenized((Row(str(i), "", text) for i, text in enumerate(texts)), 1, lambda: tokenizer)
        assert [tokenizer.decode(ids.tolist()) for ids in collection.documents] == texts
        for ids, text in zip(collection.documents, texts, strict=True):
            assert ids.dtype == np.uint32
            assert ids.tolist() == tokenizer(text, add_special_tokens=False)["input_ids"]
        assert collection.ids == [str(i) for i in range(len(texts))]
        assert collection.prompts == []
        assert collection.remarks == Remarks(documents=len(texts))
        assert collection.tokenizer is tokenizer
        assert collection.texts is None

    def test_no_special_tokens_are_added(self) -> None:
        from tokenizers import processors

        adding = load_tokenizer(tiny.shared())
        adding.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
        )
        assert adding("The boats")["input_ids"][0] == 1
        (ids,) = tokenized([Row("a", "", "The boats")], 1, lambda: adding).documents
        assert adding.decode(ids.tolist()) == "The boats"

    def test_ids_win_and_need_no_tokenizer(self) -> None:
        rows = [Row("a", "", "text", np.array([1, 2], np.uint32), "prompt", np.array([3], np.uint32))]
        collection = tokenized(rows, 1, absent)
        assert [ids.tolist() for ids in collection.documents] == [[1, 2]]
        assert [ids.tolist() for ids in collection.prompts] == [[3]]
        assert collection.tokenizer is None
        (note,) = collection.notes
        assert note.startswith("1 document with text beside token_ids, counted by the ids: whether they are the text")
        assert tokenized([Row("a", "", token_ids=np.array([1, 2], np.uint32))], 1, never).notes == ()

    def test_texts_that_hide_their_tokens_are_told(self, tokenizer: Any) -> None:
        plain, hidden = " ".join(tiny.SENTENCES), " ".join(tiny.SENTENCES).replace(" ", "  ")
        rows = [Row("a", "", plain), Row("b", "", hidden), Row("c", "", plain.replace("e", "e\u200b"))]
        (note,) = tokenized(rows, 1, lambda: tokenizer).notes
        assert note.startswith("2 texts with invisible or lookalike characters or odd spaces, which can hide a mark")
        assert "--normalise" in note
        assert tokenized(rows[:1], 1, lambda: tokenizer).notes == ()

    def test_a_mixture_keeps_its_order(self, tokenizer: Any) -> None:
        def ids_of(text: str) -> list[int]:
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        given = np.array([9, 8, 7], np.uint32)
        rows = [
            Row("a", "", "The rain fell", prompt="What is"),
            Row("b", "", token_ids=given, prompt="the moon"),
            Row("c", "", "the boats", prompt_ids=given),
            Row("d", "", "the coins"),
        ]
        load, loads = self.count_loads(tokenizer)
        collection = tokenized(rows, 1, load, keep_texts=True)
        expected = [ids_of("The rain fell"), [9, 8, 7], ids_of("the boats"), ids_of("the coins")]
        assert [ids.tolist() for ids in collection.documents] == expected
        prompts = [ids_of("What is"), ids_of("the moon"), [9, 8, 7], []]
        assert [ids.tolist() for ids in collection.document_prompts] == prompts
        assert [ids.tolist() for ids in collection.prompts] == prompts[:3]
        assert collection.texts == ["The rain fell", None, "the boats", "the coins"]
        assert loads == [1]

    def test_many_rows_in_several_batches(self, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        rows = [Row(str(i), "", f"{i} coins and boats", prompt=f"count {i}" if i % 3 else None) for i in range(500)]
        whole = tokenized(rows, 1, lambda: tokenizer)
        monkeypatch.setattr(encoding, "BATCH", 300)
        monkeypatch.setattr(encoding, "BATCH_ITEMS", 7)
        load, loads = self.count_loads(tokenizer)
        batched = tokenized(iter(rows), 1, load)
        assert loads == [1]
        for one, other in ((whole.documents, batched.documents), (whole.prompts, batched.prompts)):
            assert [ids.tolist() for ids in one] == [ids.tolist() for ids in other]
        assert len(batched.documents) == 500
        assert tokenizer.decode(batched.documents[321].tolist()) == "321 coins and boats"

    @pytest.mark.parametrize("limit", ["truncation", "padding"])
    def test_limits_in_the_tokenizer_file_do_not_act(self, tokenizer: Any, limit: str) -> None:
        limited = load_tokenizer(tiny.shared())
        if limit == "truncation":
            limited.backend_tokenizer.enable_truncation(4)
        else:
            limited.backend_tokenizer.enable_padding(length=200)
        rows = [Row("a", "", " ".join(tiny.SENTENCES)), Row("b", "", "The coins")]
        expected = tokenized(rows, 1, lambda: tokenizer)
        assert len(expected.documents[0]) > 10
        for ids, other in zip(tokenized(rows, 1, lambda: limited).documents, expected.documents, strict=True):
            assert ids.tolist() == other.tolist()

    def test_a_slow_tokenizer(self, tokenizer: Any) -> None:
        class Slow:
            def __call__(self, texts: list[str], **options: Any) -> Any:
                assert options["add_special_tokens"] is False
                return {"input_ids": [[ord(char) for char in text] for text in texts]}

        (ids,) = tokenized([Row("a", "", "abc")], 1, Slow).documents
        assert ids.tolist() == [97, 98, 99]


class TestSkipping:
    @staticmethod
    def rows(*lengths: int) -> list[Row]:
        return [Row(f"d{i}", "", token_ids=np.arange(n, dtype=np.uint32)) for i, n in enumerate(lengths)]

    @pytest.mark.parametrize("width", range(9))
    def test_h_plus_one_tokens_are_needed(self, width: int) -> None:
        collection = tokenized(self.rows(width + 1, width, 20, 0), width, never)
        assert [len(ids) for ids in collection.documents] == [width + 1, 20]
        assert collection.ids == ["d0", "d2"]
        least = "1 token" if width == 0 else f"{width + 1} tokens"
        assert collection.remarks.skipped == {f"shorter than {least}": Skipped(2, "d1")}
        assert collection.notes == (f"2 documents skipped: shorter than {least} (first: d1)",)

    def test_nothing_skipped_no_notes(self) -> None:
        assert tokenized(self.rows(5), 1, never).notes == ()
        assert Collection().notes == ()

    def test_prompts_of_skipped_rows_are_still_excluded(self) -> None:
        prompt = np.array([4, 5], np.uint32)
        rows = [
            *self.rows(5),
            Row("short", "", token_ids=prompt[:1], prompt_ids=prompt),
            Row("p", "", prompt_ids=prompt),
        ]
        collection = tokenized(rows, 1, never)
        assert [ids.tolist() for ids in collection.prompts] == [[4, 5], [4, 5]]
        assert [ids.tolist() for ids in collection.document_prompts] == [[]]
        assert collection.notes == (
            "1 document skipped: shorter than 2 tokens (first: short)",
            "1 document skipped: no text or token_ids (first: p)",
        )

    @pytest.mark.parametrize(
        ("rows", "expected"),
        [
            ([], "there are no documents"),
            (rows(1), "d0 has 1 token; at least 2 are needed (the 1 token of context, and one more)"),
            (rows(0), "d0 has 0 tokens; at least 2 are needed"),
            (rows(0, 1), "all 2 documents are too short: the longest, d1, has 1 token; at least 2 are needed"),
            ([Row("p", "", prompt_ids=np.array([1], np.uint32))], "none of 1 row holds text or token_ids"),
        ],
    )
    def test_nothing_left_is_refused(self, rows: list[Row], expected: str) -> None:
        with pytest.raises(InputError) as caught:
            tokenized(rows, 1, never)
        assert expected in str(caught.value)

    def test_an_empty_text(self, tokenizer: Any) -> None:
        with pytest.raises(InputError, match=r"^empty.txt has 0 tokens"):
            tokenized([Row("empty.txt", "", "")], 0, lambda: tokenizer)

    def test_hostile_ids_in_notes(self) -> None:
        rows = [*self.rows(5), Row("x\n\x1b[2J\u202e" + "y" * 5000, "", token_ids=np.zeros(0, np.uint32))]
        (note,) = tokenized(rows, 1, never).notes
        assert "x⟨U+000A⟩⟨U+001B⟩[2J⟨U+202E⟩yyy" in note
        assert note.isprintable()
        assert len(note) < 300


def test_ids_are_read_without_torch_transformers_or_pyarrow(tmp_path: Path) -> None:
    path = write(tmp_path / "x.jsonl", {"token_ids": [1, 2, 3]})
    program = (
        "import sys; from detect.readers import read_rows, tokenized\n"
        f"collection = tokenized(read_rows([{str(path)!r}]), 1, None)\n"
        "print(len(collection.documents), {'torch', 'transformers', 'pyarrow', 'scipy', 'numba'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1 set()"


def test_markup_is_noted() -> None:
    """A marked text in HTML may be missed: markup is counted, too."""
    texts = (" <!DOCTYPE html><p>words", "<HTML>words", "a < b")
    rows = [Row(name, name, text=text) for name, text in zip("abc", texts, strict=True)]
    tokenizer = load_tokenizer(tiny.shared())
    found = tokenized(rows, 1, lambda: tokenizer)
    assert [note for note in found.notes if "HTML" in note] == [
        "2 texts in HTML: the markup was counted, too, and can hide a mark; give text alone"
    ]
    assert not any("HTML" in note for note in tokenized(rows[2:], 1, lambda: tokenizer).notes)
