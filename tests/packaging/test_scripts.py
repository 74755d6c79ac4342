"""The checks check: a ceiling that nothing can break through is no ceiling."""

import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.check_sizes import too_long
from tests.packaging.project import ROOT


def write(path: Path, lines: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x = 1\n" * lines, encoding="utf-8")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    (tmp_path / ".gitignore").write_text("build/\n", encoding="utf-8")
    return tmp_path


def test_sizes_at_the_ceiling_pass(repository: Path) -> None:
    write(repository / "engine/fine.py", 400)
    write(repository / "tests/test_fine.py", 600)
    write(repository / "build/generated.py", 5_000)
    assert too_long(repository) == []


def test_sizes_above_the_ceiling_are_named(repository: Path) -> None:
    write(repository / "engine/long.py", 401)
    write(repository / "tests/test_long.py", 601)
    assert too_long(repository) == [
        "engine/long.py: 401 lines, at most 400",
        "tests/test_long.py: 601 lines, at most 600",
    ]


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_explains_itself() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert {"setup", "demo", "test", "lint", "format", "bench"} <= {
        line.split()[1] for line in shown.splitlines() if line.startswith("  make ")
    }
