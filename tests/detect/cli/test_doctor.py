"""`doctor`: sound installations, shadowed packages, and missing parts."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from detect.cli import doctor as module
from tests.detect.cli.helpers import Cli, execute, save_key

REPOSITORY = Path(__file__).parents[3]


def by_name(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {check["name"]: check for check in report["checks"]}


@pytest.fixture
def no_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


def test_this_installation(cli: Cli, no_teacher: None) -> None:
    report = cli("doctor", "--json").json()
    assert list(report) == ["ok", "checks"]
    checks = by_name(report)
    for name in ("python", "torch", "colours", "compiled kernels", "torch devices", "package watermark"):
        assert checks[name]["ok"], checks[name]
    assert checks["torch"]["found"] == metadata.version("torch")
    assert checks["package watermark"]["found"] == str(REPOSITORY / "watermark")
    assert checks["teacher smollm2"] == {
        "name": "teacher smollm2",
        "ok": False,
        "found": "not pulled yet",
        "advice": "taggant model pull smollm2 (the demo does it by itself)",
    }
    assert report["ok"] is False


def test_what_an_extra_brings(cli: Cli, no_teacher: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named where it is missing, and no problem."""
    version = metadata.version

    def without(name: str) -> str:
        if name == "weasyprint":
            raise metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(module.metadata, "version", without)
    checks = by_name(cli("doctor", "--json").json())
    assert checks["weasyprint"]["ok"]
    assert checks["weasyprint"]["found"] == "not installed; pip install 'taggant[report]' brings it"
    assert checks["rfc3161-client"]["found"] == version("rfc3161-client")
    extras = metadata.metadata("taggant").get_all("Provides-Extra") or []
    assert set(module.EXTRAS.values()) <= set(extras)


def test_the_report_for_people(cli: Cli, no_teacher: None) -> None:
    result = cli("doctor")
    assert (result.code, result.err) == (0, "")
    lines = result.out.splitlines()
    assert any(line.startswith("ok ") and " python " in line for line in lines)
    problem = next(i for i, line in enumerate(lines) if line.startswith("problem  teacher smollm2"))
    assert lines[problem + 1].strip() == "→ taggant model pull smollm2 (the demo does it by itself)"


def test_a_pulled_teacher_is_found(cli: Cli, model: Path, tmp_path: Path, no_teacher: None) -> None:
    import shutil

    from distill_sim.teacher import RECORD, default_directory

    shutil.copytree(model, default_directory())
    (default_directory() / RECORD).write_text("{}")
    assert tmp_path in default_directory().parents
    found = by_name(cli("doctor", "--json").json())["teacher smollm2"]
    assert (found["ok"], found["found"]) == (True, str(default_directory()))


def test_a_shadowed_package_is_reported_and_everything_else_points_here(tmp_path: Path) -> None:
    fake = tmp_path / "fake" / "watermark"
    fake.mkdir(parents=True)
    (fake / "__init__.py").write_text("__version__ = '2.5.0'\n")
    key = save_key(tmp_path / "k", bare=True)
    path = {"PYTHONPATH": str(fake.parent)}
    report = execute("doctor", "--json", **path).json()
    found = by_name(report)["package watermark"]
    assert (report["ok"], found["ok"]) == (False, False)
    assert found["found"] == str(fake)
    assert f"found before Taggant's {REPOSITORY / 'watermark'}" in found["advice"]
    for part in ("PYTHONPATH", "pip uninstall", "virtual environment"):
        assert part in found["advice"]
    assert by_name(report)["package detect"]["ok"]
    assert "problem  package watermark" in execute("doctor", **path).out
    for command in (["key", "show", key], ["keygen", "-o", tmp_path / "n"], ["plan", "--key", key]):
        result = execute(*command, **path)
        result.refused(70, f"the package 'watermark' in {fake} is not Taggant's", "taggant doctor")
    assert execute("--help", **path).code == 0
    assert not (tmp_path / "n").exists()


def test_a_distribution_that_installs_the_same_package_is_named(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, no_teacher: None
) -> None:
    """Installed into the same place it overwrites files: the path alone would look right."""
    claims = {"watermark": ["taggant", "watermark", "markllm"], "detect": ["taggant"], "numpy": ["numpy"]}
    monkeypatch.setattr(module.metadata, "packages_distributions", lambda: claims)
    checks = by_name(cli("doctor", "--json").json())
    assert not checks["package watermark"]["ok"]
    assert "also installed by markllm, watermark" in checks["package watermark"]["found"]
    assert "pip uninstall markllm watermark, then reinstall taggant" in checks["package watermark"]["advice"]
    assert checks["package detect"]["ok"]


def test_missing_libraries_and_broken_parts_do_not_end_the_report(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, no_teacher: None
) -> None:
    def gone(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    def broken(name: str) -> module.Check:
        raise RuntimeError("a \x1b[31mlibrary\nis broken")

    monkeypatch.setattr(module.metadata, "version", gone)
    monkeypatch.setattr(module, "_colours", broken)
    checks = by_name(cli("doctor", "--json").json())
    assert checks["torch"] == {
        "name": "torch",
        "ok": False,
        "found": "not installed",
        "advice": "pip install torch, or reinstall taggant",
    }
    assert checks["colours"]["found"] == "RuntimeError: a ⟨U+001B⟩[31mlibrary is broken"
    assert checks["disk"]["found"].endswith("GiB free")


def test_wrong_colours_are_a_problem(cli: Cli, monkeypatch: pytest.MonkeyPatch, no_teacher: None) -> None:
    import numpy as np

    from watermark.greenlist import GreenList

    monkeypatch.setattr(GreenList, "is_green", lambda self, contexts, tokens: np.zeros(len(tokens), dtype=bool))
    colours = by_name(cli("doctor", "--json").json())["colours"]
    assert (colours["ok"], colours["found"]) == (False, "colours differ from OpenSSL's")
    assert "do not use this installation" in colours["advice"]


def test_what_a_killed_keygen_left_is_reported(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_teacher: None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner.key").touch()
    assert by_name(cli("doctor", "--json").json())["key leftovers"]["ok"]
    (tmp_path / ".owner.key.x1y2z3a4.tmp").touch()
    found = by_name(cli("doctor", "--json").json())["key leftovers"]
    assert (found["ok"], found["found"]) == (False, ".owner.key.x1y2z3a4.tmp")
    assert "remove these files, they hold a secret" in found["advice"]
