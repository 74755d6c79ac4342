"""Files counted for several models at once: each is read once, and let go as soon as it is counted."""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.tokenizers.base import Method
from tokenward.files import FileText, SkippedFile
from tokenward.server.commands.git_diff import GitDiff
from tokenward.tools.count_tokens import CountedItem, SkippedItem, TokenCount
from tokenward.tools.counted import window_fit

_STEP_CHARACTERS = 2**20
_STEP_FILES = 50
_MOST_RESTARTS = 2


class DiffCount(TokenCount):
    """A diff. ``tokens`` is the whole as one text; the files' parts counted apart can sum to another number."""

    revision: str
    sum_of_files: int


class _Way(NamedTuple):
    """How a text was counted: a tokenizer that fails has a successor."""

    exact: bool
    method: Method
    encoding: str


def _way(counter: TextCounter) -> _Way:
    return _Way(counter.exact, counter.method, counter.info.encoding)


class ModelTally:
    """One model's counts, and their sums."""

    def __init__(self, counter: TextCounter) -> None:
        self.counter = counter
        self.tokens = self.lower = self.upper = 0
        self.items: list[CountedItem] = []
        self._ways: dict[_Way, None] = {}

    @property
    def mixed(self) -> bool:
        """Whether not all texts were counted in one way."""
        return len(self._ways) > 1

    @property
    def way(self) -> _Way:
        """The way of counting; of several, the one that is worth least."""
        return min(self._ways or [_way(self.counter)], key=lambda way: way.exact)

    def add(self, text: str, path: str | None = None) -> None:
        """Count a text."""
        tokens = self.counter.count(text)
        lower, upper = self.counter.bounds(text, tokens)
        self.tokens, self.lower, self.upper = self.tokens + tokens, self.lower + lower, self.upper + upper
        self.items.append(CountedItem(path=path, tokens=tokens))
        # Only after a count is it sure who counted.
        self._ways[_way(self.counter)] = None

    def result(self, skipped: Sequence[SkippedItem], max_context: int | None) -> TokenCount:
        """As ``count_tokens`` answers, with every item."""
        counter = self.counter
        return TokenCount(
            **dict(window_fit(self.tokens, self.upper, max_context or counter.info.context_window)),
            tokens=self.tokens,
            lower=self.lower,
            upper=self.upper,
            **self.way._asdict(),
            model=counter.info.requested,
            items=self.items,
            skipped=list(skipped) or None,
            warnings=list(counter.info.warnings) or None,
        )


class FileTally:
    """The counts of files for several models, all of a model's counted in one way if that can be.

    Args:
        counters: A counter per model.
        files: What to count, each row taken once.
        again: The same files from the first, for when a tokenizer fails on the way.
    """

    def __init__(
        self,
        counters: Sequence[TextCounter],
        files: Iterator[FileText | SkippedFile],
        again: Callable[[], Iterator[FileText | SkippedFile]] | None = None,
    ) -> None:
        self.models = [ModelTally(counter) for counter in counters]
        self.skipped: list[SkippedItem] = []
        self._files = files
        self._again = again
        self._restarts = 0

    @property
    def done(self) -> int:
        """How many files were counted or skipped."""
        return len(self.models[0].items) + len(self.skipped)

    @property
    def summary(self) -> str:
        """How far it has come, for people; tokens per model."""
        return f"{self.done:,} files, {' / '.join(f'{model.tokens:,}' for model in self.models)} tokens"

    def step(self) -> bool:
        """Count the next few files; false when there are none left. At a change of the way, it begins again."""
        more = self._count_some()
        return (self._mixed and self.restart()) or more

    @property
    def _mixed(self) -> bool:
        return any(model.mixed for model in self.models)

    def restart(self) -> bool:
        """Begin again from the first file; false where that was done often enough, or cannot be.

        A text can be too much for a tokenizer that counts all others: what is counted in several ways then stays.
        """
        if self._again is None or self._restarts >= _MOST_RESTARTS:
            return False
        self._restarts += 1
        self.models = [ModelTally(model.counter) for model in self.models]
        self.skipped = []
        self._files = self._again()
        return True

    def _count_some(self) -> bool:
        characters = 0
        for _ in range(_STEP_FILES):
            file = next(self._files, None)
            if file is None:
                return False
            if isinstance(file, SkippedFile):
                self.skipped.append(SkippedItem(path=file.path, reason=file.reason))
                continue
            for model in self.models:
                model.add(file.text, file.path)
            characters += len(file.text)
            if characters > _STEP_CHARACTERS or self._mixed:
                break
        return True

    def results(self, max_context: int | None) -> list[TokenCount]:
        """A result per model."""
        return [model.result(self.skipped, max_context) for model in self.models]


def diff_counts(diff: GitDiff, revision: str, files: FileTally, max_context: int | None) -> list[DiffCount]:
    """A diff's count per model: the whole, beside each file's part as counted by ``files``."""
    counts: list[DiffCount] = []
    wholes = _wholes(diff.text, files)
    while _differ(files.models, wholes) and files.restart():
        while files.step():
            pass
        wholes = _wholes(diff.text, files)
    for model, whole in zip(files.models, wholes, strict=True):
        count = dict(whole.result(files.skipped, max_context))
        count |= {"items": model.items, "warnings": [*(count["warnings"] or ()), *diff.warnings] or None}
        counts.append(DiffCount(**count, revision=revision, sum_of_files=model.tokens))
    return counts


def _differ(some: Sequence[ModelTally], others: Sequence[ModelTally]) -> bool:
    """Whether a model's texts were counted in one way here and in another there."""
    return any(one.way != other.way for one, other in zip(some, others, strict=True))


def _wholes(text: str, files: FileTally) -> list[ModelTally]:
    """A text counted for each model."""
    wholes = [ModelTally(model.counter) for model in files.models]
    for whole in wholes:
        whole.add(text)
    return wholes
