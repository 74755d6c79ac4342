"""The library's examples run as they are, print what the page says, and stand in the page word for word."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tokenward

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = sorted(REPOSITORY.glob("docs/examples/library_*.py"))
PAGE = REPOSITORY / "docs" / "library.md"


def quoted() -> dict[str, str]:
    """The page's Python blocks, and what it says that each prints."""
    return dict(re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL))


def test_the_page_quotes_every_example() -> None:
    assert EXAMPLES
    assert set(quoted()) == {path.read_text("utf-8") for path in EXAMPLES}


def test_the_page_names_what_the_package_exports() -> None:
    names = PAGE.read_text("utf-8").partition("the library's contract:")[2]
    assert re.findall(r"`(\w+)`[,.]", names) == tokenward.__all__


def run(program: str, folder: Path) -> str:
    """What a program prints; it must neither fail, warn nor leave files behind."""
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY / "src"), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(folder.iterdir())
    return done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_print_what_the_page_says(path: Path, tmp_path: Path) -> None:
    program = path.read_text("utf-8")
    assert run(program, tmp_path) == quoted()[program]


def test_the_example_of_the_readme_runs(tmp_path: Path) -> None:
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert run(readme.partition("```python\n")[2].partition("```")[0], tmp_path)
