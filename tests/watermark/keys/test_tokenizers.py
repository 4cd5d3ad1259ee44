"""Tokenizer identities, against hashes computed by hand and a real transformers tokenizer."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.watermark.keys.helpers import assert_one_line, make_key
from watermark.errors import KeyFileError, TokenizerMismatchError, UnsupportedError
from watermark.keys import Key, TokenizerIdentity
from watermark.keys.tokenizers import check_vocabulary, tokens_sha256, vocabulary_of


class FakeTokenizer:
    """What is asked of a transformers tokenizer, and no more. `special` are ids; other added ids are ordinary."""

    def __init__(
        self,
        tokens: list[str | None],
        special: tuple[int, ...] = (),
        added: tuple[int, ...] = (),
        name: object = "fake",
    ) -> None:
        self.tokens = tokens
        self.name_or_path = name
        self.added_tokens_decoder = {
            i: SimpleNamespace(content="", special=i in special) for i in sorted({*special, *added}, reverse=True)
        }
        self.calls = 0

    def __len__(self) -> int:
        return len(self.tokens)

    def convert_ids_to_tokens(self, ids: list[int]) -> list[str | None]:
        self.calls += 1
        return [self.tokens[i] for i in ids]


def by_hand(tokens: list[str | None], special: tuple[int, ...]) -> str:
    digest = hashlib.sha256()
    for token in tokens:
        data = b"" if token is None else token.encode("utf-8")
        digest.update(bytes([len(data) % 256, len(data) // 256, 0, 0]) + data)
    for i in special:
        digest.update(bytes([i % 256, i // 256 % 256, i // 65536, 0]))
    return digest.hexdigest()


def test_a_hash_written_out() -> None:
    data = b"\x01\0\0\0a" + b"\0\0\0\0" + b"\x02\0\0\0\xc3\xa9" + b"\x03\0\0\0</s>"[:-1] + b"\x02\0\0\0"
    tokens = ["a", None, "é", "</s"]
    assert tokens_sha256(tokens, (2,)) == hashlib.sha256(data).hexdigest()


def test_identity_of_a_tokenizer() -> None:
    tokens = ["<s>", "é", "e\u0301", None, "Ġthe", "", "<pad>"]
    tokenizer = FakeTokenizer(tokens, special=(6, 0), added=(4,))
    identity = TokenizerIdentity.of(tokenizer)
    assert identity == TokenizerIdentity("fake", by_hand(tokens, (0, 6)), 7, (0, 6))
    assert tokenizer.calls == 1
    assert TokenizerIdentity.of(identity) is identity


@given(
    st.lists(
        st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"]), max_size=300)), min_size=1, max_size=20
    ),
    st.data(),
)
def test_the_hash_agrees_with_one_by_hand(tokens: list[str | None], draw: st.DataObject) -> None:
    special = tuple(sorted(draw.draw(st.sets(st.integers(0, len(tokens) - 1)))))
    assert TokenizerIdentity.of(FakeTokenizer(tokens, special)).sha256 == by_hand(tokens, special)


def test_tokens_are_not_normalised() -> None:
    composed, decomposed = (TokenizerIdentity.of(FakeTokenizer([t])) for t in ("\u00e9", "e\u0301"))
    assert composed.sha256 != decomposed.sha256


def test_what_changes_the_hash() -> None:
    variants = [
        FakeTokenizer(["ab", "c", "d"], (2,)),
        FakeTokenizer(["a", "bc", "d"], (2,)),
        FakeTokenizer(["c", "ab", "d"], (2,)),
        FakeTokenizer(["ab", "c", "d"], (1,)),
        FakeTokenizer(["ab", "c", "d"]),
        FakeTokenizer(["ab", "c", "d", None], (2,)),
    ]
    assert len({TokenizerIdentity.of(t).sha256 for t in variants}) == len(variants)


def test_a_hole_is_an_empty_string() -> None:
    assert TokenizerIdentity.of(FakeTokenizer(["a", None])) == TokenizerIdentity.of(FakeTokenizer(["a", ""]))


@pytest.mark.parametrize(
    ("given_name", "kept"),
    [
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "HuggingFaceTB/SmolLM2-135M-Instruct"),
        ("gpt2", "gpt2"),
        ("", ""),
        (None, ""),
        ("a\nb\x1b[31m", ""),
        ("n" * 5000, ""),
    ],
)
def test_a_name_is_kept_as_it_is_or_not_at_all(given_name: object, kept: str) -> None:
    assert TokenizerIdentity.of(FakeTokenizer(["a"], name=given_name)).name == kept


def test_a_directory_is_named_so_that_it_can_be_loaded_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "smollm2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for name in ("models/smollm2", "./models/smollm2/", tmp_path / "models" / "smollm2"):
        assert TokenizerIdentity.of(FakeTokenizer(["a"], name=name)).name == str(tmp_path / "models" / "smollm2")


def test_special_ids_beyond_the_length_are_refused() -> None:
    tokenizer = FakeTokenizer(["a", "b"], special=(2,))
    with pytest.raises(UnsupportedError, match="special id 2") as caught:
        TokenizerIdentity.of(tokenizer)
    assert_one_line(caught.value)


def test_a_tokenizer_that_cannot_list_its_tokens() -> None:
    tokenizer = FakeTokenizer(["a"])
    tokenizer.convert_ids_to_tokens = lambda ids: ids[99]  # type: ignore[method-assign]
    with pytest.raises(UnsupportedError, match="IndexError"):
        TokenizerIdentity.of(tokenizer)
    tokenizer.convert_ids_to_tokens = lambda ids: ["a", "b"]  # type: ignore[method-assign]
    with pytest.raises(UnsupportedError, match="lists 2 tokens but claims 1"):
        TokenizerIdentity.of(tokenizer)


def test_an_empty_tokenizer_is_refused() -> None:
    with pytest.raises(KeyFileError, match="vocab_size"):
        TokenizerIdentity.of(FakeTokenizer([]))


def test_json_round_trip() -> None:
    identity = TokenizerIdentity.of(FakeTokenizer(["a", "b", "c"], special=(0, 2)))
    document = identity.to_json()
    assert document == {"name": "fake", "sha256": identity.sha256, "vocab_size": 3, "special_ids": [0, 2]}
    assert TokenizerIdentity.from_json(document) == identity


def test_keys_are_made_for_and_checked_against_tokenizers() -> None:
    tokenizer, other = FakeTokenizer(["a", "b"], (1,)), FakeTokenizer(["b", "a"], (1,))
    key = Key.generate(tokenizer=tokenizer)
    assert key.tokenizer == TokenizerIdentity.of(tokenizer)
    assert key.special_ids == (1,)
    key.check_tokenizer(tokenizer)
    with pytest.raises(TokenizerMismatchError):
        key.check_tokenizer(other)
    make_key(tokenizer=None).check_tokenizer(other)


def test_128k_tokens_take_no_time() -> None:
    tokenizer = FakeTokenizer([f"token{i}" for i in range(128_000)], special=tuple(range(100)))
    start = time.process_time()
    TokenizerIdentity.of(tokenizer)
    assert time.process_time() - start < 1  # about 0.05 s; wide, for a busy machine


def test_a_transformers_tokenizer() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")
    vocabulary = {"<unk>": 0, "the": 1, "café": 2, "hole-follows": 3}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>")
    fast.add_tokens(["ordinary"])
    fast.add_special_tokens({"eos_token": "<eos>"})
    identity = TokenizerIdentity.of(fast)
    tokens: list[str | None] = ["<unk>", "the", "café", "hole-follows", "ordinary", "<eos>"]
    assert identity == TokenizerIdentity(identity.name, by_hand(tokens, (0, 5)), 6, (0, 5))
    key = Key.generate(tokenizer=fast)
    fast.add_tokens(["later"])
    with pytest.raises(TokenizerMismatchError):
        key.check_tokenizer(fast)


# --- what shows the special ids ---


def vocabulary_by_hand(tokens: list[str | None]) -> bytes:
    return b"".join(bytes([len(t), 0, 0, 0]) + t for t in ((token or "").encode() for token in tokens))


def test_the_vocabulary_and_the_special_ids_are_what_the_hash_is_of() -> None:
    tokens, special = ["a", None, "é", "</s"], (2,)
    vocabulary = vocabulary_of(FakeTokenizer(tokens, special))
    assert vocabulary == vocabulary_by_hand(tokens)
    check_vocabulary(vocabulary, special, 4, by_hand(tokens, special))
    for ids in ((), (1,), (3,), (1, 2), (2, 3)):
        with pytest.raises(KeyFileError, match="said to be special"):
            check_vocabulary(vocabulary, ids, 4, by_hand(tokens, special))


@given(
    st.lists(st.text(st.characters(min_codepoint=0, max_codepoint=300), max_size=6), min_size=1, max_size=8),
    st.sets(st.integers(0, 40), max_size=6),
)
def test_nothing_but_these_tokens_and_ids_passes(tokens: list[str], ids: set[int]) -> None:
    """Wherever else in the hashed bytes the border between tokens and ids is put, whatever size is said."""
    special = tuple(sorted(ids))
    vocabulary = vocabulary_by_hand([*tokens, "end"])
    sha256, whole = by_hand([*tokens, "end"], special), vocabulary + b"".join(i.to_bytes(4, "little") for i in special)
    passed = []
    for border in range(len(whole) + 1):
        rest = whole[border:]
        if len(rest) % 4:
            continue
        others = tuple(int.from_bytes(rest[i : i + 4], "little") for i in range(0, len(rest), 4))
        for size in range(1, len(tokens) + len(special) + 3):
            if list(others) != sorted(set(others)) or (others and others[-1] >= max(size, 41)):
                continue  # no list of special ids
            with contextlib.suppress(KeyFileError):
                check_vocabulary(whole[:border], others, size, sha256)
                passed.append((border, size))
    assert passed == [(len(vocabulary), len(tokens) + 1)]


@pytest.mark.parametrize("last", ["", None, "a\0"], ids=repr)
def test_a_vocabulary_whose_end_is_not_clear_is_not_handed_over(last: str | None) -> None:
    with pytest.raises(UnsupportedError, match="last token is empty or holds a zero byte"):
        vocabulary_of(FakeTokenizer(["a", last]))
    vocabulary = vocabulary_by_hand(["a", last])
    with pytest.raises(KeyFileError, match="not one of 2 whole tokens"):
        check_vocabulary(vocabulary, (), 2, hashlib.sha256(vocabulary).hexdigest())


def test_a_cut_vocabulary() -> None:
    vocabulary = vocabulary_by_hand(["a", "bc"])
    for n in (1, 4, 6, 10):
        with pytest.raises(KeyFileError, match="ends within a token"):
            check_vocabulary(vocabulary[:n], (), 2, hashlib.sha256(vocabulary[:n]).hexdigest())
    with pytest.raises(KeyFileError, match="not one of 1 whole tokens"):
        check_vocabulary(b"", (), 1, hashlib.sha256(b"").hexdigest())
