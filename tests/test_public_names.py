"""The library's front: every public name is there, and importing it loads nothing heavy."""

import subprocess
import sys

import pytest

import tokenward


@pytest.mark.parametrize("name", tokenward.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(tokenward, name) is not None
    assert name in dir(tokenward)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'TokenCounts'"):
        getattr(tokenward, "TokenCount" + "s")


def test_importing_the_library_loads_nothing() -> None:
    code = "import sys, tokenward; print([name for name in sys.modules if name.startswith(('tokenward.', 'tiktoken'))])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
