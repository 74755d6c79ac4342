"""The application: the service, its tools and their server, put together from the settings."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tokenward.server.settings import Settings
from tokenward.tools.definition import ToolContext
from tokenward.tools.registry import load_tools

if TYPE_CHECKING:
    from tokenward.server.strict import StrictServer

INSTRUCTIONS = """\
Tokenward counts tokens, prices work and keeps the ledger of what was used.
Before costly work: check_quota with reserve=true (input_tokens or messages, max_output_tokens, model). \
If not allowed, wait retry_after_seconds or ask for less.
After it: record_usage with the reservation_id and the real numbers or the provider's response, and \
counted_tokens, what count_messages said. If the work did not happen: release_quota.
To count files give paths to count_tokens instead of pasting them. If a history grows too long: truncate_history or \
compress_messages.
exact=false marks an estimate; the truth lies between lower and upper. Limits are set by people, not by tools."""


@asynccontextmanager
async def open_context(settings: Settings, *, see_alerts_through: bool = False) -> AsyncGenerator[ToolContext]:
    """What the tools and the command line work with, until the end of the block. The store is connected when needed.

    Args:
        settings: The settings in force.
        see_alerts_through: Wait at the end for alerts as long as their hooks may take, and not only for a moment.

    Raises:
        ConfigurationError: The settings name no store.
    """
    from tokenward.alerts import GRACE_SECONDS  # noqa: PLC0415 - not needed before the first call
    from tokenward.engine.prices.data import price_loader  # noqa: PLC0415 - not needed before the first call
    from tokenward.service import Tokenward  # noqa: PLC0415 - heavy, and not needed before the first call

    grace_seconds = GRACE_SECONDS
    if see_alerts_through:
        grace_seconds += max((hook.timeout_seconds for hook in settings.alert_hooks), default=0.0)
    async with Tokenward.open(
        settings.store,
        default_user=settings.user,
        aliases=settings.aliases,
        cache_size=settings.cache_size,
        limits=settings.token_limits,
        fail_open=settings.fail_open,
        policy=settings.policy,
        backend=settings.backend,
        options=settings.tokenizer_options,
        provider_urls=settings.provider_urls,
        provider_timeout_seconds=settings.provider_timeout_seconds,
        calibration=settings.calibration,
        prices=settings.own_prices,
        price_data=price_loader(settings.prices_file),
        currencies=settings.currencies,
        alerts=settings.alert_hooks,
        alert_grace_seconds=grace_seconds,
        anomalies=settings.anomalies,
    ) as service:
        yield ToolContext(service=service, roots=settings.roots, timezone=settings.timezone)


def build_server(settings: Settings) -> "StrictServer":
    """The MCP server. Nothing is opened or counted before a client asks for it."""
    from tokenward.server.strict import StrictServer  # noqa: PLC0415 - heavy, and the command line does without

    return StrictServer(
        "tokenward",
        version=package_version(),
        instructions=INSTRUCTIONS,
        load_tools=load_tools,
        open_context=partial(open_context, settings),
    )


def package_version() -> str:
    """The installed version; a source tree that is not installed has none."""
    try:
        return version("tokenward")
    except PackageNotFoundError:
        return "0+unknown"


def serve_stdio(settings: Settings) -> None:
    """Serve one client over standard input and output until it leaves."""
    from tokenward.server import stdio  # noqa: PLC0415 - other transports do not need it

    stdio.serve_stdio(build_server(settings))
