"""The line of ``tokenward statusline``, and the short way to it.

An editor asks for the line again and again and waits for it. Reading settings and opening the store as other commands
do takes longer than that, so for a SQLite ledger the few values it needs are read here, by the same rules. Anything
unusual (a value that may be wrong, an option, another store) takes the long way, ``commands/statusline.py``.
"""

import getpass
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TextIO, cast

from tokenward.engine.errors import TokenwardError
from tokenward.engine.limits import Metric, TokenLimit, amount_text, counted_in
from tokenward.engine.money import nano
from tokenward.engine.quota import WARNING_PERCENT, LimitStatus
from tokenward.engine.times import local
from tokenward.engine.types import Clock, system_clock
from tokenward.engine.windows import Window
from tokenward.engine.zones import time_zone
from tokenward.storage.factory import DEFAULT_URL, sqlite_path
from tokenward.storage.glance import Glance, glance

if TYPE_CHECKING:
    from tokenward.engine.currency import Currency

COMMAND: Final = "statusline"

_OPTIONS: Final = ("--store", "--user", "--config")
_PLAIN: Final = ("store", "user", "timezone")
READ: Final = frozenset((*_PLAIN, "limits", "currency"))
WITHOUT_EFFECT: Final = frozenset(
    (
        *("aliases", "alerts", "anomalies", "auth", "backend", "cache_size", "calibration", "config"),
        *("exchange_rates", "fail_open", "fast", "http", "log_level", "plugins", "prices", "prices_file"),
        *("priorities", "provider_timeout_seconds", "provider_urls", "roots", "telemetry", "tokenizers", "tools"),
    )
)
"""Settings that change nothing in the line. A file with others is for the long way, which knows whether it is wrong."""

_CENT = 10_000_000
"""Nano-dollars, or billionths of another currency."""
_THOUSAND, _MILLION, _BILLION = 1_000, 1_000_000, 1_000_000_000


