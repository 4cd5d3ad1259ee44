"""What a worker keeps between stages: the same thing for the same function, closed before another's stage begins."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from distill_sim.kept import keep, let_go


class Thing:
    def __init__(self) -> None:
        self.is_open = True

    def close(self) -> None:
        assert self.is_open, "closed twice"
        self.is_open = False


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    let_go()
    yield
    let_go()


def test_the_next_stage_of_the_same_function_gets_the_same_thing() -> None:
    first = keep("a:corpus", "model", Thing)
    let_go(unless="a:corpus")
    assert keep("a:corpus", "model", Thing) is first
    assert first.is_open


def test_before_another_functions_stage_it_is_closed() -> None:
    first = keep("a:corpus", "model", Thing)
    let_go(unless="a:student")
    assert not first.is_open
    let_go()
    assert keep("a:corpus", "model", Thing) is not first


@pytest.mark.parametrize("other", [("a:corpus", "another model"), ("a:else", "model")])
def test_only_one_thing_is_kept(other: tuple[str, str]) -> None:
    first = keep("a:corpus", "model", Thing)
    second = keep(*other, Thing)
    assert (first.is_open, second.is_open) == (False, True)


def test_what_ended_by_itself_is_made_anew() -> None:
    first = keep("a:corpus", "model", Thing)
    first.is_open = False
    first.close = lambda: None  # type: ignore[method-assign]
    assert keep("a:corpus", "model", Thing).is_open


def test_a_thing_that_cannot_be_made_leaves_nothing_behind() -> None:
    def fail() -> Thing:
        raise ValueError("no room")

    first = keep("a:corpus", "model", Thing)
    with pytest.raises(ValueError, match="no room"):
        keep("a:corpus", "another model", fail)
    assert not first.is_open
    assert keep("a:corpus", "model", Thing).is_open
