"""The page on observability names every metric that there is, and asks for none that there is not."""

import re
from pathlib import Path

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.parser import text_string_to_metric_families

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.usage import TokenUsage
from tokenward.performance import Performance
from tokenward.server.settings import Settings
from tokenward.server.telemetry.otel import instrumented
from tokenward.server.telemetry.prometheus import exposition

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "observability.md").read_text("utf-8")


def busy(performance: Performance) -> None:
    """One of everything that has labels."""
    performance.counting = TokenCounter().get_performance_metrics
    performance.called("count_tokens", 0.1, "ok")
    performance.requested("GET", "/mcp", 200, 0.1)
    performance.recorded("openai", "gpt-4o", TokenUsage(1, 1), 1, settled=True, overage=True)
    performance.unchecked()
    performance.denials["user", "tokens", "day"] += 1
    performance.ledger.committed(1, 0.1)


def test_every_metric_of_prometheus_is_there_with_its_labels() -> None:
    performance = Performance()
    busy(performance)
    families = text_string_to_metric_families(exposition(performance, version="1", holds=1)[0].decode())
    served: dict[str, set[str]] = {}
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        if name.startswith("tokenward_"):
            served[name] = {label for sample in family.samples for label in sample.labels} - {"le"}
    table = PAGE.partition("| Metric | Labels |")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()[2:]]
    written = {row[0].strip("`"): set(re.findall(r"`(\w+)`", row[1])) for row in rows}
    assert written == served


def test_every_query_asks_for_metrics_that_are_there() -> None:
    table = set(re.findall(r"^\| `(tokenward_\w+)`", PAGE, re.MULTILINE))
    asked = set(re.findall(r"tokenward_\w+", "".join(re.findall(r"```promql\n(.*?)```", PAGE, re.DOTALL))))
    assert asked
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} <= table


def test_every_metric_of_opentelemetry_is_there_with_its_attributes() -> None:
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader], shutdown_on_exit=False)
    telemetry = instrumented(TracerProvider(shutdown_on_exit=False), meters, transport="pipe", close=lambda: None)
    busy(telemetry.performance)
    data = reader.get_metrics_data()
    assert data is not None
    metrics = [one for found in data.resource_metrics for scope in found.scope_metrics for one in scope.metrics]
    sent = {one.name: {name for point in one.data.data_points for name in point.attributes or {}} for one in metrics}
    assert sent.pop("http.server.request.duration")
    rows = re.findall(r"^\| `(tokenward\.[\w.]+)`[^|]*\|([^|]*)\|$", PAGE, re.MULTILINE)
    assert {name: set(re.findall(r"`([\w.]+)`", attributes)) for name, attributes in rows} == sent
    assert "`http.server.request.duration`" in PAGE


def test_the_settings_are_those_that_there_are() -> None:
    written = re.findall(r"```toml\n\[telemetry\]\n(.*?)```", PAGE, re.DOTALL)[0]
    names = re.findall(r"^(\w+) =", written, re.MULTILINE)
    assert names == list(type(Settings.model_validate({}).telemetry).model_fields)


def test_the_scrape_configuration_asks_for_the_path_that_is_served() -> None:
    example = (DOCS / "examples" / "prometheus.yml").read_text("utf-8")
    assert "metrics_path: /metrics" in example
    port = Settings.model_validate({}).http.port
    assert f":{port}" in example