def print_quickly(
    arguments: Sequence[str],
    *,
    environment: Mapping[str, str] = os.environ,
    output: TextIO | None = None,
    clock: Clock = system_clock,
) -> bool:
    """Print the line if the short way leads to it; whether it did."""
    out = output or sys.stdout
    try:
        found = _look(arguments, environment, clock())
        if found is None:
            return False
        one, timezone = found
        text = line_of(one, timezone) + "\n"
        out.write(text.encode(out.encoding or "utf-8", "replace").decode(out.encoding or "utf-8"))
        out.flush()
    except (TokenwardError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        # The long way says what is wrong.
        return False
    return True


def _look(arguments: Sequence[str], environment: Mapping[str, str], now_us: int) -> tuple[Glance, str] | None:
    """How the user stands, and the time zone to say it in."""
    given = _options(arguments)
    settings = None if given is None else _settings(given, environment)
    if settings is None:
        return None
    file = sqlite_path(settings.store)
    if file is None or not file.is_file():
        return None
    found = glance(file, settings.user, settings.timezone, now_us, settings.limits)
    return None if found is None else (found, settings.timezone)


def _options(arguments: Sequence[str]) -> dict[str, str] | None:
    """The options before a lone ``statusline``."""
    *options, command = arguments or [""]
    names, values = options[::2], options[1::2]
    if command != COMMAND or len(names) != len(values) or any(name not in _OPTIONS for name in names):
        return None
    return {name.removeprefix("--"): value for name, value in zip(names, values, strict=True)}


class _Settings(NamedTuple):
    store: str
    user: str
    timezone: str
    limits: tuple[TokenLimit, ...]


def _settings(given: Mapping[str, str], environment: Mapping[str, str]) -> _Settings | None:
    """What the line needs: from options, else the environment, else the file, else the defaults."""
    prefix = "tokenward_"
    variables = {
        name.lower().removeprefix(prefix): value
        for name, value in environment.items()
        if value and name.lower().startswith(prefix)
    }
    written = _written(given.get("config") or variables.get("config"))
    if written.keys() - READ - WITHOUT_EFFECT:
        return None
    chosen = {"store": DEFAULT_URL, "timezone": "UTC", **written, **variables, **given}
    if chosen.get("currency", "USD") != "USD":
        return None
    if "user" not in chosen:
        chosen["user"] = getpass.getuser()
    store, user, timezone = (chosen[name] for name in _PLAIN)
    limits: Any = json.loads(variables["limits"]) if "limits" in variables else chosen.get("limits", [])
    plain = isinstance(store, str) and isinstance(user, str) and isinstance(timezone, str)
    if not plain or not isinstance(limits, list):
        return None
    expected = tuple(_limit(one, timezone) for one in cast("list[dict[str, Any]]", limits))
    return _Settings(store, user, timezone, expected)


def _limit(setting: Mapping[str, Any], timezone: str) -> TokenLimit:
    """A limit of the settings, as ``LimitSetting`` makes it."""
    metric: Metric = setting.get("metric", "tokens")
    window: Window = setting["window"]
    amount = nano(str(setting["limit"])) if metric == "cost" else setting["limit"]
    mode, zone = counted_in(window, setting.get("mode"), setting.get("timezone"), timezone)
    return TokenLimit(setting["subject"], metric, window, amount, mode, zone)


def _written(named: str | None) -> dict[str, Any]:
    """The settings file's content. Raises OSError where a named one is missing."""
    if named is None:
        from platformdirs import user_config_path  # noqa: PLC0415 - not needed where a file is named

        file = user_config_path("tokenward") / "config.toml"
        if not file.is_file():
            return {}
    else:
        file = Path(named).expanduser()
    import tomllib  # noqa: PLC0415 - heavy

    return tomllib.loads(file.read_text(encoding="utf-8"))


# The line -----------------------------------------------------------------------------------------------------------


def line_of(one: Glance, timezone: str, currency: "Currency | None" = None) -> str:
    """``alice · today 1.2M tokens, $3.41 · 68 % of tokens per day``.

    The limit is the one that is used most; from 80 % on it begins with an exclamation mark.

    Args:
        one: How the user stands.
        timezone: IANA zone of the time at which a limit resets.
        currency: What today's cost is shown in; US dollars if not given. Limits on cost are in US dollars.
    """
    used = f"today {_short(one.tokens)} tokens, {_money(one, currency)}" if one.tokens else "nothing used today"
    parts = [one.user, used]
    fullest = max(one.limits, key=_percent, default=None)
    if fullest is not None:
        parts.append(_of_limit(fullest, timezone))
    return " · ".join(parts)


def _of_limit(one: LimitStatus, timezone: str) -> str:
    percent = _percent(one)
    scope = "" if one.limit.scope in ("user", "default") else f" ({one.limit.subject})"
    text = f"{percent} % of {one.limit.metric} per {one.limit.window}{scope}"
    if percent < WARNING_PERCENT:
        return text
    left = amount_text(one.limit.metric, one.remaining)
    text = f"! {text}, {'$' if one.limit.metric == 'cost' else ''}{left} left"
    return text if one.resets_us is None else f"{text}, resets {_clock_time(one.resets_us, timezone)}"


def _percent(one: LimitStatus) -> int:
    taken = one.used + one.reserved
    return taken * 100 // one.limit.limit if one.limit.limit else 100


def _clock_time(moment_us: int, timezone: str) -> str:
    return local(moment_us, time_zone(timezone)).strftime("%d %b %H:%M")


def _money(one: Glance, currency: "Currency | None") -> str:
    """Whole cents; what costs something, and less than one, never shows as nothing."""
    amount = one.cost_nano if currency is None else currency.units(one.cost_nano)
    less = 0 < amount < _CENT
    cents = 1 if less else (amount + _CENT // 2) // _CENT
    text = f"{cents // 100:,}.{cents % 100:02d}"
    unknown = f" + {one.unpriced_requests} unpriced" if one.unpriced_requests else ""
    return f"{'<' if less else ''}{f'${text}' if currency is None else currency.label(text)}{unknown}"


def _short(tokens: int) -> str:
    """``950``, ``12.3k``, ``1.2M``, ``3.4G``: rounded down to one decimal."""
    for size, unit in ((_BILLION, "G"), (_MILLION, "M"), (_THOUSAND, "k")):
        if tokens >= size:
            tenths = tokens * 10 // size
            return f"{tenths // 10}.{tenths % 10}{unit}"
    return str(tokens)
