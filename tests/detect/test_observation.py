"""A reading on disk: what is written comes back, and nothing else is taken for one."""

from __future__ import annotations

import pickle
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from detect.counting import weigh
from detect.fed import Probe, ProbePairs
from detect.observation import ContextMass, Excess, Expectation, Reading, load_observed
from tests.detect.material import make_key
from watermark.errors import InputError
from watermark.windows import Pairs, WindowRule


def make_reading(h: int = 1) -> Reading:
    rng = np.random.default_rng(50)
    contexts = rng.integers(0, 99, (6, h), dtype=np.uint32)
    pairs = Pairs(np.repeat(contexts, 4, axis=0), np.arange(24, dtype=np.uint32), 6)
    return Reading(
        pairs=pairs,
        weights=rng.standard_normal(24),
        n_positions=9,
        with_reference=True,
        argmax=Pairs(contexts, np.arange(6, dtype=np.uint32), 6),
        mass=ContextMass(contexts, np.tile(np.arange(5, dtype=np.uint32), (6, 1)), np.full((6, 5), 0.1, np.float32)),
        probes=ProbePairs.of(WindowRule(h), [Probe([1, 2, 3, 4], [4, 5, 6, 2, 3, 9])]),
        expectation=Expectation(pairs, rng.standard_normal(24), 8),
    )


def make_excess(h: int = 1) -> Excess:
    reading = make_reading(h)
    return Excess(
        pairs=reading.pairs,
        weights=reading.weights,
        n_positions=9,
        with_reference=True,
        probes=ProbePairs.of_prompts(WindowRule(h), [[1, 2, 3, 4, 5]]),
        n_tokens=12,
        n_listed=7,
        distinct=reading.argmax,
    )


def assert_same(a: Any, b: Any) -> None:
    """Field for field, down to dtype."""
    assert type(a) is type(b)
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    elif hasattr(a, "__dataclass_fields__"):
        for one in fields(a):
            assert_same(getattr(a, one.name), getattr(b, one.name))
    else:
        assert a == b


def contents(path: Path) -> dict[str, Any]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


@pytest.mark.parametrize("make", [make_reading, make_excess])
@pytest.mark.parametrize("h", [0, 1, 3])
def test_round_trip(h: int, make: Any, tmp_path: Path) -> None:
    made = make(h)
    made.save(tmp_path / "it.npz")
    again = type(made).load(tmp_path / "it.npz")
    assert_same(made, again)
    key = make_key(51, h=h)
    assert_same(weigh(key, made).statistic, weigh(key, again).statistic)


@pytest.mark.parametrize("make", [make_reading, make_excess])
def test_the_file_holds_numbers_only(make: Any, tmp_path: Path) -> None:
    make().save(tmp_path / "it.npz")
    for name, array in contents(tmp_path / "it.npz").items():
        assert array.dtype.kind == ("U" if name == "format" else array.dtype.kind)
        assert array.dtype.kind != "O"


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    make_reading().save(tmp_path / "reading.npz")
    with pytest.raises(InputError, match="already exists"):
        make_reading().save(tmp_path / "reading.npz")


