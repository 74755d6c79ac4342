"""The settings of authentication: what is refused, with words that help; the example; the command that makes tokens."""

import json
import re
import tomllib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import FakeClock
from tests.server.auth.doors import ADMIN, ALICE, Door, auth_table, running
from tokenward.engine.errors import ConfigurationError
from tokenward.server.auth.tokens import TokenBook, hash_of
from tokenward.server.cli import cli
from tokenward.server.http.app import build_app
from tokenward.server.settings import Settings, load_settings

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "auth.toml"
HASH = hash_of(ALICE)
TOKEN = f'[[auth.tokens]]\nhash = "{HASH}"\nsubject = "alice"\n'
JWT = '[auth.jwt]\nissuer = "https://i.example"\naudience = "x"\njwks_url = "https://i.example/jwks"\n'


def loaded(folder: Path, text: str) -> Settings:
    file = folder / "config.toml"
    file.write_text(text, "utf-8")
    return load_settings(file)


BAD = [
    (TOKEN.replace("subject", "subjct"), "Unknown setting 'subjct' in auth.tokens[0]. Did you mean 'subject'?"),
    (TOKEN + TOKEN, "Setting auth.tokens[1].hash: the token is listed a second time; keep one of them."),
    (TOKEN.replace("alice", " alice"), "Setting auth.tokens[0].subject: ' alice' is not a name; "),
    (TOKEN + 'groups = [""]\n', "Setting auth.tokens[0].groups: '' is not a name; "),
    (TOKEN + "scopes = []\n", "Setting auth.tokens[0].scopes: a token without a scope allows nothing; "),
    (TOKEN + 'scopes = ["all"]\n', "Setting auth.tokens[0].scopes[0]: Input should be 'use', 'report' or 'admin'."),
    (TOKEN + "expires = 2027-01-01T00:00:00\n", "Setting auth.tokens[0].expires: Input should have timezone info."),
    (TOKEN.replace(HASH, ALICE), "Setting auth.tokens[0].hash: String should match pattern "),
    (TOKEN.replace(HASH, HASH.upper()), "Setting auth.tokens[0].hash: String should match pattern "),
    (JWT.replace("issuer", "isuer"), "Unknown setting 'isuer' in auth.jwt. Did you mean 'issuer'?"),
    (JWT.replace("https://i.example/jwks", "http://i.example/jwks"), "Setting auth.jwt.jwks_url: expected https; "),
    (JWT.replace("https://i.example/jwks", "file:///etc/passwd"), "Setting auth.jwt.jwks_url: expected "),
    (JWT.replace("https://i.example/jwks", "https://u:p@i.example/"), "Setting auth.jwt.jwks_url: it holds a name or "),
    (JWT.replace('"https://i.example"', '"http://i.example"'), "Setting auth.jwt.issuer: expected https; "),
    (JWT + 'resource_url = "mcp"\n', "Setting auth.jwt.resource_url: expected a URL"),
    (JWT + 'resource_url = "https://1.2.3.4.5/mcp"\n', "Setting auth.jwt.resource_url: expected a URL"),
    (JWT.replace('"https://i.example"', '"https://1.2.3.4.5"'), "Setting auth.jwt.issuer: expected a URL"),
    (JWT.replace('"x"', '"https://"'), "Setting auth.jwt.audience: expected a URL, such as https://HOST/PATH. If "),
    (JWT.replace('"x"', '"https://h:99999/mcp"'), "Setting auth.jwt.audience: expected a URL, "),
    (JWT.replace('"x"', '"https://1.2.3.4.5/mcp"'), "Setting auth.jwt.audience: expected a URL, "),
    (JWT.replace('"x"', '"http://h.example/mcp"'), "Setting auth.jwt.audience: expected https; "),
    (JWT + 'algorithms = ["HS256"]\n', "Setting auth.jwt.algorithms[0]: Input should be 'RS256', "),
    (JWT + 'algorithms = ["none"]\n', "Setting auth.jwt.algorithms[0]: Input should be 'RS256', "),
    (JWT + "algorithms = []\n", "Setting auth.jwt.algorithms: Tuple should have at least 1 item"),
    (JWT + 'scopes = { x = "root" }\n', "Setting auth.jwt.scopes.x: Input should be 'use', 'report' or 'admin'."),
    ("[auth]\nfoo = 1\n", "Unknown setting 'foo' in auth. Known: tokens, jwt, requests_per_minute."),
    ("[auth]\nrequests_per_minute = -1\n", "Setting auth.requests_per_minute: "),
]


@pytest.mark.parametrize(("text", "message"), BAD, ids=range(len(BAD)))
def test_what_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        loaded(tmp_path, text)
    assert str(refused.value).startswith(message)
    assert ALICE not in str(refused.value)


