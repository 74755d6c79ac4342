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
    from tokenward.engine.analytics import ReportRequest, UsageAnalytics, UsageReport, UsageStats
    from tokenward.engine.catalog import Catalog, ModelInfo
    from tokenward.engine.counting.counter import TokenCounter, get_token_counter
    from tokenward.engine.counting.messages import count_messages
    from tokenward.engine.counting.results import BatchTokenCountResult, MessageCount, TokenCountResult
    from tokenward.engine.errors import InvalidInput, StoreError, TokenwardError, UnknownPrice
    from tokenward.engine.extraction import ExtractedUsage, extract_usage
    from tokenward.engine.history import TokenOptimizer, compress_messages, truncate_history, validate_messages
    from tokenward.engine.limits import TokenLimit
    from tokenward.engine.money import nano, usd
    from tokenward.engine.pricing import Cost, CostCalculator
    from tokenward.engine.tokenizers.base import TokenizationModel, Tokenizer, TokenizerOptions
    from tokenward.engine.usage import TokenUsage, UsageEvent
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
    from tokenward.service import CostEstimate, EstimateRequest, Tokenward
    from tokenward.sync import SyncTokenward
    from tokenward.tracker import UsageTracker

__all__ = [
    "BatchTokenCountResult",
    "BudgetAmounts",
    "BudgetAnswer",
    "BudgetRequest",
    "Catalog",
    "Cost",
    "CostCalculator",
    "CostEstimate",
    "EstimateRequest",
    "ExtractedUsage",
    "InvalidInput",
    "MessageCount",
    "ModelInfo",
    "QuotaCheck",
    "QuotaRequest",
    "RecordRequest",
    "Release",
    "ReportRequest",
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
    "UnknownPrice",
    "UsageAnalytics",
    "UsageEvent",
    "UsageReceipt",
    "UsageReport",
    "UsageStats",
    "UsageTracker",
    "compress_messages",
    "count_messages",
    "extract_usage",
    "get_token_counter",
    "nano",
    "truncate_history",
    "usd",
    "validate_messages",
]

_HOMES = {
    "engine.analytics": "ReportRequest UsageAnalytics UsageReport UsageStats",
    "engine.catalog": "Catalog ModelInfo",
    "engine.counting.counter": "TokenCounter get_token_counter",
    "engine.counting.messages": "count_messages",
    "engine.counting.results": "BatchTokenCountResult MessageCount TokenCountResult",
    "engine.errors": "InvalidInput StoreError TokenwardError UnknownPrice",
    "engine.extraction": "ExtractedUsage extract_usage",
    "engine.history": "TokenOptimizer compress_messages truncate_history validate_messages",
    "engine.limits": "TokenLimit",
    "engine.money": "nano usd",
    "engine.pricing": "Cost CostCalculator",
    "engine.tokenizers.base": "TokenizationModel Tokenizer TokenizerOptions",
    "engine.usage": "TokenUsage UsageEvent",
    "requests": "BudgetAmounts BudgetAnswer BudgetRequest QuotaCheck QuotaRequest RecordRequest Release UsageReceipt",
    "service": "CostEstimate EstimateRequest Tokenward",
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
