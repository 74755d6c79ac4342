"""Say the same in fewer tokens: first without loss, then without the sentences that say the least.

Never touched: code, JSON, tables, URLs, quoted text (see `tokenward.engine.history.regions`), tool calls and results,
thinking, media. System messages and the last user message are only compressed without loss, and a user's sentences go
only when the assistant's are used up.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from tokenward.engine.counting.counter import TextCounter, TokenCounter
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.errors import InvalidInput
from tokenward.engine.history.prose import Piece, join_pieces, read_pieces
from tokenward.engine.history.ranking import rank_sentences
from tokenward.engine.history.rewrite import plain_texts, rewrite_texts
from tokenward.engine.messages import provider_format, read_messages
from tokenward.engine.messages.view import Conversation, Format, Role
from tokenward.engine.types import JsonObject

_MAX_REDUCTION: Final = 0.9
_ROUNDS: Final = 4


@dataclass(frozen=True, slots=True)
class CompressionResult:
    """A history in fewer tokens.

    Attributes:
        messages: As many as before; what was not changed is the caller's own object.
        tokens_before: What they counted.
        tokens_after: What they count now, never more.
        reduction: The fraction really saved, which may be less than the target.
        changed: Indices of the messages that differ.
    """

    messages: list[JsonObject]
    tokens_before: int
    tokens_after: int
    reduction: float
    changed: tuple[int, ...]


def compress_messages(
    messages: Sequence[JsonObject],
    model: str,
    *,
    counter: TokenCounter,
    target_reduction: float = 0.2,
    format: Format | Literal["auto"] = "auto",  # noqa: A002 - the tool's argument has this name
) -> CompressionResult:
    """Compress the prose of a history.

    Args:
        messages: The provider's messages, items or contents.
        model: Whose tokens are counted.
        counter: Counts them.
        target_reduction: The fraction of tokens to save, above 0 and at most 0.9. Sentences are left out only until it
            is reached; what can be saved without loss always is.
        format: The list's format, or ``auto`` to find it.

    Raises:
        InvalidInput: ``target_reduction`` is out of its range.
        InvalidMessages: A message is malformed.
        AmbiguousFormat: The list mixes two formats.
    """
    if not 0 < target_reduction <= _MAX_REDUCTION:
        raise InvalidInput("target_reduction", f"must be above 0 and at most {_MAX_REDUCTION}, not {target_reduction}.")
    hint = provider_format(counter.catalog.resolve(model).provider)
    conversation = read_messages(messages, format, hint=hint)

    def count(candidate: Sequence[JsonObject]) -> int:
        return count_messages(candidate, model, counter=counter, format=conversation.format).tokens

    before = count(messages)
    target = int(before * (1 - target_reduction))
    prose = _Prose(conversation, counter.text_counter(model))
    candidate = prose.messages()
    after = count(candidate)
    for _ in range(_ROUNDS):
        if after <= target or not prose.shorten(after - target):
            break
        candidate = prose.messages()
        after = count(candidate)
    if after >= before:
        return CompressionResult(list(messages), before, before, 0.0, ())
    changed = tuple(index for index, message in enumerate(messages) if candidate[index] is not message)
    return CompressionResult(candidate, before, after, 1 - after / before, changed)


@dataclass(frozen=True, slots=True)
class _Text:
    role: Role
    original: str
    pieces: list[Piece]
    shortens: bool
    dropped: set[int] = field(default_factory=set[int])


class _Prose:
    """The texts of a conversation, in pieces, and which pieces are left out."""

    def __init__(self, conversation: Conversation, counter: TextCounter) -> None:
        self._conversation = conversation
        self._counter = counter
        last_user = max((message.index for message in conversation.messages if message.role == "user"), default=-1)
        self._texts = [
            _Text(message.role, text, read_pieces(text), message.role != "system" and message.index != last_user)
            for message in conversation.messages
            for text in plain_texts(message, conversation.format)
        ]
        users = {position for position, text in enumerate(self._texts) if text.role == "user"}
        self._ranked = iter(rank_sentences([text.pieces if text.shortens else () for text in self._texts], users))

    def messages(self) -> list[JsonObject]:
        """The history as it stands."""
        texts = iter(self._texts)
        return [
            rewrite_texts(message, self._conversation.format, lambda _: self._written(next(texts)))
            for message in self._conversation.messages
        ]

    def shorten(self, tokens: int) -> bool:
        """Leave out sentences worth about this many tokens; whether there were any."""
        found = False
        for candidate in self._ranked:
            text = self._texts[candidate.text]
            text.dropped.add(candidate.position)
            tokens -= self._counter.count(text.pieces[candidate.position].text)
            found = True
            if tokens <= 0:
                break
        return found

    def _written(self, text: _Text) -> str:
        new = join_pieces(text.pieces, text.dropped)
        saves = bool(new.strip()) and self._counter.count(new) < self._counter.count(text.original)
        return new if saves else text.original
