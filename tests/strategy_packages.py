"""Packages with a truncation strategy, as an installer would leave them in a folder on the path."""

import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

import pytest

from tokenward.engine.history.strategy_plugins import installed_strategies

GOOD: Final = (Path(__file__).parents[1] / "docs" / "examples" / "strategy.py").read_text(encoding="utf-8")
"""The strategy of the documentation: the longest units go first."""

Install: TypeAlias = Callable[..., None]


@contextmanager
def installing(site: Path) -> Generator[Install]:
    """Installs packages for as long as it is open; afterwards they and what was found are gone."""
    site.mkdir()
    made: set[str] = set()

    def install(source: str = GOOD, name: str = "longest", module: str = "acme_cuts") -> None:
        (site / f"{module}.py").write_text(source, encoding="utf-8")
        metadata = site / f"{module}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
        points = f"[tokenward.strategies]\n{name} = {module}:longest_first\n"
        (metadata / "entry_points.txt").write_text(points, encoding="utf-8")
        made.add(module)
        installed_strategies.cache_clear()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", [str(site), *sys.path])
        yield install
    installed_strategies.cache_clear()
    for module in made:
        sys.modules.pop(module, None)
