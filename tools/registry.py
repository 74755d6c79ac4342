"""The tools, in the order in which every client lists them."""

from importlib import import_module

from tokenward.engine.errors import InvalidInput, nearest, shown
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


CORE = ("count_tokens", "estimate_cost", "check_quota", "record_usage", "release_quota")
"""What keeping to a budget takes: to know what work costs, to reserve, to record, to give back."""

_MOST_NAMED = 10

_SETS = {"all": NAMES, "core": CORE}


def names_of(tools: str) -> tuple[str, ...]:
    """The names of a set of tools, in the order in which clients list them.

    Args:
        tools: ``all``, ``core``, or names with commas between them; also both kinds together (``core,usage_report``).

    Raises:
        InvalidInput: There is no tool or set of a name, or none is named.
    """
    given = [one.strip() for one in tools.split(",")]
    known = (*_SETS, *NAMES)
    unknown = list(dict.fromkeys(one for one in given if one not in known))
    if unknown:
        said = [f"{shown(one)} is no tool.{nearest(one, known)}" for one in unknown[:_MOST_NAMED]]
        more = [f"So are {len(unknown) - _MOST_NAMED} more."] if len(unknown) > _MOST_NAMED else []
        raise InvalidInput("tools", f"{' '.join([*said, *more])} Known: {', '.join(known)}.")
    wanted = {name for one in given for name in _SETS.get(one, (one,))}
    return tuple(name for name in NAMES if name in wanted)


def load_tools(names: tuple[str, ...] = NAMES) -> tuple[Tool, ...]:
    """Tools in their order. Their modules are imported here, so that a server can answer before they are."""
    return tuple(_load(name) for name in names)


def _load(name: str) -> Tool:
    tool = import_module(f"tokenward.tools.{name}").TOOL
    if not isinstance(tool, Tool):
        raise TypeError(name)
    return tool
