"""The application: the service, its tools and their server, put together from the settings."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from tokenward.server.settings import Settings
from tokenward.server.surface.instructions import instructions_for
from tokenward.server.version import package_version
from tokenward.tools.definition import ToolContext
from tokenward.tools.registry import load_tools, names_of

if TYPE_CHECKING:
    from tokenward.performance import Performance
    from tokenward.server.strict import OpenContext, StrictServer
    from tokenward.server.telemetry.running import Telemetry


@asynccontextmanager
async def open_context(
    settings: Settings, *, see_alerts_through: bool = False, performance: "Performance | None" = None
) -> AsyncGenerator[ToolContext]:
    """What the tools and the command line work with, until the end of the block. The store is connected when needed.

    Args:
        settings: The settings in force.
        see_alerts_through: Wait at the end for alerts as long as their hooks may take, and not only for a moment.
        performance: Is told what is done.

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
        performance=performance,
    ) as service:
        yield ToolContext(service=service, roots=settings.roots, timezone=settings.timezone)


def build_server(
    settings: Settings, opener: "OpenContext | None" = None, *, telemetry: "Telemetry | None" = None
) -> "StrictServer":
    """The MCP server. Nothing is opened or counted before a client asks for it.

    Args:
        settings: The settings in force.
        opener: Opens what the tools work with, if that is not to be opened from the settings.
        telemetry: Is told what is called; counted for its own if not given.
    """
    from tokenward.server.strict import StrictServer  # noqa: PLC0415 - heavy, and the command line does without
    from tokenward.server.surface.surface import Surface  # noqa: PLC0415 - heavy, and the command line does without
    from tokenward.server.telemetry.running import Telemetry  # noqa: PLC0415 - the command line does without

    telemetry = telemetry or Telemetry()
    tools = names_of(settings.tools)
    return StrictServer(
        "tokenward",
        version=package_version(),
        instructions=instructions_for(tools),
        load_tools=partial(load_tools, tools),
        open_context=opener or partial(open_context, settings, performance=telemetry.performance),
        telemetry=telemetry,
        surface=Surface(tools),
    )


def serve_stdio(settings: Settings) -> None:
    """Serve one client over standard input and output until it leaves."""
    from tokenward.server import stdio  # noqa: PLC0415 - other transports do not need it
    from tokenward.server.telemetry.running import start_telemetry  # noqa: PLC0415 - the command line does without

    telemetry = start_telemetry(settings.telemetry, transport="pipe")
    try:
        stdio.serve_stdio(build_server(settings, telemetry=telemetry))
    finally:
        telemetry.close()
