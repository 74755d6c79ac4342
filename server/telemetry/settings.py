"""The settings of what can be seen from outside, table ``[telemetry]``.

Where OpenTelemetry sends to, how often, and with which headers is said by its own variables (``OTEL_…``), which every
tool of that world knows; so no secret of a backend stands in our file.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict


class TelemetrySettings(BaseModel):
    """What is told to whom.

    Attributes:
        prometheus: Serve ``/metrics`` over HTTP; it needs the extra ``prometheus``.
        metrics_open: Serve ``/metrics`` without a token beyond loopback too. It tells amounts and costs, but no names.
        otel: Send traces and metrics by OTLP; it needs the extra ``otel``.
        logs: How standard error is written: ``text`` for people, or ``json``, an object per line.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    prometheus: bool = True
    metrics_open: bool = False
    otel: bool = False
    logs: Literal["text", "json"] = "text"