@pytest.mark.parametrize("audience", ["https://", "http://h.example/mcp", "https://h.example/?api", "urn:tokens"])
def test_an_audience_is_any_name_where_the_address_is_given(tmp_path: Path, audience: str) -> None:
    address = 'resource_url = "https://h.example/mcp"\n'
    jwt = loaded(tmp_path, JWT.replace('"x"', f'"{audience}"') + address).auth.jwt
    assert jwt is not None
    assert (jwt.audience, jwt.resource) == (audience, "https://h.example/mcp")


def test_authentication_is_off_where_nobody_can_authenticate(tmp_path: Path) -> None:
    assert not loaded(tmp_path, "").auth.enabled
    with pytest.raises(ConfigurationError, match="Setting auth: names nobody who may come in"):
        loaded(tmp_path, "[auth]\nrequests_per_minute = 5\n")
    assert loaded(tmp_path, TOKEN).auth.enabled
    assert loaded(tmp_path, JWT).auth.enabled


def test_tokens_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWARD_AUTH", json.dumps({"tokens": [{"hash": HASH, "subject": "alice"}]}))
    monkeypatch.setenv("TOKENWARD_AUTH__REQUESTS_PER_MINUTE", "7")
    auth = load_settings().auth
    assert ([one.subject for one in auth.tokens], auth.requests_per_minute) == (["alice"], 7)


def run(*arguments: str) -> str:
    done = CliRunner().invoke(cli, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_command_shows_the_token_once_and_what_the_file_needs(clock: FakeClock) -> None:
    said = run("token", "create", 'ann "the" äöü', "--scope", "admin", "--group", "red", "--group", "b", "--days", "30")
    clear = re.findall(r"^tw_[0-9a-f]{64}$", said, re.MULTILINE)
    (table,) = tomllib.loads(said[said.index("[[auth.tokens]]") :])["auth"]["tokens"]
    assert [table["hash"]] == [hash_of(one) for one in clear]
    assert (table["subject"], table["scopes"], table["groups"]) == ('ann "the" äöü', ["admin"], ["red", "b"])
    left = table["expires"] - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_the_command_as_json_and_its_file(tmp_path: Path) -> None:
    made = json.loads(run("--user", "the-user", "token", "create", "--json"))
    assert made["subject"] == "the-user"
    assert made["hash"] == hash_of(made["token"])
    (token,) = loaded(tmp_path, made["config"]).auth.tokens
    assert (token.hash, token.subject, token.scopes) == (made["hash"], "the-user", ("use", "report"))


@pytest.mark.parametrize("arguments", [[" x"], ["a\nb"], ["x", "--scope", "root"], ["x", "--days", "0"], ["x", "y"]])
def test_the_command_refuses(arguments: list[str]) -> None:
    done = CliRunner().invoke(cli, ["token", "create", *arguments])
    assert done.exit_code == 2
    assert "tw_" not in done.output


def test_a_group_that_is_no_name() -> None:
    done = CliRunner().invoke(cli, ["token", "create", "x", "--group", ""])
    assert done.exit_code != 0
    assert "tw_" not in done.output


@pytest.mark.anyio
async def test_the_example_opens_the_door(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    text = EXAMPLE.read_text("utf-8")
    named = re.findall(r"# token: (\S+)$", text, re.MULTILINE)
    settings = load_settings(EXAMPLE, store="memory://")
    book = TokenBook(settings.auth.tokens, clock)
    assert [found.subject for one in named if (found := book.find(one))] == ["alice", "orchestrator"]
    for token in settings.auth.tokens:
        caplog.clear()
        TokenBook([token], clock)
        assert "which everybody knows" in caplog.text
    caplog.clear()
    TokenBook(auth_table().tokens, clock)
    assert caplog.text == ""
    async with running(build_app(settings)) as client:
        door = Door(client)
        assert (await door.good(named[0], "check_quota", tokens=1))["user"] == "alice"
        assert (await door.good(named[1], "check_quota", tokens=1, user="bob"))["user"] == "bob"
        assert (await door.post(ADMIN, {})).status_code == 401
        assert (await door.post(None, {})).status_code == 401
    whole = text.replace("# [auth.jwt]", "[auth.jwt]")
    for key in ("issuer", "audience", "jwks_url", "subject_prefix", "scopes_claim", "scopes"):
        whole = whole.replace(f"# {key} = ", f"{key} = ")
    assert load_settings_of(whole).auth.jwt is not None


def load_settings_of(text: str) -> Settings:
    return Settings.model_validate(tomllib.loads(text))
