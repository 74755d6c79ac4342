"""A limit that does not say everything means the same, by whichever door it comes."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.server.http.admin_server import admin_app, client_of
from tokenward.engine.errors import ConfigurationError, InvalidInput
from tokenward.engine.limits import TokenLimit, counted_in
from tokenward.server.cli import cli
from tokenward.server.commands.limits import limit_of
from tokenward.server.limit_settings import LimitSetting
from tokenward.server.settings import load_settings

HERE = "Asia/Tokyo"
CASES = [
    ({"window": "day"}, ("rolling", "UTC")),
    ({"window": "month"}, ("calendar", HERE)),
    ({"window": "day", "timezone": "Europe/Berlin"}, ("calendar", "Europe/Berlin")),
    ({"window": "month", "timezone": "Europe/Berlin"}, ("calendar", "Europe/Berlin")),
    ({"window": "day", "timezone": "UTC"}, ("calendar", "UTC")),
    ({"window": "day", "mode": "calendar"}, ("calendar", HERE)),
    ({"window": "month", "mode": "rolling"}, ("rolling", "UTC")),
    ({"window": "minute", "timezone": "UTC"}, ("rolling", "UTC")),
]
REFUSED = [
    {"window": "day", "mode": "rolling", "timezone": "Europe/Berlin"},
    {"window": "hour", "timezone": "Europe/Berlin"},
]


def in_settings(given: dict[str, str], folder: Path) -> tuple[str, str]:
    limit = LimitSetting.model_validate({"subject": "global", "limit": 5, **given}).token_limit(HERE)
    return limit.mode, limit.span.timezone


def in_the_admin_api(given: dict[str, str], folder: Path) -> tuple[str, str]:
    with client_of(admin_app(folder, timezone=HERE)) as client:
        answer: dict[str, Any] = client.put(
            "/admin/limits", json={"subject": "global", "metric": "tokens", "limit": 5, **given}
        ).json()
    if "detail" in answer:
        raise InvalidInput(answer["field"], answer["detail"])
    return answer["mode"], answer["timezone"]


def in_quota_set(given: dict[str, str], folder: Path) -> tuple[str, str]:
    (folder / "here.toml").write_text(f'timezone = "{HERE}"', encoding="utf-8")
    options = [f"--{given['mode']}"] if "mode" in given else []
    options += ["--timezone", given["timezone"]] if "timezone" in given else []
    names = ["--config", str(folder / "here.toml"), "--store", f"sqlite:///{folder / 'ledger.db'}"]
    command = [*names, "quota", "set", "global", f"tokens/{given['window']}", "5", "--json", *options]
    done = CliRunner().invoke(cli, command)
    if done.exit_code:
        raise InvalidInput("timezone", done.output)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer["mode"], answer["timezone"]


@pytest.mark.parametrize(("given", "counted"), CASES)
@pytest.mark.parametrize("door", [in_settings, in_the_admin_api, in_quota_set])
def test_it_means_the_same_by_every_door(
    door: Any, given: dict[str, str], counted: tuple[str, str], tmp_path: Path
) -> None:
    assert door(given, tmp_path) == counted


@pytest.mark.parametrize("given", REFUSED)
@pytest.mark.parametrize("door", [in_settings, in_the_admin_api, in_quota_set])
def test_a_zone_of_a_rolling_window_is_refused_by_every_door(door: Any, given: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"timezone: .*goes with mode calendar"):
        door(given, tmp_path)


def test_as_replay_writes_it() -> None:
    assert counted_in("day", None, "Europe/Berlin", HERE) == ("calendar", "Europe/Berlin")
    named = TokenLimit("global", "tokens", "day", 1, "calendar", "Europe/Berlin")
    assert limit_of("global:tokens:day@Europe/Berlin=1", HERE) == named
    with pytest.raises(InvalidInput, match="always rolling"):
        limit_of("global:tokens:hour@Europe/Berlin=1", HERE)


def test_the_settings_say_which_of_them_is_wrong(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text(
        '[[limits]]\nsubject = "global"\nwindow = "hour"\nlimit = 1\ntimezone = "Asia/Tokyo"', encoding="utf-8"
    )
    with pytest.raises(ConfigurationError, match=r"^Setting limits\[0\]\.timezone: goes with mode calendar"):
        load_settings(file)
