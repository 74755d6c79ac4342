"""``tokenward doctor`` lists the truncation strategies of other packages and tries each."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.conftest import Run
from tests.strategy_packages import Install, installing


@pytest.fixture
def install(tmp_path: Path) -> Iterator[Install]:
    with installing(tmp_path / "packages") as installs:
        yield installs


def strategies(stdout: str) -> dict[str, tuple[str, str]]:
    found = json.loads(stdout)["findings"]
    return {one["subject"]: (one["verdict"], one["detail"]) for one in found if one["subject"].startswith("strategy ")}


def test_each_installed_strategy_is_tried(install: Install, run: Run) -> None:
    assert strategies(run("doctor", "--json").stdout) == {}
    install()
    install("1 / 0", "broken", "acme_broken")
    examined = run("doctor", "--json")
    assert examined.exit_code == 1
    assert strategies(examined.stdout) == {
        "strategy longest": ("ok", "acme_cuts 1.0: shortens a history"),
        "strategy broken": ("broken", "acme_broken 1.0: raised ZeroDivisionError when it was imported"),
    }


def test_they_are_not_looked_at_where_plug_ins_are_switched_off(
    install: Install, run: Run, environment: dict[str, str]
) -> None:
    install("1 / 0")
    environment["TOKENWARD_PLUGINS"] = "false"
    assert strategies(run("doctor", "--json").stdout) == {}
