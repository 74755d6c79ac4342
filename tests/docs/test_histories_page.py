"""The page on histories quotes its examples word for word, and they print what it says."""

import re
from pathlib import Path

import pytest

from tests.docs.test_examples import run
from tokenward.engine.history import STRATEGIES

REPOSITORY = Path(__file__).parents[2]
PAGE = (REPOSITORY / "docs" / "histories.md").read_text("utf-8")
EXAMPLES = sorted(REPOSITORY.glob("docs/examples/histories_*.py"))


def quoted() -> dict[str, str]:
    """The page's Python blocks, and what it says that each prints."""
    return dict(re.findall(r"```python\n(.*?)```\n+```text\n(.*?)```", PAGE, re.DOTALL))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_print_what_the_page_says(path: Path, tmp_path: Path) -> None:
    program = path.read_text("utf-8")
    assert run(program, tmp_path) == quoted()[program]


def test_the_page_quotes_the_plug_in_that_the_tests_use() -> None:
    assert f"```python\n{(REPOSITORY / 'docs' / 'examples' / 'strategy.py').read_text('utf-8')}```" in PAGE


def test_the_page_lists_the_strategies_in_order() -> None:
    table = PAGE.partition("## Strategies")[2].partition("###")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) == list(STRATEGIES)
