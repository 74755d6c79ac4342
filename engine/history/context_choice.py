"""Which parts of a context stay when not all of it fits, on sizes that add up."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from tokenward.engine.counting.results import MessageCount
from tokenward.engine.history.assembly import Assembly, ContextFile, Size
from tokenward.engine.history.truncate import TruncationResult
from tokenward.engine.types import JsonObject

PartKind: TypeAlias = Literal["system", "tools", "file", "history", "reply"]
Status: TypeAlias = Literal["kept", "truncated", "dropped"]

Truncate: TypeAlias = Callable[[int], TruncationResult]

_ATTEMPTS: Final = 16


@dataclass(frozen=True, slots=True)
class ContextPart:
    """One part of the context.

    Attributes:
        kind: ``system``, ``tools``, ``file``, ``history``, or ``reply`` for the start of the reply, which is input.
        name: A file's name, else the kind.
        wanted_tokens: What all of it counts.
        tokens: What the plan has of it; 0 for what is dropped.
        upper: The most that ``tokens`` can truly be.
        exact: Whether ``tokens`` is exact.
        status: ``kept``, ``truncated`` (a history) or ``dropped`` (a file).
        gives_way: Its place in the order in which parts give way, 1 first; ``None`` for what always stays.
    """

    kind: PartKind
    name: str
    wanted_tokens: int
    tokens: int
    upper: int
    exact: bool
    status: Status
    gives_way: int | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which files stay, by position, and what of the history."""

    files: frozenset[int]
    history: Sequence[JsonObject]
    size: Size
    truncation: TruncationResult | None = None


