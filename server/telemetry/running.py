"""Telemetry of one process: what is counted, and what is sent on while it serves."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tokenward.engine.errors import ConfigurationError
from tokenward.performance import Performance

if TYPE_CHECKING:
    from mcp.server.context import ServerMiddleware

    from tokenward.server.strict import LazyContext
    from tokenward.server.telemetry.settings import TelemetrySettings


def _nothing() -> None:
    """For what has nothing to end."""


@dataclass(frozen=True, slots=True)
class Telemetry:
    """What a server tells, and to whom.

    Attributes:
        performance: Is told everything that happens.
        middleware: Wraps every MCP message, inside the SDK's own span.
        close: Sends what is left; may be called again.
    """

    performance: Performance = field(default_factory=Performance)
    middleware: "tuple[ServerMiddleware[LazyContext], ...]" = ()
    close: Callable[[], None] = _nothing


def start_telemetry(settings: "TelemetrySettings", *, transport: str) -> Telemetry:
    """Begin to count, and with ``otel`` to send. To be called in the process that serves, once.

    Args:
        settings: Table ``[telemetry]``.
        transport: How clients reach this process: ``pipe`` or ``tcp``, as OpenTelemetry calls it.

    Raises:
        ConfigurationError: ``otel`` is on and its packages are not installed.
    """
    if not settings.otel:
        return Telemetry()
    try:
        from tokenward.server.telemetry.otel import start_otel  # noqa: PLC0415 - heavy, and off by default
    except ImportError:
        raise ConfigurationError(
            "telemetry.otel needs OpenTelemetry's SDK. Install it with: pip install 'tokenward[otel]'"
        ) from None
    return start_otel(transport=transport)
