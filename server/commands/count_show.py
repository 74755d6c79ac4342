"""What ``tokenward count`` prints for people: a row per file, part or tool, a column per model, a summary per model."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from tokenward.server.commands.session import plain

if TYPE_CHECKING:
    from rich.console import Console

    from tokenward.server.commands.model_tally import DiffCount
    from tokenward.server.commands.tool_tax import ToolTax
    from tokenward.tools.count_messages import MessagesCount
    from tokenward.tools.count_tokens import TokenCount

    Count: TypeAlias = TokenCount | DiffCount | MessagesCount | ToolTax

_SKIPPED_SHOWN = 10
_PAID_ONCE = (
    "Each row is that tool alone: what a request with tools pays once is in every row, and once in the whole list."
)
_NAME_CHARACTERS = 100
_NAME_ROOM = 24
_MODEL_CHARACTERS = 20
_GAP = 3
_ANY_WIDTH = 10_000


def one_line(text: str) -> str:
    """A foreign text on one line, without characters that a terminal would obey."""
    return plain(text).replace("\n", "\\x0a")


def show_counts(console: "Console", counts: "Sequence[Count]") -> None:
    """Print the counts of the same thing for one or more models."""
    from tokenward.server.commands.render import line  # noqa: PLC0415 - heavy
    from tokenward.server.commands.tool_tax import ToolTax  # noqa: PLC0415 - heavy

    first = counts[0]
    if isinstance(first, ToolTax):
        line(console, f"Tools of {_name(first.server) or 'a server without a name'}: {len(first.tools)}", "bold")
    _show_parts(console, counts)
    _show_skipped(console, first)
    _show_summary(console, counts)
    if any(isinstance(one, ToolTax) and one.sum_of_tools > one.tokens for one in counts):
        line(console, _PAID_ONCE, "dim")
    for warning in dict.fromkeys(warning for one in counts for warning in one.warnings or ()):
        line(console, f"Note: {warning}", "yellow")


def _show_parts(console: "Console", counts: "Sequence[Count]") -> None:
    """A row per part; as many models side by side as leave room for the names, the others below."""
    names = _names(counts)
    if not names:
        return
    longest = max(len(name) for name in names)
    room = console.width - min(longest, max(_NAME_ROOM, console.width // 3))
    beside: list[Count] = []
    for one in counts:
        widths = [_column_width(other) for other in [*beside, one]]
        if beside and sum(widths) > room:
            _show_columns(console, names, beside)
            beside = []
        beside.append(one)
    _show_columns(console, names, beside)


def _column_width(count: "Count") -> int:
    header = max(len(line) for line in _wrapped(count.model).split("\n"))
    return max(header, len(f"≈ {max(count.tokens, *_totals(count).values()):,}")) + _GAP


def _show_columns(console: "Console", names: Sequence[str], counts: "Sequence[Count]") -> None:
    from rich.markup import escape  # noqa: PLC0415 - heavy

    from tokenward.server.commands.render import table, tokens  # noqa: PLC0415 - heavy

    columns = [_column(one, names) for one in counts]
    rows = [
        (name, *(tokens(column[index], exact=one.exact) for one, column in zip(counts, columns, strict=True)))
        for index, name in enumerate(names)
    ]
    totals = [_totals(one) for one in counts]
    differ = any(len(set(one.values())) > 1 for one in totals)
    said = list(totals[0]) if differ else ["total"]
    sums = [
        [tokens(amount, exact=one.exact) for amount in total.values()]
        for one, total in zip(counts, totals, strict=True)
    ]
    footer = ("\n".join(said), *("\n".join(column[: len(said)]) for column in sums))
    headers = [f">{escape(_wrapped(one.model))}" for one in counts]
    console.print(table(["", *headers], rows, footer=footer))


def _parts(count: "Count") -> list[tuple[str, int]]:
    """Tokens by file or tool, or by what a request is made of."""
    from tokenward.server.commands.tool_tax import ToolTax  # noqa: PLC0415 - heavy
    from tokenward.tools.count_tokens import TokenCount  # noqa: PLC0415 - heavy

    if isinstance(count, TokenCount):
        return [(one_line(one.path), one.tokens) for one in count.items or () if one.path is not None]
    if isinstance(count, ToolTax):
        return [(_name(one.name), one.tokens) for one in count.tools]
    return [(name.replace("_", " "), tokens) for name, tokens in dict(count.breakdown).items() if tokens]


def _names(counts: "Sequence[Count]") -> list[str]:
    """The rows: the same files or tools for every model; of a request, what any model has."""
    from tokenward.tools.count_messages import MessagesCount  # noqa: PLC0415 - heavy

    names = [[name for name, _ in _parts(one)] for one in counts]
    several = isinstance(counts[0], MessagesCount)
    return list(dict.fromkeys(name for one in names for name in one)) if several else names[0]


def _column(count: "Count", names: Sequence[str]) -> list[int]:
    """One model's tokens, row by row. Files and tools may share a name, parts of a request do not."""
    parts = _parts(count)
    return [tokens for _, tokens in parts] if len(parts) == len(names) else [dict(parts).get(one, 0) for one in names]


