"""The page on serving names every setting of HTTP with its default, and every option."""

import re
from pathlib import Path

from click import Context, Group, Option

from tokenward.server.cli import cli
from tokenward.server.http.settings import HttpSettings

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text("utf-8")


def rows(heading: str) -> list[list[str]]:
    """The cells of the table whose header row begins with a heading."""
    table = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]


def test_every_setting_with_its_option_and_default() -> None:
    assert isinstance(cli, Group)
    command = cli.get_command(Context(cli), "serve")
    assert command is not None
    options = {name for one in command.params if isinstance(one, Option) for name in one.opts}
    table = {cells[0].strip("`"): cells for cells in rows("Setting")}
    assert set(table) == set(HttpSettings.model_fields)
    for name, (_, option, default, _) in table.items():
        flag = f"--{name.replace('_', '-')}"
        assert (option == f"`{flag}`") == (flag in options)
        value = HttpSettings.model_fields[name].default
        written = re.match(r"`([^`]+)`", default)
        assert (written[1] if written else ()) == (value if value == () else _written(value))


def _written(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
