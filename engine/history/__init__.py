"""Histories that fit: truncation that providers still accept, compression that leaves code and data alone."""

from tokenward.engine.history.compress import CompressionResult, compress_messages
from tokenward.engine.history.optimizer import TokenOptimizer
from tokenward.engine.history.strategies import STRATEGIES, Strategy
from tokenward.engine.history.truncate import TruncationResult, truncate_history
from tokenward.engine.history.validate import validate_messages

__all__ = [
    "STRATEGIES",
    "CompressionResult",
    "Strategy",
    "TokenOptimizer",
    "TruncationResult",
    "compress_messages",
    "truncate_history",
    "validate_messages",
]
