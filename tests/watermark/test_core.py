"""What stays light: the core of watermark and detect never loads torch or transformers, not even while it works."""

from __future__ import annotations

import json
import pkgutil
import subprocess
import sys
from importlib.util import find_spec

import pytest

import watermark

HEAVY = ("torch", "transformers", "tokenizers", "pyarrow", "matplotlib")
NEEDS_TORCH = {"watermark.chacha_torch", "watermark.chacha_triton"}  # and everything under watermark.engines


def core_modules() -> list[str]:
    found = [m.name for m in pkgutil.walk_packages(watermark.__path__, "watermark.") if ".engines" not in m.name]
    detect = ["detect", "detect.counting", "detect.evidence", "detect.decoys", "detect.observation"]
    import detect.exact as exact

    detect += [m.name for m in pkgutil.walk_packages(exact.__path__, "detect.exact.")]
    return sorted({"watermark", *found} - NEEDS_TORCH) + detect


def loaded_after(program: str) -> dict[str, bool]:
    """Which heavy packages, numba included, a fresh interpreter holds after `program`."""
    program += f"\nimport json, sys\nprint(json.dumps({{n: n in sys.modules for n in {(*HEAVY, 'numba')!r}}}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    result: dict[str, bool] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_the_list_of_core_modules_is_not_empty() -> None:
    modules = core_modules()
    for name in (
        "watermark.keys.key",
        "watermark.windows",
        "watermark.greenlist",
        "watermark.files",
        "detect.exact.tails",
    ):
        assert name in modules
    assert all(find_spec(name) for name in modules)


@pytest.mark.parametrize("small", [False, True])
def test_importing_the_core_loads_nothing_heavy(small: bool) -> None:
    modules = [m for m in core_modules() if "numba" not in m] if small else core_modules()
    loaded = loaded_after("\n".join(f"import {name}" for name in modules))
    assert [name for name in HEAVY if loaded[name]] == []
    assert not (small and loaded["numba"])


def test_testing_a_short_text_of_ids_loads_nothing_heavy_and_no_compiler() -> None:
    loaded = loaded_after(
        "from watermark import Key, GreenList\n"
        "from detect import tally, assess\n"
        "key = Key.generate(context_width=4)\n"
        "evidence = assess(tally(key, [list(range(500))], exclude=[[1, 2, 3]]))\n"
        "assert evidence.n_scored == 496, evidence.n_scored\n"
        "assert GreenList(key).mask([[1, 2, 3, 4]], 100).shape == (1, 100)"
    )
    assert [name for name, there in loaded.items() if there] == []


def test_the_processors_load_torch_when_they_are_asked_for() -> None:
    """The control: `loaded_after` does notice."""
    assert loaded_after("from watermark import GreenListProcessor")["torch"]
    assert loaded_after("import watermark.chacha_torch") == {
        "torch": True, "transformers": False, "tokenizers": False, "pyarrow": False, "matplotlib": False, "numba": False
    }  # fmt: skip


def test_names_that_do_not_exist_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = watermark.Nothing
    for name in watermark.__all__:
        assert getattr(watermark, name).__name__ == name