class Chooser:
    """Chooses what stays, on sizes that add up."""

    def __init__(
        self,
        assembly: Assembly,
        files: Sequence[ContextFile],
        sizes: Sequence[Size],
        history: Sequence[JsonObject],
        history_priority: int,
    ) -> None:
        self._assembly = assembly
        self._files = files
        self._sizes = sizes
        self._history = history
        self._full = assembly.size(history)
        self._order = sorted(range(len(files)), key=lambda place: (files[place].priority, -place))
        self._before_history = sum(file.priority < history_priority for file in files)

    def everything(self) -> Choice:
        """All files and the whole history."""
        return Choice(frozenset(self._order), self._history, self._full)

    @property
    def _fixed(self) -> int:
        return self._assembly.reply.upper + self._assembly.system.upper + self._assembly.tools.upper

    def choose(self, room: int, truncate: Truncate) -> Choice | None:
        """What stays in so many tokens of input, or ``None`` if not even what must stay fits, or nothing is left."""
        found = self._chosen(room - self._fixed, truncate)
        if found is not None and (found.files or self._assembly.speaks(found.history)):
            return found
        return next((one for one in self._lone() if self._whole(one) <= room), None)

    def _lone(self) -> Iterator[Choice]:
        """Choices of one message: a request of one text has narrower bounds than its parts."""
        if len(self._history) == 1 and self._assembly.speaks(self._history):
            yield Choice(frozenset(), self._history, self._full)
        elif not self._history:
            for place in reversed(self._order):
                yield Choice(frozenset((place,)), (), self._full)

    def _whole(self, choice: Choice) -> int:
        files = [file for place, file in enumerate(self._files) if place in choice.files]
        return self._assembly.whole(files, choice.history).upper

    def _chosen(self, free: int, truncate: Truncate) -> Choice | None:
        dropped = 0
        while dropped < self._before_history and self._uppers(dropped) + self._full.upper > free:
            dropped += 1
        if self._uppers(dropped) + self._full.upper <= free:
            return self._filled(dropped, Choice(frozenset(), self._history, self._full), free)
        found = self._shortened(free - self._uppers(dropped), truncate)
        if found is None:
            # Fewer files leave more room: the fewest that have to go are found by halving.
            low, high = dropped, len(self._order)
            found = self._shortened(free, truncate)
            while found is not None and low + 1 < high:
                middle = (low + high) // 2
                low, high = (low, middle) if self._shortened(free - self._uppers(middle), truncate) else (middle, high)
            dropped = high
            found = self._shortened(free - self._uppers(dropped), truncate)
        return None if found is None else self._filled(dropped, found, free)

    def _uppers(self, dropped: int) -> int:
        """What the files that are left count at most when so many went."""
        return sum(self._sizes[place].upper for place in self._order[dropped:])

    def _filled(self, dropped: int, choice: Choice, free: int) -> Choice:
        """The choice with its files, and with those that went although there is room for them."""
        files = set(self._order[dropped:])
        left = free - self._uppers(dropped) - choice.size.upper
        for place in reversed(self._order[:dropped]):
            if self._sizes[place].upper <= left:
                files.add(place)
                left -= self._sizes[place].upper
        return Choice(frozenset(files), choice.history, choice.size, choice.truncation)

    def _shortened(self, free: int, truncate: Truncate) -> Choice | None:
        """The history in so many tokens by its upper bound, or ``None``."""
        if self._full.upper <= free:
            return Choice(frozenset(), self._history, self._full)
        if not self._history:
            return None
        # Truncation counts by the best estimate, and the start of the reply with it. Estimates are at most the bounds,
        # so what does not fit into all of the room by them does not fit at all; the first guess is a smaller one.
        reply = self._assembly.reply.tokens
        low, high = reply, reply + free
        limit = low + free * self._full.tokens // self._full.upper
        for _ in range(_ATTEMPTS):
            if not low < limit <= high:
                return None
            result = truncate(limit)
            if result.fits:
                size = self._assembly.size(result.messages)
                if size.upper <= free:
                    return Choice(frozenset(), result.messages, size, result)
                high = min(limit, result.tokens_after) - 1
                limit = max(high + 1 - (size.upper - free), (low + high + 1) // 2)
            else:
                # Nothing that small can be made: all the room there is, then half of what is left between.
                low, limit = limit, high if limit < high and low == reply else (limit + high + 1) // 2
        return None

    def parts(self, choice: Choice, count: MessageCount) -> tuple[ContextPart, ...]:
        """All parts, with what the choice has of them; the start of the reply is what they leave of the count."""
        assembly = self._assembly
        way = {place: rank + (rank > self._before_history) for rank, place in enumerate(self._order, 1)}
        parts = [_always("system", assembly.system), _always("tools", assembly.tools)]
        for place, (file, size) in enumerate(zip(self._files, self._sizes, strict=True)):
            kept = place in choice.files
            has = size if kept else Size(0, 0, exact=True)
            status: Status = "kept" if kept else "dropped"
            parts.append(
                ContextPart("file", file.name, size.tokens, has.tokens, has.upper, has.exact, status, way[place])
            )
        parts.append(self._history_part(choice))
        tokens = count.tokens - sum(part.tokens for part in parts)
        upper = count.upper - sum(part.upper for part in parts)
        if upper < tokens:
            # One text alone: what the request can count at most is less than its part and its frame on their own.
            widest = max(range(len(parts)), key=lambda place: parts[place].upper - parts[place].tokens)
            parts[widest] = replace(parts[widest], upper=parts[widest].upper - (tokens - upper))
            upper = tokens
        return (*parts, _always("reply", Size(tokens, upper, assembly.reply.exact)))

    def _history_part(self, choice: Choice) -> ContextPart:
        status: Status = "truncated" if choice.truncation else "kept"
        has = choice.size
        way = self._before_history + 1
        return ContextPart("history", "history", self._full.tokens, has.tokens, has.upper, has.exact, status, way)

    def problem(self, room: int) -> str:
        """Why nothing fits."""
        fixed = self._fixed
        what = f"system text, tools and the start of the reply take up to {fixed:,} tokens"
        if fixed > room:
            return f"{what}, and there is room for {room:,}."
        if not self._assembly.speaks(self._history):
            return f"{what} of {room:,}, and no file fits beside them."
        return f"{what} of {room:,}, and what must stay of the history does not fit beside them."


def _always(kind: PartKind, size: Size) -> ContextPart:
    return ContextPart(kind, kind, size.tokens, size.tokens, size.upper, size.exact, "kept")