def _totals(count: "Count") -> dict[str, int]:
    """The sums below the parts; the same number under several names is one total."""
    from tokenward.server.commands.model_tally import DiffCount  # noqa: PLC0415 - heavy
    from tokenward.server.commands.tool_tax import ToolTax  # noqa: PLC0415 - heavy

    if isinstance(count, DiffCount):
        return {"sum of the files": count.sum_of_files, "the diff as a whole": count.tokens}
    if isinstance(count, ToolTax):
        return {"sum of each tool alone": count.sum_of_tools, "the whole list": count.tokens}
    return {"total": count.tokens}


def _show_skipped(console: "Console", count: "Count") -> None:
    from tokenward.server.commands.render import line  # noqa: PLC0415 - heavy
    from tokenward.tools.count_tokens import TokenCount  # noqa: PLC0415 - heavy

    skipped = count.skipped or [] if isinstance(count, TokenCount) else []
    for row in skipped[:_SKIPPED_SHOWN]:
        line(console, f"Skipped {one_line(row.path)}: {row.reason}", "dim")
    if len(skipped) > _SKIPPED_SHOWN:
        line(console, f"Skipped {len(skipped) - _SKIPPED_SHOWN:,} more (--json lists all).", "dim")


def _show_summary(console: "Console", counts: "Sequence[Count]") -> None:
    from tokenward.server.commands.render import bounds, line, table, tokens  # noqa: PLC0415 - heavy
    from tokenward.server.commands.tool_tax import ToolTax  # noqa: PLC0415 - heavy

    rows = [
        (
            one.model,
            one.tokens,
            bounds(one.lower, one.upper, exact=one.exact),
            f"{one.method}, {one.encoding}",
            one.context_window,
            None if one.context_used_percent is None else f"{one.context_used_percent} %",
            {True: "yes", False: "no", None: None}[one.fits],
        )
        for one in counts
    ]
    wide = table(["model", ">tokens", "certainty", "method", ">window", ">used", "fits"], rows)
    if console.measure(wide, options=console.options.update(width=_ANY_WIDTH)).maximum <= console.width:
        console.print(wide)
    else:
        folded = [
            (_wrapped(model), count, _folded(certainty), _folded(method), _window(window, used), fits)
            for model, count, certainty, method, window, used, fits in rows
        ]
        console.print(table(["model", ">tokens", "certainty", "method", ">window", "fits"], folded))
    for one in counts:
        if isinstance(one, ToolTax) and (said := one.instructions) is not None:
            # The whole list can have a range where the instructions have none.
            exact = said.lower == said.upper
            worth = bounds(said.lower, said.upper, exact=exact)
            line(console, f"The server's instructions add {tokens(said.tokens, exact=exact)} to {one.model} ({worth}).")


def _folded(text: str) -> str:
    """What stands behind a comma on a line of its own."""
    return text.replace(", ", ",\n")


def _window(window: int | None, used: str | None) -> str | None:
    return None if window is None else f"{window:,}\n{used}"


def _wrapped(model: str) -> str:
    """A model's name in lines that are not too long, broken where its parts end."""
    lines = [""]
    for part in re.findall(r"[^-/.:@]{1,19}[-/.:@]?|[-/.:@]", model):
        if lines[-1] and len(lines[-1]) + len(part) > _MODEL_CHARACTERS:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _name(text: str) -> str:
    """A server's or tool's name, as far as it is one."""
    text = one_line(text)
    return text if len(text) <= _NAME_CHARACTERS else f"{text[: _NAME_CHARACTERS - 1]}…"
