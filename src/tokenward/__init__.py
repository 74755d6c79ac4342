"""The token ledger and budget authority for AI agents.

The library's public names. They are loaded when they are first used, so that ``import tokenward`` costs nothing.

>>> from tokenward import TokenCounter, TokenizationModel
>>> TokenCounter().count_tokens("Hello world", TokenizationModel.CL100K_BASE).token_count
2
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str
    from tokenward.costs import CostEstimate, EstimateRequest
    from tokenward.engine.analytics import UsageAnalytics
    from tokenward.engine.catalog import Catalog, ModelInfo
    from tokenward.engine.counting.counter import TokenCounter, get_token_counter
    from tokenward.engine.counting.messages import count_messages
    from tokenward.engine.counting.results import BatchTokenCountResult, MessageCount, TokenCountResult
    from tokenward.engine.currency import Currencies, Currency
    from tokenward.engine.errors import InvalidInput, StoreError, TokenwardError, UnknownPrice
    from tokenward.engine.extraction import ExtractedUsage, extract_usage
    from tokenward.engine.history import (
        TokenOptimizer,
        TruncationResult,
        compress_messages,
        restore,
        truncate_history,
        validate_messages,
    )
    from tokenward.engine.history.assembly import ContextFile
    from tokenward.engine.history.compress import CompressionResult
    from tokenward.engine.history.context import ContextPlan, plan_context
    from tokenward.engine.limits import TokenLimit
    from tokenward.engine.money import nano, usd
    from tokenward.engine.prices.own import OwnPrice, OwnPrices, OwnTable
    from tokenward.engine.pricing import Cost, CostCalculator
    from tokenward.engine.reports.anomalies import Anomaly
    from tokenward.engine.reports.prediction import CostPrediction, PredictionRequest
    from tokenward.engine.reports.replay import ReplayReport
    from tokenward.engine.reports.report import ReportRequest, UsageReport, UsageStats
    from tokenward.engine.reports.text import report_csv, report_json, report_markdown
    from tokenward.engine.reports.what_if import Scenario, WhatIfReport
    from tokenward.engine.tokenizers.base import TokenizationModel, Tokenizer, TokenizerOptions
    from tokenward.engine.usage import TokenUsage, UsageEvent
    from tokenward.histories import ContextRequest
    from tokenward.hooks import AlertHook
    from tokenward.judgements import ReplayRequest, WhatIfRequest
    from tokenward.requests import (
        BudgetAmounts,
        BudgetAnswer,
        BudgetRequest,
        QuotaCheck,
        QuotaRequest,
        RecordRequest,
        Release,
        UsageReceipt,
    )
    from tokenward.server.price_settings import own_prices_of
    from tokenward.service import Tokenward
    from tokenward.sync import SyncTokenward
    from tokenward.tracker import UsageTracker

__all__ = [
    "AlertHook",
    "Anomaly",
    "BatchTokenCountResult",
    "BudgetAmounts",
    "BudgetAnswer",
    "BudgetRequest",
    "Catalog",
    "CompressionResult",
    "ContextFile",
    "ContextPlan",
    "ContextRequest",
    "Cost",
    "CostCalculator",
    "CostEstimate",
    "CostPrediction",
    "Currencies",
    "Currency",
    "EstimateRequest",
    "ExtractedUsage",
    "InvalidInput",
    "MessageCount",
    "ModelInfo",
    "OwnPrice",
    "OwnPrices",
    "OwnTable",
    "PredictionRequest",
    "QuotaCheck",
    "QuotaRequest",
    "RecordRequest",
    "Release",
    "ReplayReport",
    "ReplayRequest",
    "ReportRequest",
    "Scenario",
    "StoreError",
    "SyncTokenward",
    "TokenCountResult",
    "TokenCounter",
    "TokenLimit",
    "TokenOptimizer",
    "TokenUsage",
    "TokenizationModel",
    "Tokenizer",
    "TokenizerOptions",
    "Tokenward",
    "TokenwardError",
    "TruncationResult",
    "UnknownPrice",
    "UsageAnalytics",
    "UsageEvent",
    "UsageReceipt",
    "UsageReport",
    "UsageStats",
    "UsageTracker",
    "WhatIfReport",
    "WhatIfRequest",
    "compress_messages",
    "count_messages",
    "extract_usage",
    "get_token_counter",
    "nano",
    "own_prices_of",
    "plan_context",
    "report_csv",
    "report_json",
    "report_markdown",
    "restore",
    "truncate_history",
    "usd",
    "validate_messages",
]

_HOMES = {
    "costs": "CostEstimate EstimateRequest",
    "engine.analytics": "UsageAnalytics",
    "engine.reports.anomalies": "Anomaly",
    "engine.catalog": "Catalog ModelInfo",
    "engine.counting.counter": "TokenCounter get_token_counter",
    "engine.counting.messages": "count_messages",
    "engine.counting.results": "BatchTokenCountResult MessageCount TokenCountResult",
    "engine.currency": "Currencies Currency",
    "engine.errors": "InvalidInput StoreError TokenwardError UnknownPrice",
    "engine.extraction": "ExtractedUsage extract_usage",
    "engine.history": "TokenOptimizer TruncationResult compress_messages restore truncate_history validate_messages",
    "engine.history.assembly": "ContextFile",
    "engine.history.compress": "CompressionResult",
    "engine.history.context": "ContextPlan plan_context",
    "engine.limits": "TokenLimit",
    "engine.money": "nano usd",
    "engine.reports.prediction": "CostPrediction PredictionRequest",
    "engine.prices.own": "OwnPrice OwnPrices OwnTable",
    "engine.pricing": "Cost CostCalculator",
    "engine.reports.replay": "ReplayReport",
    "engine.reports.report": "ReportRequest UsageReport UsageStats",
    "engine.reports.text": "report_csv report_json report_markdown",
    "engine.tokenizers.base": "TokenizationModel Tokenizer TokenizerOptions",
    "engine.usage": "TokenUsage UsageEvent",
    "engine.reports.what_if": "Scenario WhatIfReport",
    "histories": "ContextRequest",
    "hooks": "AlertHook",
    "judgements": "ReplayRequest WhatIfRequest",
    "requests": "BudgetAmounts BudgetAnswer BudgetRequest QuotaCheck QuotaRequest RecordRequest Release UsageReceipt",
    "server.price_settings": "own_prices_of",
    "service": "Tokenward",
    "sync": "SyncTokenward",
    "tracker": "UsageTracker",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - heavy

        return version("tokenward")
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
