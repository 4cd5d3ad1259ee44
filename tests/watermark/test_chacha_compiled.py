"""Under torch.compile: the golden vectors' colours, in one graph, and no key in the code that is generated."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from watermark import GreenList, chacha_torch

pytestmark = pytest.mark.usefixtures("one_torch_thread", "fresh_compiler")
GOLDEN: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "golden" / "greenlist.json").read_text())
WIDTHS = (0, 1, 4)


@pytest.fixture
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def mark_of(vector: dict[str, Any]) -> GreenList:
    return GreenList.from_chacha_key(bytes.fromhex(vector["chacha_key"]), vector["gamma_65536"], len(vector["context"]))


@pytest.mark.parametrize("width", WIDTHS)
def test_compiled_masks_are_the_openssl_programs_colours(width: int) -> None:
    vectors = [vector for vector in GOLDEN if len(vector["context"]) == width]
    assert len(vectors) == 3
    for vector in vectors:
        mark, colours = mark_of(vector), [colour == "1" for colour in vector["green"]]

        def biased(contexts: torch.Tensor, mark: GreenList = mark, length: int = len(colours)) -> torch.Tensor:
            return torch.zeros(contexts.shape[0], length) + 2.0 * mark.mask(contexts, length)

        compiled = torch.compile(biased, backend="aot_eager", fullgraph=True)
        contexts = torch.tensor([vector["context"]] * 2, dtype=torch.int64).reshape(2, width)
        assert compiled(contexts).bool().tolist() == [colours, colours]
        far = torch.tensor([entry["token"] for entry in vector["far"]])
        pairs = torch.compile(mark.is_green, backend="aot_eager", fullgraph=True)
        many = torch.tensor([vector["context"]] * len(far), dtype=torch.int64).reshape(len(far), width)
        assert pairs(many, far).tolist() == [entry["green"] for entry in vector["far"]]


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, as it compiles
def test_inductors_code_gives_the_same_and_holds_no_word_of_the_key() -> None:
    from torch._inductor.utils import run_and_get_code

    vector = next(vector for vector in GOLDEN if len(vector["context"]) == 1)
    mark, length = mark_of(vector), len(vector["green"])
    compiled = torch.compile(lambda ids: mark.mask(ids, length), fullgraph=True)  # no loop, so no C++ to wait for
    green, codes = run_and_get_code(compiled, torch.tensor([vector["context"]]))
    assert green.tolist() == [[colour == "1" for colour in vector["green"]]]
    code = "\n".join(codes)
    assert "taggant" in code, "the control: this is the code"
    for word in struct.unpack("<8I", bytes.fromhex(vector["chacha_key"])):
        signed = chacha_torch._OPS.const(word)
        assert str(word) not in code
        assert str(signed) not in code
        assert f"{word:x}" not in code


def test_traced_the_key_would_stand_in_the_code() -> None:
    """The control, and why colours are an operation of their own: `make_fx` sees what a compiler would."""
    from torch.fx.experimental.proxy_tensor import make_fx

    key = bytes(range(40, 72))
    graph = make_fx(lambda ids: chacha_torch.rows(key, ids, 32))(torch.tensor([[1]]))
    assert str(chacha_torch._OPS.const(struct.unpack("<8I", key)[3])) in graph.code


def test_a_green_list_that_is_gone_has_no_colours() -> None:
    mark = mark_of(GOLDEN[0])
    handle = mark._handle
    assert chacha_torch._by_handle(handle) is mark
    del mark
    with pytest.raises(KeyError):
        chacha_torch._by_handle(handle)
