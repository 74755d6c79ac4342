"""The page on configuration names every setting, command and option that there is, and its file can be loaded."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tokenward.server.cli import cli
from tokenward.server.limit_settings import LimitSetting
from tokenward.server.settings import Settings, load_settings

PAGE = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose header row begins with a heading."""
    table = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        elif command:
            yield f"{prefix}{name}", command


def options(command: click.Command) -> set[str]:
    given = [one for one in command.params if isinstance(one, click.Option)]
    return {name for one in given for name in (*one.opts, *one.secondary_opts) if name.startswith("--")}


def written_options(text: str) -> set[str]:
    return set(re.findall(r"`(--[a-z0-9-]+)`", text))


def test_every_setting_with_its_variable_and_option() -> None:
    table = {cells[0].strip("`"): cells for cells in rows("File")}
    assert list(table) == list(Settings.model_fields)
    for name, (_, option, variable, _) in table.items():
        assert variable == f"`TOKENWARD_{name.upper()}`"
        flag = f"--{name.replace('_', '-')}"
        assert (option == f"`{flag}`") == (flag in options(cli))


def test_defaults_are_those_of_the_settings() -> None:
    for name, _, _, default in rows("File"):
        value = Settings.model_fields[name.strip("`")].default
        written = re.match(r"`([^`]+)`", default)
        assert not written or written[1] == (str(value).lower() if isinstance(value, bool) else str(value))


def test_every_key_of_a_limit() -> None:
    assert [cells[0].strip("`") for cells in rows("Key of a limit")] == list(LimitSetting.model_fields)


def test_every_command_with_its_options() -> None:
    table = {re.sub(r" \[?[A-Z].*", "", call.strip("`")): written_options(given) for call, _, given in rows("Command")}
    assert table == {name: options(command) for name, command in commands(cli)}


def test_the_file_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TOKENWARD_{name.upper()}", raising=False)
    file = tmp_path / "config.toml"
    file.write_text(PAGE.partition("```toml\n")[2].partition("```")[0], "utf-8")
    settings = load_settings(file)
    assert [one.label for one in settings.token_limits] == ["default, tokens per day", "group:research, cost per month"]
    assert settings.policy.shares == {"low": 80, "normal": 95, "high": 100}
