"""Results for people: tables on standard output, progress on standard error. Only imported when a person reads.

User's text is never read as markup, and characters that a terminal would obey are shown, not sent.
"""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager
from decimal import ROUND_HALF_UP, Decimal

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tokenward.engine.currency import Currency
from tokenward.server.commands.session import plain
from tokenward.tools.definition import ReportProgress

_WIDE = 10_000
_LEAST_NAME = 12
_CENT = Decimal("0.01")
_BARS = "▁▂▃▄▅▆▇█"


def stdout_console() -> Console:
    """Standard output. Without a terminal: no colours, and no line is ever wrapped or cut."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDE)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, footer: Sequence[object] | None = None) -> Table:
    """A table. A column whose name begins with ``>`` is aligned to the right; ``None`` shows as a dash.

    Args:
        columns: Their names.
        rows: Their cells; integers get thousands separators.
        footer: A last row, set apart.
    """
    made = Table(box=SIMPLE_HEAD, show_footer=footer is not None, pad_edge=False)
    cells = [[cell(value) for value in row] for row in rows]
    # On a narrow terminal names are folded, but never away, and what is cut of a number is marked.
    least = min(_LEAST_NAME, max((one[0].cell_len for one in cells), default=0))
    for index, column in enumerate(columns):
        right = column.startswith(">")
        made.add_column(
            column.removeprefix(">"),
            footer="" if footer is None else cell(footer[index]),
            justify="right" if right else "left",
            no_wrap=right,
            overflow="ellipsis" if right else "fold",
            min_width=least if index == 0 else None,
        )
    for row in cells:
        made.add_row(*row)
    return made


def cell(value: object) -> Text:
    """A value as a cell."""
    if value is None:
        return Text("-", style="dim")
    if isinstance(value, Text):
        return value
    return Text(f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else plain(str(value)))


def line(console: Console, text: str, style: str = "") -> None:
    """A line of text, taken literally."""
    console.print(Text(plain(text), style=style), soft_wrap=True)


def tokens(count: int, *, exact: bool) -> str:
    """``1,234``, or ``≈ 1,234`` for an estimate."""
    return f"{count:,}" if exact else f"≈ {count:,}"


def bounds(lower: int, upper: int, *, exact: bool) -> str:
    """``exact``, or between which numbers the truth lies."""
    return "exact" if exact else f"estimate, {lower:,} to {upper:,}"


def money(usd: str | None) -> str | None:
    """``$0.004125``."""
    return None if usd is None else f"${usd}"


def money_in(amount_nano: int, currency: Currency) -> str:
    """An amount for people: ``$3.41``, ``0.0031 EUR``. Cents from one unit on, below that four decimals, or all."""
    exact = currency.text(amount_nano)
    amount = abs(Decimal(exact))
    text = exact
    if amount >= _CENT:
        text = f"{Decimal(exact).quantize(_CENT if amount >= 1 else _CENT * _CENT, ROUND_HALF_UP):,}"
    return currency.label(text)


def duration(seconds: int) -> str:
    """``24 h 26 min``: the two largest units, and the smaller one rounded up."""
    for unit, name, part, part_name in ((3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= unit:
            whole, rest = divmod(seconds + (-seconds) % part, unit)
            return f"{whole} {name} {rest // part} {part_name}"
    return f"{seconds} s"


def sparkline(values: Sequence[int]) -> str:
    """A bar per value, the largest full."""
    most = max(values, default=0)
    return "".join(_BARS[value * (len(_BARS) - 1) // most] if most else _BARS[0] for value in values)


@contextmanager
def progress(description: str) -> Generator[ReportProgress | None]:
    """A progress bar on standard error that vanishes when done; ``None`` when nobody watches."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield None
        return
    said, told = (TextColumn(f"{{task.{name}}}", markup=False) for name in ("description", "fields[message]"))
    with Progress(
        SpinnerColumn(), said, BarColumn(), told, TimeElapsedColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(description, total=None, message="")

        async def report(done: float, total: float | None = None, message: str | None = None, /) -> None:
            bar.update(task, completed=done, total=total, message=message or "")

        yield report
