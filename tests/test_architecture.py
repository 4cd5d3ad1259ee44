"""How the packages hang together, and what of them is shipped."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
import zipfile
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("watermark", "detect", "distill_sim")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONTRACTS = {contract["name"]: contract for contract in PROJECT["tool"]["importlinter"]["contracts"]}
CORE = {
    *("watermark.keys", "watermark.chacha", "watermark.chacha_numba", "watermark.words", "watermark.windows"),
    *("watermark.dedup", "watermark.greenlist", "watermark.files", "watermark.errors", "watermark.journal"),
    *("watermark.lines", "detect.exact", "detect.counting", "detect.evidence", "detect.decoys", "detect.observation"),
    *("detect.readers", "detect.wording", "detect.colouring", "detect.attribution", "detect.accounts"),
    *("detect.plans.plan", "detect.plans.content", "detect.plans.parts", "detect.sequential"),
    *("detect.scan", "detect.joint", "detect.normalise", "detect.lookalikes"),
    *("detect.arrays", "detect.numbers", "detect.examined", "detect.bundles"),
}


# --- who imports whom ---


def linted(config: Path) -> bool:
    """Whether all contracts of a configuration hold for the code here."""
    program = (
        "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
    )
    done = subprocess.run([sys.executable, "-c", program, str(config)], cwd=ROOT, capture_output=True, text=True)
    assert "Contracts:" in done.stdout, done.stdout + done.stderr
    return done.returncode == 0


def test_the_contracts_hold() -> None:
    assert linted(ROOT / "pyproject.toml")


def test_the_contracts_could_fail(tmp_path: Path) -> None:
    """Without its one exception the second does: the linter sees our imports at all."""
    (tmp_path / "wrong.ini").write_text(
        "[importlinter]\nroot_packages =\n    watermark\n    detect\n    distill_sim\n"
        "include_external_packages = True\n[importlinter:contract:1]\nname = a\ntype = forbidden\n"
        "source_modules =\n    watermark.greenlist\nforbidden_modules =\n    torch\n"
    )
    assert not linted(tmp_path / "wrong.ini")


def test_the_contracts_say_what_the_design_says() -> None:
    (layers,) = (contract for contract in CONTRACTS.values() if contract["type"] == "layers")
    assert layers["layers"] == ["distill_sim", "detect", "watermark"]
    assert "ignore_imports" not in layers
    (core,) = (contract for contract in CONTRACTS.values() if contract["type"] == "forbidden")
    assert set(core["source_modules"]) >= CORE
    assert set(core["forbidden_modules"]) == {"torch", "transformers"}
    assert core["ignore_imports"] == ["watermark.greenlist -> watermark.chacha_torch"]


def test_every_core_module_exists() -> None:
    for name in CONTRACTS["The core of watermark and detect needs neither torch nor transformers"]["source_modules"]:
        path = ROOT / name.replace(".", "/")
        assert path.is_dir() or path.with_suffix(".py").is_file(), name


def test_the_core_runs_without_torch_and_transformers() -> None:
    """Not only statically: a process in which neither can be imported counts and judges ids under a key."""
    program = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None  # importing either fails
from detect import assess, tally
from detect.decoys import lineup
from detect.readers import __name__ as readers
from watermark import GreenList, Key
key = Key.generate()
one = tally(key, [list(range(3, 200))], [[3, 4, 5]])
assert assess(one, lineup=lineup(one, 5)).n_scored == 194, assess(one)
assert GreenList(key).is_green([[1]], [2]).shape == (1,)
print("done", *sorted({name.partition(".")[0] for name in sys.modules} & {"click", "pyarrow", "matplotlib"}))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "done\n", done.stderr


def modules() -> list[Path]:
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def test_nothing_shipped_imports_tests_or_benchmarks() -> None:
    assert len(modules()) > 80
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] in ("tests", "benchmarks")], path


def test_every_module_says_what_it_is_about() -> None:
    for path in modules():
        text = path.read_text(encoding="utf-8")
        assert not text.strip() or ast.get_docstring(ast.parse(text)), path


def test_weights_are_never_unpickled_and_models_bring_no_code() -> None:
    """`trust_remote_code` stays off, and nothing is unpickled."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                assert isinstance(node.value, ast.Constant), path
                assert node.value.value is False, path
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                assert ast.unparse(node.func) not in ("torch.load", "pickle.load", "pickle.loads"), path


# --- what is shipped ---


def shipped() -> set[str]:
    """Every file of the packages here, as a wheel names it."""
    files = (path for package in PACKAGES for path in (ROOT / package).rglob("*"))
    return {path.relative_to(ROOT).as_posix() for path in files if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_typed(package: str) -> None:
    assert (ROOT / package / "py.typed").is_file()
    assert Path(import_module(package).__file__ or "").parent == ROOT / package


def test_data_that_code_reads_at_run_time_lies_inside_the_packages() -> None:
    files = shipped()
    assert "distill_sim/data/prompts.txt" in files
    templates = {name for name in files if "/templates/" in name}
    assert {name.partition("/templates/")[0] for name in templates} >= {"detect/pages", "distill_sim/demo"}


def test_the_configuration_ships_all_files_of_all_packages() -> None:
    """Without `include`, `exclude` or `only-include`, hatchling takes every file that git does not ignore."""
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel == {"packages": list(PACKAGES)}
    done = subprocess.run(
        ["git", "check-ignore", *sorted(shipped())], cwd=ROOT, capture_output=True, text=True
    )  # exit code 1: none is ignored
    if done.returncode > 1:
        pytest.skip(f"no git here: {done.stderr.strip()}")
    assert done.stdout == ""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built as pip builds it, with hatchling in an environment of its own."""
    directory = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run([*command, "--retries", "0", "-w", str(directory), str(ROOT)], capture_output=True, text=True)
    if done.returncode and "hatchling" in done.stderr and "No matching distribution" in done.stderr:
        pytest.skip("hatchling cannot be fetched here")
    assert done.returncode == 0, done.stderr
    (built,) = directory.glob("taggant-*.whl")
    return built


def test_the_wheel_holds_all_of_it_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
        entry_points = next(archive.read(name).decode() for name in archive.namelist() if "entry_points" in name)
        metadata = next(archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA"))
    assert names == shipped()
    assert "taggant = detect.cli.entry:main" in entry_points
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    assert len(required) == len(PROJECT["project"]["dependencies"])
