"""Say the same in fewer tokens: first without loss, then without the sentences that say the least.

Never touched: code, JSON, tables, URLs, quoted text (see `tokenward.engine.history.regions`), tool calls and results,
thinking, media. System messages and the last user message are only compressed without loss, and a user's sentences go
only when the assistant's are used up.

A caller's own summarizer, if there is one, is asked before sentences are left out, one text after the other, until the
target is met. What it makes is one line that says so. Where it fails or gives too much, or where its summaries miss a
target that is met without them, nothing is lost: sentences are left out as without it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from tokenward.engine.counting.counter import TextCounter, TokenCounter
from tokenward.engine.counting.messages import RequestCounter, count_messages
from tokenward.engine.history.arguments import check_fraction
from tokenward.engine.history.prose import Piece, join_pieces, read_pieces
from tokenward.engine.history.ranking import Candidate, droppable, rank_sentences
from tokenward.engine.history.rewrite import plain_texts, rewrite_texts
from tokenward.engine.history.summaries import Summaries, Summarizer
from tokenward.engine.messages import provider_format, read_messages
from tokenward.engine.messages.view import Conversation, Format, Role
from tokenward.engine.types import JsonObject

How: TypeAlias = Literal["unchanged", "lossless", "extractive", "summary"]
"""What made a message shorter: the last of these that was done to it."""

_MAX_REDUCTION: Final = 0.9
_EXACT_ROUNDS: Final = 4
_MISSED: Final = "the summaries missed the target and were not used; leaving out sentences meets it."


@dataclass(frozen=True, slots=True)
class MessageSaving:
    """What compression did to one message.

    Attributes:
        index: The message.
        tokens_before: What it counted, without the request's fixed part.
        tokens_after: What it counts now, never more.
        how: ``lossless``, ``extractive`` (sentences were left out), ``summary`` (the caller's summarizer made one), or
            ``unchanged``.
    """

    index: int
    tokens_before: int
    tokens_after: int
    how: How


@dataclass(frozen=True, slots=True)
class CompressionResult:
    """A history in fewer tokens.

    Attributes:
        messages: As many as before; what was not changed is the caller's own object.
        tokens_before: What they counted.
        tokens_after: What they count now, never more.
        reduction: The fraction really saved, which may be less than the target.
        changed: Indices of the messages that differ.
        savings: Every message's share, in their order.
        warnings: Why a summary was not used.
    """

    messages: list[JsonObject]
    tokens_before: int
    tokens_after: int
    reduction: float
    changed: tuple[int, ...]
    savings: tuple[MessageSaving, ...] = ()
    warnings: tuple[str, ...] = ()


def compress_messages(
    messages: Sequence[JsonObject],
    model: str,
    *,
    counter: TokenCounter,
    target_reduction: float = 0.2,
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
    summarizer: Summarizer | None = None,
) -> CompressionResult:
    """Compress the prose of a history.

    Args:
        messages: The provider's messages, items or contents.
        model: Whose tokens are counted.
        counter: Counts them.
        target_reduction: The fraction of tokens to save, above 0 and at most 0.9. Sentences are left out only until it
            is reached; what can be saved without loss always is.
        format: The list's format, or ``auto`` to find it.
        summarizer: Makes one text of several, in at most so many tokens: ``(texts, target_tokens) -> str``. The texts
            are the prose between what must stay. Its answer stands as one line, ``[Summary by the caller's summarizer:
            …]``, in their place.

    Raises:
        InvalidInput: ``target_reduction`` is out of its range, or ``summarizer`` returns no string.
        InvalidMessages: There is no message, or one is malformed.
        AmbiguousFormat: The list mixes two formats.
    """
    check_fraction("target_reduction", target_reduction, _MAX_REDUCTION)
    hint = provider_format(counter.catalog.resolve(model).provider)
    conversation = read_messages(messages, format, hint=hint)
    text = counter.text_counter(model)
    while True:
        made_by = (text.method, text.exact, text.info.encoding)
        before = count_messages(messages, model, counter=counter, format=conversation.format)
        given = _History(list(messages), [row.tokens for row in before.messages], before.tokens)
        requests = RequestCounter(counter, model, conversation.format, context=conversation.messages)
        target = int(before.tokens * (1 - target_reduction))
        result = _compressed(given, target, _Prose(conversation, text, requests), summarizer)
        if result.tokens_after > target and any(saving.how == "summary" for saving in result.savings):
            plain = _compressed(given, target, _Prose(conversation, text, requests), None)
            if plain.tokens_after <= target:
                result = replace(plain, warnings=(*result.warnings, _MISSED))
        # A tokenizer can fail halfway, once and for good; then its successor counts all of it.
        if made_by == (text.method, text.exact, text.info.encoding):
            return result


@dataclass(frozen=True, slots=True)
class _History:
    """Messages, what each of them counts, and what they count as a request."""

    messages: list[JsonObject]
    sizes: list[int]
    tokens: int


def _compressed(given: _History, target: int, prose: "_Prose", summarizer: Summarizer | None) -> CompressionResult:
    now = prose.history(given)
    warnings: tuple[str, ...] = ()
    if summarizer is not None and now.tokens > target:
        warnings = prose.summarize(summarizer, now.tokens - target)
        now = prose.history(now)
    rounds = 0
    while now.tokens > target:
        # Pieces count a little otherwise than what they make together; where that goes on, bigger steps end it.
        steps = 2 ** max(0, rounds - _EXACT_ROUNDS)
        if not prose.shorten((now.tokens - target) * steps):
            break
        now = prose.history(now)
        rounds += 1
    if now.tokens >= given.tokens:
        now = given
    changed = tuple(index for index, message in enumerate(given.messages) if now.messages[index] is not message)
    reduction = 1 - now.tokens / given.tokens if changed else 0.0
    hows: Mapping[int, How] = prose.hows() if changed else {}
    savings = tuple(
        MessageSaving(index, before, after, hows.get(index, "unchanged"))
        for index, (before, after) in enumerate(zip(given.sizes, now.sizes, strict=True))
    )
    return CompressionResult(now.messages, given.tokens, now.tokens, reduction, changed, savings, warnings)


@dataclass(slots=True)
class _Text:
    """One text of a message, what it consists of, and how it is written now."""

    message: int
    role: Role
    original: str
    pieces: list[Piece]
    shortens: bool
    dropped: set[int]
    written: str
    summarized: bool = False

    @property
    def how(self) -> How:
        if self.written == self.original:
            return "unchanged"
        if self.summarized:
            return "summary"
        return "extractive" if self.dropped else "lossless"


class _Prose:
    """The texts of a conversation, in pieces, and which pieces are left out."""

    def __init__(self, conversation: Conversation, counter: TextCounter, requests: RequestCounter) -> None:
        self._conversation = conversation
        self._counter = counter
        self._requests = requests
        last_user = max((message.index for message in conversation.messages if message.role == "user"), default=-1)
        self._texts: list[_Text] = []
        for message in conversation.messages:
            shortens = message.role != "system" and message.index != last_user
            for text in plain_texts(message, conversation.format):
                new = _Text(message.index, message.role, text, read_pieces(text), shortens, set(), text)
                self._texts.append(new)
                self._write(new)
        self._users = {position for position, text in enumerate(self._texts) if text.role == "user"}
        self._ranked = self._rank()

    def history(self, last: _History) -> _History:
        """The history as it stands. Only the messages that are not what they were the last time are counted."""
        texts = iter(self._texts)
        messages = [
            rewrite_texts(message, self._conversation.format, lambda _: next(texts).written)
            for message in self._conversation.messages
        ]
        read = read_messages(messages, self._conversation.format).messages
        sizes = [
            size if message.original == old else self._requests.message(message)
            for message, old, size in zip(read, last.messages, last.sizes, strict=True)
        ]
        return _History(messages, sizes, self._requests.fixed(read) + sum(sizes))

    def hows(self) -> dict[int, How]:
        """What made messages shorter: of several texts' ways the one that changed most."""
        order: tuple[How, ...] = ("unchanged", "lossless", "extractive", "summary")
        ranks: dict[int, int] = {}
        for text in self._texts:
            ranks[text.message] = max(order.index(text.how), ranks.get(text.message, 0))
        return {message: order[rank] for message, rank in ranks.items()}

    def summarize(self, summarizer: Summarizer, tokens: int) -> tuple[str, ...]:
        """Have summaries made, the assistant's oldest text first, until this much is saved; says what failed."""
        summaries = Summaries(summarizer, self._counter.count)
        for text in sorted(self._texts, key=lambda text: text.role == "user"):
            if tokens <= 0 or summaries.failed:
                break
            places = [place for place, _ in droppable(text.pieces)] if text.shortens else []
            shortened = summaries.make(text.message, text.written, text.pieces, places, tokens)
            if shortened is not None:
                before = self._counter.count(text.written)
                text.pieces = shortened
                text.summarized = True
                self._write(text)
                tokens -= before - self._counter.count(text.written)
        self._ranked = self._rank()
        return tuple(summaries.warnings)

    def shorten(self, tokens: int) -> bool:
        """Leave out sentences worth about this many tokens; whether there were any."""
        touched: dict[int, _Text] = {}
        for candidate in self._ranked:
            text = touched[candidate.text] = self._texts[candidate.text]
            text.dropped.add(candidate.position)
            tokens -= self._counter.count(text.pieces[candidate.position].text)
            if tokens <= 0:
                break
        for text in touched.values():
            self._write(text)
        return bool(touched)

    def _rank(self) -> Iterator[Candidate]:
        return iter(rank_sentences([text.pieces if text.shortens else () for text in self._texts], self._users))

    def _write(self, text: _Text) -> None:
        new = join_pieces(text.pieces, text.dropped)
        changed = new != text.original and bool(new.strip())
        saves = changed and self._counter.count(new) < self._counter.count(text.original)
        text.written = new if saves else text.original
