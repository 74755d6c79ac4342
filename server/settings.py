"""Settings: command-line flag, else environment (``TOKENWARD_…``), else the TOML file, else the default.

A setting that cannot be used is a :class:`ConfigurationError` that names the key and what is accepted, never the value:
a store's URL can hold a password.
"""

import getpass
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

import platformdirs
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from tokenward.engine.catalog import MAX_NAME_CHARACTERS
from tokenward.engine.currency import Currencies
from tokenward.engine.errors import ConfigurationError, InvalidInput, nearest, shown
from tokenward.engine.limits import TokenLimit, check_name
from tokenward.engine.prices.own import OwnPrices
from tokenward.engine.quota import Policy, Priority
from tokenward.engine.tokenizers.base import TokenizerOptions
from tokenward.engine.zones import time_zone
from tokenward.hooks import AlertHook
from tokenward.providers.urls import ProviderName, check_base_url
from tokenward.secret_files import secret
from tokenward.server.alert_settings import AlertSetting, alert_hooks
from tokenward.server.auth.settings import AuthSettings, JwtSetting, TokenSetting
from tokenward.server.http.settings import HttpSettings
from tokenward.server.limit_settings import LimitSetting
from tokenward.server.price_settings import (
    ExchangeRates,
    WrittenPrices,
    check_once,
    currencies,
    day_of_prices,
    known_keys,
    own_prices,
)
from tokenward.server.telemetry.settings import TelemetrySettings
from tokenward.storage.factory import DEFAULT_URL, check_url, is_postgres
from tokenward.tools.registry import names_of

ENVIRONMENT_PREFIX = "TOKENWARD_"

_PASSWORD = re.compile(r"(?<=://)([^/:@?]*):.*@")
_PARAMETERS = re.compile(r"\?(?=\w+=)")

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

# pydantic's words for these are Python's.
_EXPECTED = {"dict_type": "expected a table", "model_type": "expected a table", "tuple_type": "expected a list"}


