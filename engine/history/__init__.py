"""Histories that fit: truncation that providers still accept, compression that leaves code and data alone."""

from tokenward.engine.history.compress import CompressionResult, compress_messages
from tokenward.engine.history.optimizer import TokenOptimizer
from tokenward.engine.history.restore import restore
from tokenward.engine.history.strategies import STRATEGIES, Clear, Drop, Policy, Strategy
from tokenward.engine.history.strategy_plugins import MessageView, StrategyPlugin, UnitView
from tokenward.engine.history.truncate import TruncationResult, truncate_history
from tokenward.engine.history.validate import validate_messages

__all__ = [
    "STRATEGIES",
    "Clear",
    "CompressionResult",
    "Drop",
    "MessageView",
    "Policy",
    "Strategy",
    "StrategyPlugin",
    "TokenOptimizer",
    "TruncationResult",
    "UnitView",
    "compress_messages",
    "restore",
    "truncate_history",
    "validate_messages",
]
