"""The page on authentication names every key that there is, and its examples can be loaded."""

import re
import tomllib
from pathlib import Path

from pydantic import BaseModel

from tokenward.server.auth.settings import AuthSettings, JwtSetting, TokenSetting
from tokenward.tools.principal import SCOPES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "authentication.md").read_text("utf-8")


def rows(heading: str) -> dict[str, str]:
    """The first and the last cell of the table whose header row begins with a heading."""
    table = PAGE.partition(f"\n| {heading} |")[2].partition("\n\n")[0]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    return {row[0].strip("`"): row[-1] for row in cells}


def check_defaults(model: type[BaseModel], table: dict[str, str]) -> None:
    assert list(table) == list(model.model_fields)
    for name, written in table.items():
        field = model.model_fields[name]
        assert field.is_required() == (written == "required")
        shown = repr(field.default)
        if shown.isdigit() or shown.startswith("('"):
            as_toml = shown.replace("(", "[").replace(")", "]").replace("'", '"')
            assert written == f"`{as_toml}`"


def test_every_key_with_its_default() -> None:
    check_defaults(TokenSetting, rows("Key of a token"))
    check_defaults(JwtSetting, rows("Key of a JWT"))
    assert list(rows("Scope")) == list(SCOPES)
    assert f"({AuthSettings().requests_per_minute:,} by default" in PAGE


def test_the_examples_can_be_loaded() -> None:
    blocks = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 2
    auth = AuthSettings.model_validate(tomllib.loads("\n".join(blocks))["auth"])
    auth.check()
    assert auth.jwt is not None


def test_the_threat_model_names_what_there_is() -> None:
    text = (ROOT / "SECURITY.md").read_text("utf-8")
    assert "docs/deploy.md" in text
    assert "requests_per_minute" in text
    assert all(f"`{name}`" in text for name in ("admin", "--insecure", "calibration = false"))
