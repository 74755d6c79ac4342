"""The tools, in the order in which every client lists them."""

from importlib import import_module

from tokenward.tools.definition import Tool

NAMES = (
    "count_tokens",
    "count_messages",
    "estimate_cost",
    "check_quota",
    "record_usage",
    "release_quota",
    "usage_report",
    "truncate_history",
    "compress_messages",
)


def load_tools() -> tuple[Tool, ...]:
    """All tools in their order. Their modules are imported here, so that a server can answer before they are."""
    return tuple(_load(name) for name in NAMES)


def _load(name: str) -> Tool:
    tool = import_module(f"tokenward.tools.{name}").TOOL
    if not isinstance(tool, Tool):
        raise TypeError(name)
    return tool
