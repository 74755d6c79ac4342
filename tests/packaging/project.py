"""The project as its files describe it: what pyproject.toml says, what the folders hold, what git tracks."""

import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def setuptools_table() -> dict[str, Any]:
    table: dict[str, Any] = pyproject()["tool"]["setuptools"]
    return table


def rooms() -> dict[str, Path]:
    """Import names of the packages that have a folder of their own, to that folder."""
    folders: dict[str, str] = setuptools_table()["package-dir"]
    return {name: ROOT / folder for name, folder in folders.items()}


def folders_below(name: str, room: Path) -> dict[str, Path]:
    """The package `name` and its subpackages; links are the type checkers' and do not count."""
    found = {name: room}
    for entry in sorted(room.iterdir()):
        if entry.is_dir() and not entry.is_symlink() and any(entry.glob("*.py")):
            found |= folders_below(f"{name}.{entry.name}", entry)
    return found


def packages() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, room in rooms().items():
        found |= folders_below(name, room)
    return found


def project_files() -> list[Path]:
    """What git tracks or would add; without git (an unpacked sdist) there is nothing to say."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    try:
        listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [path for name in sorted(set(listed.split("\0"))) if name and (path := ROOT / name).is_file()]
