"""Where settings come from, and what is said of wrong ones."""

import os
from pathlib import Path

import pytest

from tokenward.engine.errors import ConfigurationError
from tokenward.engine.limits import TokenLimit
from tokenward.server import settings as settings_module
from tokenward.server.settings import load_settings, masked


@pytest.fixture(autouse=True)
def _no_settings_of_ours(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("TOKENWARD_"):
            monkeypatch.delenv(name)
    monkeypatch.setattr(settings_module, "default_config_file", lambda: tmp_path / "own" / "config.toml")


def written(folder: Path, text: str) -> Path:
    file = folder / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults() -> None:
    settings = load_settings()
    assert settings.store == "sqlite:///"
    assert settings.user
    assert settings.roots == (Path.cwd(),)
    assert (settings.log_level, settings.timezone, settings.fail_open) == ("WARNING", "UTC", False)
    assert settings.policy.shares == {"low": 100, "normal": 100, "high": 100}


def test_a_flag_goes_before_the_environment_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = written(tmp_path, 'user = "file"\nlog_level = "error"\ntimezone = "Europe/Berlin"')
    monkeypatch.setenv("TOKENWARD_USER", "environment")
    monkeypatch.setenv("TOKENWARD_LOG_LEVEL", "info")
    settings = load_settings(file, user="flag", log_level=None)
    assert (settings.user, settings.log_level, settings.timezone) == ("flag", "INFO", "Europe/Berlin")


def test_the_file_can_be_named_by_the_environment_or_lie_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = settings_module.default_config_file()
    own.parent.mkdir()
    own.write_text('user = "own"', encoding="utf-8")
    assert load_settings().user == "own"
    monkeypatch.setenv("TOKENWARD_CONFIG", str(written(tmp_path, 'user = "named"')))
    assert load_settings().user == "named"


def test_everything_can_be_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWARD_STORE", "memory://")
    monkeypatch.setenv("TOKENWARD_ROOTS", os.pathsep.join(("one", "two")))
    monkeypatch.setenv("TOKENWARD_FAIL_OPEN", "yes")
    monkeypatch.setenv("TOKENWARD_ALIASES", '{"mine": "gpt-4o"}')
    monkeypatch.setenv("TOKENWARD_LIMITS", '[{"subject": "global", "window": "day", "limit": 5}]')
    monkeypatch.setenv("TOKENWARD_CACHE_SIZE", "0")
    monkeypatch.setenv("TOKENWARD_PRIORITIES", '{"low": 80}')
    monkeypatch.setenv("TOKENWARD_TIMEZONE", "")
    settings = load_settings()
    assert (settings.store, settings.roots) == ("memory://", (Path("one"), Path("two")))
    assert (settings.fail_open, settings.aliases, settings.cache_size) == (True, {"mine": "gpt-4o"}, 0)
    assert settings.token_limits == (TokenLimit("global", "tokens", "day", 5),)
    assert settings.policy.shares == {"low": 80, "normal": 100, "high": 100}
    assert settings.timezone == "UTC"


def test_limits_are_turned_into_the_engines_units(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
        timezone = "Europe/Berlin"

        [[limits]]
        subject = "user:alice"
        metric = "cost"
        window = "month"
        limit = "2.50"

        [[limits]]
        subject = "default"
        metric = "requests"
        window = "minute"
        limit = 60
        timezone = "UTC"
        """,
    )
    assert load_settings(file).token_limits == (
        TokenLimit("user:alice", "cost", "month", 2_500_000_000, "calendar", "Europe/Berlin"),
        TokenLimit("default", "requests", "minute", 60),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('stor = "x"', "Unknown setting 'stor'. Did you mean 'store'?"),
        ("zzz = 1", "Unknown setting 'zzz'. Known: store, user, roots,"),
        ("user = 3", "Setting user: Input should be a valid string."),
        ('user = ""', "Setting user: '' is not a name"),
        ('timezone = "Berlin"', "Setting timezone: 'Berlin' is not a time zone"),
        ('log_level = "loud"', "Setting log_level: Input should be 'DEBUG', 'INFO',"),
        ("cache_size = -1", "Setting cache_size: Input should be greater than or equal to 0."),
        ("[priorities]\nurgent = 3", "Setting priorities.urgent"),
        ('[[limits]]\nsubjct = "global"', "Unknown setting 'subjct' in limits[0]. Did you mean 'subject'?"),
        ('[[limits]]\nsubject = "all"\nwindow = "day"\nlimit = 1', "Setting limits[0].subject: 'all' is not user:NAME"),
        (
            '[[limits]]\nsubject = "global"\nwindow = "year"\nlimit = 1',
            "Setting limits[0].window: Input should be 'min",
        ),
        ('[[limits]]\nsubject = "global"\nwindow = "day"\nlimit = 2.5', "Setting limits[0].limit: expected an integer"),
        ('[[limits]]\nsubject = "global"\nwindow = "day"\nlimit = "2"', "Setting limits[0].limit: expected an integer"),
        ('[limits]\nsubject = "global"', "Setting limits: expected a list of tables ([[limits]])."),
        ("limits = [3]", "Setting limits[0]: expected a table."),
        ("roots = 3", "Setting roots: expected a list."),
        ("aliases = 3", "Setting aliases: expected a table."),
        ("user =", "The configuration file"),
    ],
)
def test_wrong_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(written(tmp_path, text))
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)


def test_json_of_the_environment_must_be_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKENWARD_LIMITS", "no-json-but-secret")
    with pytest.raises(ConfigurationError, match="lists and tables are written as JSON") as caught:
        load_settings()
    assert str(caught.value).startswith("TOKENWARD_LIMITS is not JSON")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("text", ["{}", "3", '"global"'])
def test_limits_of_the_environment_are_a_list(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("TOKENWARD_LIMITS", text)
    with pytest.raises(ConfigurationError, match=r"^Setting limits: expected a list of tables \(\[\[limits\]\]\)\.$"):
        load_settings()


def test_what_is_nested_too_deeply_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigurationError, match=r"settings.toml cannot be read: it is nested too deeply\.$"):
        load_settings(written(tmp_path, "a = " + "[" * 20_000))
    monkeypatch.setenv("TOKENWARD_ALIASES", "[" * 20_000)
    with pytest.raises(ConfigurationError, match=r"^TOKENWARD_ALIASES is not JSON"):
        load_settings()


def test_a_home_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Path.home()
    assert load_settings(written(tmp_path, 'roots = ["~/work", "/x"]')).roots == (home / "work", Path("/x"))
    monkeypatch.setenv("TOKENWARD_ROOTS", os.pathsep.join(("~", "a~")))
    assert load_settings().roots == (home, Path("a~"))
    monkeypatch.setenv("TOKENWARD_ROOTS", "~nobody-of-that-name/x")
    with pytest.raises(ConfigurationError, match=r"^Setting roots\[0\]: the home folder that .* is not known\.$"):
        load_settings()


def test_a_missing_file_is_an_error_only_when_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="There is no configuration file"):
        load_settings(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:///", "sqlite:///"),
        ("sqlite:////var/lib/tokenward.db", "sqlite:////var/lib/tokenward.db"),
        ("memory://", "memory://"),
        ("postgresql://host/db", "postgresql://host/db"),
        ("postgresql://me:secret@host:5432/db", "postgresql://me:***@host:5432/db"),
        ("postgresql://me:sec/r@et?@host/db", "postgresql://me:***@host/db"),
        ("postgresql://:secret@host/db", "postgresql://:***@host/db"),
        ("postgresql://host/db?password=secret", "postgresql://host/db?***"),
        ("postgresql://me:secret@host/db?password=secret&sslmode=require", "postgresql://me:***@host/db?***"),
        ("postgres://me:secret@one:5432,two:5433/db?", "postgres://me:***@one:5432,two:5433/db?***"),
        ("postgresql:///db?host=/run/postgresql&password=secret", "postgresql:///db?***"),
        ("postgresql://me:secret@host/db?password=sec@ret", "postgresql://***"),
        ("postgresql://host:5432/db?password=sec@ret", "postgresql://***"),
        ("postgresql://me:p@x?y=secret@host/db", "postgresql://***"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    assert masked(url) == shown


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host:5432/db",
        "postgres://host/db",
        "postgresql:///db?host=/run/postgresql&connect_timeout=3&options=-csearch_path%3Dtokens",
        "postgresql://one:5432,two:5432/db?target_session_attrs=read-write",
    ],
)
def test_postgres_is_a_store(url: str) -> None:
    assert load_settings(store=url).store == url


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@host/db", "postgresql:secret", "postgresql+psycopg://secret", "secret"]
)
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(store=url)
    assert "secret" not in str(caught.value)
    assert "postgresql://" in str(caught.value)


def test_counting_in_the_database_needs_postgres() -> None:
    assert load_settings(store="postgresql://host/db", backend="pg_tiktoken").backend == "pg_tiktoken"
    assert load_settings(store="memory://").backend == "tiktoken"
    with pytest.raises(ConfigurationError, match="Setting backend: pg_tiktoken counts in a Postgres store"):
        load_settings(store="memory://", backend="pg_tiktoken")
    with pytest.raises(ConfigurationError, match="Setting backend: Input should be 'tiktoken', 'pg_tiktoken' or 'p"):
        load_settings(store="postgresql://host/db", backend="tiktok")


def test_a_provider_can_be_asked_through_a_gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().provider_urls == {}
    text = (
        'backend = "provider_api"\nprovider_timeout_seconds = 2.5\n[provider_urls]\nopenai = "https://gateway/openai"'
    )
    settings = load_settings(written(tmp_path, text))
    assert (settings.backend, settings.provider_timeout_seconds) == ("provider_api", 2.5)
    assert settings.provider_urls == {"openai": "https://gateway/openai"}
    monkeypatch.setenv("TOKENWARD_PROVIDER_URLS", '{"anthropic": "http://127.0.0.1:4000"}')
    assert load_settings().provider_urls == {"anthropic": "http://127.0.0.1:4000"}


@pytest.mark.parametrize(
    ("urls", "problem"),
    [
        ({"anthropic": "http://gateway"}, "Setting provider_urls.anthropic: expected https; plain http is"),
        ({"gemini": "https://me:hunter2@gateway"}, "Setting provider_urls.gemini: it holds a name or password"),
        ({"mistral": "https://hunter2"}, "Setting provider_urls.*: Input should be 'anthropic', 'gemini' or 'openai'"),
        ("hunter2", "Setting provider_urls: expected a table"),
    ],
)
def test_a_provider_is_not_asked_just_anywhere(urls: object, problem: str) -> None:
    with pytest.raises(ConfigurationError, match=problem) as caught:
        load_settings(provider_urls=urls)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0, -1, 61, "soon"])
def test_a_provider_is_waited_for_a_while(seconds: object) -> None:
    with pytest.raises(ConfigurationError, match="Setting provider_timeout_seconds: Input should be"):
        load_settings(provider_timeout_seconds=seconds)


def test_a_wrong_store_is_refused_without_being_shown() -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(store="me:secret@host")
    assert "secret" not in str(caught.value)


def test_the_representation_is_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(store="memory://").model_copy(update={"store": "postgresql://me:secret@host/db"})
    assert "secret" not in repr(settings)
    assert repr(settings).startswith("Settings(store='postgresql://me:***@host/db', user=")


def test_a_limit_set_twice_is_refused(tmp_path: Path) -> None:
    one = '[[limits]]\nsubject = "global"\nmetric = "tokens"\nwindow = "day"\nlimit = 5\n'
    with pytest.raises(ConfigurationError, match=r"limits\[1\]: sets global, tokens per day a second time"):
        load_settings(written(tmp_path, one + one))


@pytest.mark.parametrize("text", ["[auth]", "[auth]\nrequests_per_minute = 60", "[auth]\ntokens = []"])
def test_a_table_that_lets_nobody_in_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^Setting auth: names nobody.*token create.*\[auth\.jwt\].*out\.$"):
        load_settings(written(tmp_path, text))
    assert not load_settings(written(tmp_path, "")).auth.enabled


@pytest.mark.parametrize(
    "variable",
    ["TOKENWARD_HTTP__ALLOWED_HOSTS", "TOKENWARD_AUTH__TOKENS", "TOKENWARD_AUTH__JWT__SCOPES", "TOKENWARD_ALIASES"],
)
def test_a_variable_that_is_no_json_is_named_as_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "a.example")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(written(tmp_path, ""))
    assert str(caught.value).startswith(f"{variable} is not JSON; lists and tables are written as JSON: [")
    assert "a.example" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("allowed_hosts", "https://tokens.example", "'https://tokens.example' is no host; give a name or name:port"),
        ("allowed_hosts", "tokens.example/mcp", "is no host"),
        ("allowed_hosts", "*.example", "is no host"),
        ("allowed_hosts", "a.example, b.example", "is no host"),
        ("allowed_hosts", "", "is no host"),
        ("allowed_origins", "app.example", "'app.example' is no origin; give scheme://name"),
        ("allowed_origins", "https://app.example/page", "is no origin"),
        ("allowed_origins", "https://*.example", "is no origin"),
        ("allowed_origins", "", "is no origin"),
    ],
)
def test_names_that_no_request_can_have_are_refused(tmp_path: Path, key: str, value: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^Setting http\.{key}\[1\]: ") as caught:
        load_settings(written(tmp_path, f'[http]\n{key} = ["*", "{value}"]'))
    assert expected in str(caught.value)


def test_names_that_requests_have_are_taken(tmp_path: Path) -> None:
    hosts = ("tokens.example", "Tokens.Example:8484", "10.0.0.5:8484", "[::1]:8484", "[fe80::1]", "täg.example")
    origins = ("https://app.example", "http://App.example:8443/", "chrome-extension://abc", "https://[::1]:80", "null")
    lists = f"allowed_hosts = {list(hosts)}\nallowed_origins = {list(origins)}"
    http = load_settings(written(tmp_path, f"[http]\n{lists}")).http
    assert (http.allowed_hosts, http.allowed_origins) == (hosts, origins)