class Trap:
    """Pickled content that would run on loading."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (pytest.fail, ("a pickle was run",))


def test_pickles_are_refused_and_not_run(tmp_path: Path) -> None:
    plain, inside = tmp_path / "plain.npz", tmp_path / "inside.npz"
    plain.write_bytes(pickle.dumps(Trap()))
    make_reading().save(tmp_path / "good.npz")
    np.savez(inside, **{**contents(tmp_path / "good.npz"), "weights": np.array([Trap()] * 24, dtype=object)})
    for path in (plain, inside):
        with pytest.raises(InputError, match="is not a taggant-reading/2 file"):
            Reading.load(path)


def write(path: Path, kind: str) -> Path:
    """A file that is no reading."""
    if kind == "one array":
        with path.open("wb") as handle:
            np.save(handle, np.arange(3))
    elif kind == "other archive":
        np.savez(path, weights=np.arange(3))
    elif kind == "other format":
        make_reading().save(path.with_suffix(".good"))
        np.savez(path, **{**contents(path.with_suffix(".good")), "format": np.array("taggant-reading/1")})
    elif kind == "cut":
        make_reading().save(path.with_suffix(".good"))
        path.write_bytes(path.with_suffix(".good").read_bytes()[:-200])
    else:
        path.write_bytes({"empty": b"", "text": b"hello", "zip": b"PK\x03\x04 no zip", "nothing": b"\x00" * 400}[kind])
    return path


@pytest.mark.parametrize(
    "kind", ["empty", "text", "zip", "nothing", "one array", "other archive", "other format", "cut"]
)
def test_other_files_are_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "it.npz", kind)
    with pytest.raises(InputError, match=r"it\.npz is not a taggant-reading/2 file; read the model again"):
        Reading.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", np.zeros(23)),
        ("weights", np.zeros((24, 1))),
        ("weights", np.full(24, np.nan)),
        ("weights", np.full(24, np.inf)),
        ("weights", np.zeros(24, np.float32)),
        ("tokens", np.zeros(24)),
        ("contexts", np.zeros((24, 2), np.uint32)),
        ("contexts", np.zeros(24, np.uint32)),
        ("argmax_tokens", np.zeros(5, np.uint32)),
        ("mass_probabilities", np.full((6, 5), np.nan, np.float32)),
        ("mass_tokens", np.zeros((5, 5), np.uint32)),
        ("mass_tokens", np.zeros(6, np.uint32)),
        ("n_positions", np.zeros(2)),
        ("probe_tokens", np.zeros(3, np.uint32)),
        ("probe_contexts", np.zeros((7, 2), np.uint32)),
        ("probe_in_prompts", np.zeros(7)),
        ("probe_in_answers", None),
        ("probe_times", np.zeros(7, np.int64)),
        ("probe_members", np.arange(8)),
        ("probe_members", np.arange(8) + 1),
        ("probe_members", np.array([0, 1, 2, 3, 4, 5, 5, 1])),
        ("probe_texts", np.array([0, 0, 0, 1, 1, 1, 1, 0])),
        ("probe_texts", None),
        ("expected_weights", np.full(24, np.nan)),
        ("expected_weights", np.zeros(23)),
        ("expected_tokens", np.zeros(24, np.uint32)),
        ("expected_n_positions", np.array(0)),
        ("n_positions", np.array(0)),
        ("contexts", None),
    ],
)
def test_numbers_that_do_not_belong_together_are_refused(name: str, value: Any, tmp_path: Path) -> None:
    make_reading().save(tmp_path / "good.npz")
    changed = {**contents(tmp_path / "good.npz"), name: value}
    np.savez(tmp_path / "bad.npz", **{key: array for key, array in changed.items() if array is not None})
    with pytest.raises(InputError, match=r"bad\.npz is not a taggant-reading/2 file"):
        Reading.load(tmp_path / "bad.npz")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weights", np.full(24, np.nan)),
        ("tokens", np.zeros(24)),
        ("distinct_tokens", np.zeros(5, np.uint32)),
        ("distinct_contexts", np.zeros((6, 2), np.uint32)),
        ("probe_in_prompts", np.zeros(4)),
        ("n_tokens", np.array(8)),  # fewer than positions
        ("n_listed", np.array(10)),  # more than positions
        ("n_listed", np.array(-1)),
        ("n_positions", np.array(-1)),
        ("n_tokens", np.zeros(2)),
        ("with_reference", None),
        ("n_contexts", np.array(-1)),
        ("distinct_n_contexts", None),
    ],
)
def test_an_excess_whose_numbers_do_not_belong_together_is_refused(name: str, value: Any, tmp_path: Path) -> None:
    make_excess().save(tmp_path / "good.npz")
    changed = {**contents(tmp_path / "good.npz"), name: value}
    np.savez(tmp_path / "bad.npz", **{key: array for key, array in changed.items() if array is not None})
    message = r"bad\.npz is not a taggant-excess/2 file; let the reference read the answers again"
    with pytest.raises(InputError, match=message):
        Excess.load(tmp_path / "bad.npz")


def test_one_kind_is_not_taken_for_the_other(tmp_path: Path) -> None:
    make_excess().save(tmp_path / "excess.npz")
    make_reading().save(tmp_path / "reading.npz")
    with pytest.raises(InputError, match="is not a taggant-reading/2 file"):
        Reading.load(tmp_path / "excess.npz")
    with pytest.raises(InputError, match="is not a taggant-excess/2 file"):
        Excess.load(tmp_path / "reading.npz")
    data = (tmp_path / "excess.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(data[:-200])
    with pytest.raises(InputError, match=r"cut\.npz is not a taggant-excess/2 file"):
        Excess.load(tmp_path / "cut.npz")


@pytest.mark.parametrize("make", [make_reading, make_excess])
def test_a_file_says_which_kind_it_is(make: Any, tmp_path: Path) -> None:
    made = make()
    made.save(tmp_path / "it.npz")
    assert_same(made, load_observed(tmp_path / "it.npz"))
    with pytest.raises(InputError, match="already exists"):
        made.save(tmp_path / "it.npz")


@pytest.mark.parametrize("kind", ["empty", "other archive", "other format", "cut"])
def test_what_is_neither_kind_is_refused(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "it.npz", kind)
    message = r"it\.npz is not a taggant-reading/2 or taggant-excess/2 file; give what `taggant suspect` saved"
    with pytest.raises(InputError, match=message):
        load_observed(path)


def test_a_file_cannot_claim_the_other_kind(tmp_path: Path) -> None:
    make_excess().save(tmp_path / "it.npz")
    np.savez(tmp_path / "lie.npz", **{**contents(tmp_path / "it.npz"), "format": np.array(Reading.FORMAT)})
    with pytest.raises(InputError, match="is not a taggant-reading/2 or"):
        load_observed(tmp_path / "lie.npz")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        Reading.load(tmp_path / "missing.npz")
    with pytest.raises(InputError, match="Is a directory"):
        Reading.load(tmp_path)


@pytest.mark.parametrize("make", [make_reading, make_excess])
def test_a_pair_that_stands_twice_is_refused(make: Any, tmp_path: Path) -> None:
    """Its colour is one draw: scored fifteen times it would implicate anybody."""
    one = make()
    again = np.repeat(np.arange(len(one.weights)), 2)
    pairs = Pairs(one.pairs.contexts[again], one.pairs.tokens[again], one.pairs.n_contexts)
    replace(one, pairs=pairs, weights=one.weights[again]).save(tmp_path / "twice.npz")
    with pytest.raises(InputError, match="is not a taggant-"):
        load_observed(tmp_path / "twice.npz")