def _os_user() -> str:
    """The operating system's name of the user."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container without a user of that number
        return "local"


def _expanded(folder: Path) -> Path:
    """A path with its ``~`` replaced: an environment that a client sets has no shell to do it."""
    try:
        return folder.expanduser()
    except RuntimeError:
        # pydantic wants a ValueError here.
        raise ValueError("the home folder that '~' means is not known") from None


_Folder: TypeAlias = Annotated[Path, AfterValidator(_expanded)]
_File: TypeAlias = Annotated[Path, AfterValidator(_expanded)]
_ModelPrefix: TypeAlias = Annotated[str, Field(min_length=1, max_length=MAX_NAME_CHARACTERS)]


class Settings(BaseSettings):
    """Everything that can be set.

    Attributes:
        store: URL of the ledger: ``sqlite:///FILE``, ``postgresql://…`` or ``memory://``; see
            :mod:`tokenward.storage.factory`.
        user: Whose tokens they are, where a caller names nobody.
        roots: Folders below which files may be counted.
        log_level: What is logged, to standard error.
        fail_open: Allow work while the store cannot be reached.
        aliases: Further names of models.
        limits: Limits that hold besides those in the store.
        timezone: IANA name of the zone of dates, calendar limits and reports that name none.
        cache_size: How many counts are remembered.
        backend: Where texts are counted: in process, in the store's Postgres by its extension pg_tiktoken, or by the
            model's provider, to which texts and messages are sent.
        provider_urls: Base URLs of the providers' counting APIs, for gateways.
        provider_timeout_seconds: The most that a count waits for its provider.
        priorities: The share of a limit, in percent, that each priority may use; what is not set may use all.
        tokenizers: Vocabulary files, by the beginning of a model's name or a family's name. Files that cannot be used
            are no error here: counting goes on without them, with a warning.
        fast: Let a faster core count where it is installed and agrees with tiktoken.
        plugins: Look for installed tokenizer plug-ins, and ask them.
        calibration: Let recorded usage adjust estimates.
        prices: Own prices, by the models' names; see :mod:`tokenward.server.price_settings`.
        currency: The currency that prices are shown in.
        exchange_rates: What one US dollar is in other currencies.
        alerts: What is done when a limit reaches 80 or 100 percent; see :mod:`tokenward.server.alert_settings`.
        anomalies: Warn in checks of users whose burn rate is far above their own usual.
        tools: Which tools are served: all, core, or names with commas between them.
        http: The HTTP door; see :mod:`tokenward.server.http.settings`.
        auth: Who may come in by it; see :mod:`tokenward.server.auth.settings`.
        telemetry: Metrics, traces and logs; see :mod:`tokenward.server.telemetry.settings`.
        prices_file: Where ``tokenward prices update`` keeps the price list that it fetched.
    """

    model_config = SettingsConfigDict(
        env_prefix=ENVIRONMENT_PREFIX,
        extra="forbid",
        frozen=True,
        env_ignore_empty=True,
        env_nested_delimiter="__",
    )

    store: str = Field(default=DEFAULT_URL, repr=False)
    user: str = Field(default_factory=_os_user)
    roots: Annotated[tuple[_Folder, ...], NoDecode] = Field(default_factory=lambda: (Path.cwd(),))
    log_level: LogLevel = "WARNING"
    fail_open: bool = False
    aliases: dict[str, str] = {}
    limits: tuple[LimitSetting, ...] = ()
    timezone: str = "UTC"
    cache_size: int = Field(default=1000, ge=0, le=10_000_000)
    backend: Literal["tiktoken", "pg_tiktoken", "provider_api"] = "tiktoken"
    provider_urls: dict[ProviderName, str] = {}
    provider_timeout_seconds: float = Field(default=5.0, gt=0, le=60)
    priorities: dict[Priority, Annotated[int, Field(ge=1, le=100)]] = {}
    tokenizers: dict[_ModelPrefix, _File] = {}
    fast: bool = True
    plugins: bool = True
    calibration: bool = True
    prices: WrittenPrices = {}
    currency: str = "USD"
    exchange_rates: ExchangeRates = {}
    alerts: tuple[AlertSetting, ...] = ()
    anomalies: bool = True
    tools: str = "all"
    http: HttpSettings = HttpSettings()
    auth: AuthSettings = AuthSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    prices_file: _File = Field(default_factory=lambda: platformdirs.user_data_path("tokenward") / "prices.json")

    @property
    def token_limits(self) -> tuple[TokenLimit, ...]:
        """The limits in the engine's units."""
        return tuple(one.token_limit(self.timezone) for one in self.limits)

    @property
    def policy(self) -> Policy:
        """The priorities' shares."""
        return Policy({**Policy().shares, **self.priorities})

    @property
    def alert_hooks(self) -> tuple[AlertHook, ...]:
        """What is done on alerts."""
        return alert_hooks(self.alerts)

    @property
    def tokenizer_options(self) -> TokenizerOptions:
        """What is set about tokenizers."""
        return TokenizerOptions(files=self.tokenizers, fast=self.fast, plugins=self.plugins)

    @property
    def own_prices(self) -> OwnPrices:
        """The own prices in the engine's form; those that state no day have the file's."""
        return own_prices(self.prices, day_of_prices(self.model_config.get("toml_file")))

    @property
    def currencies(self) -> Currencies:
        """The currencies that amounts can be shown in."""
        return currencies(self.exchange_rates, self.currency)

    def __repr_name__(self) -> str:
        return Settings.__name__

    def __repr_args__(self) -> Iterator[tuple[str | None, object]]:
        """What ``repr`` shows: passwords masked."""
        yield "store", masked(self.store)
        yield from super().__repr_args__()

    @field_validator("roots", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return value.split(os.pathsep) if isinstance(value, str) else value

    @field_validator("limits", "alerts", mode="before")
    @classmethod
    def _listed(cls, value: object, field: ValidationInfo) -> object:
        if type(value) not in (list, tuple):
            # pydantic wants a ValueError here.
            raise ValueError(f"expected a list of tables ([[{field.field_name}]])")
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @model_validator(mode="after")
    def _usable(self) -> Self:
        if "://" not in self.store:
            raise InvalidInput("store", "expected a URL, such as sqlite:///FILE or postgresql://HOST/DATABASE.")
        check_url(self.store)
        if self.backend == "pg_tiktoken" and not is_postgres(self.store):
            raise InvalidInput("backend", "pg_tiktoken counts in a Postgres store; give store=postgresql://….")
        for name, url in self.provider_urls.items():
            check_base_url(name, url)
        names_of(self.tools)
        check_name("user", self.user)
        time_zone(self.timezone)
        own_prices(self.prices)
        currencies(self.exchange_rates, self.currency)
        alert_hooks(self.alerts)
        self.auth.check(written="auth" in self.model_fields_set)
        self.http.check()
        named: set[tuple[str, str, str]] = set()
        for index, one in enumerate(self.limits):
            try:
                limit = one.token_limit(self.timezone)
            except InvalidInput as error:
                raise InvalidInput(f"limits[{index}].{error.field}", error.problem) from None
            if (limit.subject, limit.metric, limit.window) in named:
                raise InvalidInput(f"limits[{index}]", f"sets {limit.label} a second time; keep one of them.")
            named.add((limit.subject, limit.metric, limit.window))
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags before the environment before the file."""
        return init_settings, _Environment(settings_cls), TomlConfigSettingsSource(settings_cls)


class _Environment(EnvSettingsSource):
    """The environment; what is no JSON is said with the variable's name."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """A list or a table from its JSON.

        Raises:
            ConfigurationError: It is not JSON, or gives a key twice.
        """
        variable = self._variable(field_name, value)
        try:
            decoded = super().decode_complex_value(field_name, field, value)
            if decoded is not value:
                check_once(value)
        except InvalidInput as error:
            raise ConfigurationError(f"{variable}: {error}") from None
        except (ValueError, RecursionError):
            accepted = 'lists and tables are written as JSON: ["a"], {"b": 1}'
            raise ConfigurationError(f"{variable} is not JSON; {accepted}.") from None
        return decoded

    def _variable(self, field_name: str, value: object) -> str:
        """The variable that a value is from: the setting's own, or one of a table's key (``TOKENWARD_HTTP__PORT``)."""
        ending = f"__{field_name}".lower()
        nested = (name for name, given in self.env_vars.items() if given is value and name.lower().endswith(ending))
        return next(nested, f"{ENVIRONMENT_PREFIX}{field_name}").upper()


def load_settings(config: Path | str | None = None, **flags: object) -> Settings:
    """The settings.

    Args:
        config: The TOML file; else ``TOKENWARD_CONFIG``, else the user's own if there is one.
        flags: What the command line says, by the settings' names. ``None`` says nothing.

    Raises:
        ConfigurationError: A file that cannot be read, an unknown key, or a value that cannot be used.
    """
    file = config_file(config)
    given: dict[str, Any] = {name: value for name, value in flags.items() if value is not None}
    if "store" not in given and (url := secret(f"{ENVIRONMENT_PREFIX}STORE")):
        given["store"] = url
    try:
        return _reading(file)(**given) if file else Settings(**given)
    except ValidationError as error:
        raise ConfigurationError(_explained(error)) from None
    except InvalidInput as error:
        raise ConfigurationError(f"Setting {error}") from None
    except RecursionError:
        raise ConfigurationError(f"The configuration file {file} cannot be read: it is nested too deeply.") from None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The configuration file {file} cannot be read: {_first_line(error)}") from None


def _reading(file: Path) -> type[Settings]:
    """The settings with a file to read; pydantic-settings takes its name from the class."""

    class FileSettings(Settings):
        model_config = SettingsConfigDict(toml_file=file)

    return FileSettings


def config_file(named: Path | str | None = None) -> Path | None:
    """The TOML file in force, or ``None``.

    Raises:
        ConfigurationError: One is named that does not exist.
    """
    named = named or os.environ.get(f"{ENVIRONMENT_PREFIX}CONFIG")
    file = Path(named) if named else default_config_file()
    if file.is_file():
        return file
    if named:
        raise ConfigurationError(f"There is no configuration file {file}.")
    return None


def default_config_file() -> Path:
    """Where the user's own configuration file is looked for."""
    return platformdirs.user_config_path("tokenward") / "config.toml"


def masked(url: str) -> str:
    """A URL without its password, and without parameters that could hold one."""
    address, *parameters = _PARAMETERS.split(url, maxsplit=1)
    if any("@" in one for one in parameters):  # where the password ends is a guess: nothing is shown
        return f"{url.partition('://')[0]}://***"
    address, mark, _ = _PASSWORD.sub(r"\1:***@", address).partition("?")
    return f"{address}?***" if parameters or mark else address


def _explained(error: ValidationError) -> str:
    """One problem in words, a misspelt key first. pydantic's texts say what is accepted and do not quote the value."""
    problems = error.errors(include_url=False, include_input=False)
    first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
    location = first["loc"]
    if first["type"] == "extra_forbidden":
        *parents, last = location
        names = _known_keys(parents)
        where = f" in {_key(parents)}" if parents else ""
        hint = nearest(str(last), names) or f" Known: {', '.join(names)}."
        return f"Unknown setting {shown(str(last))}{where}.{hint}"
    expected = _EXPECTED.get(first["type"]) or first["msg"].removeprefix("Value error, ")
    return f"Setting {_key(location)}: {expected}."


def _known_keys(parents: Sequence[int | str]) -> Sequence[str]:
    """The keys of the table at a place in the settings."""
    if not parents:
        return tuple(Settings.model_fields)
    tables: dict[tuple[str, ...], type[BaseModel]] = {
        ("limits",): LimitSetting,
        ("alerts",): AlertSetting,
        ("http",): HttpSettings,
        ("auth",): AuthSettings,
        ("telemetry",): TelemetrySettings,
        ("auth", "tokens"): TokenSetting,
        ("auth", "jwt"): JwtSetting,
    }
    table = tables.get(tuple(one for one in parents if isinstance(one, str)))
    return tuple(table.model_fields) if table else known_keys(parents)


def _key(location: Sequence[int | str]) -> str:
    """``limits[0].metric``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).removeprefix(".")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]
