"""Counting what messages of every provider have in common: text and media."""

from typing import Final

from tokenward.engine.counting.amounts import Amount, Category, ShareBuilder, within
from tokenward.engine.counting.counter import TextCounter
from tokenward.engine.counting.image_data import media_of
from tokenward.engine.counting.images import count_image
from tokenward.engine.counting.recordings import count_audio, count_document, count_video
from tokenward.engine.messages.view import Part, Role

TEXT_CATEGORIES: Final[dict[Role, Category]] = {
    "system": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool_results",
}


def count_text(counter: TextCounter, text: str) -> Amount:
    """A text's tokens with the bounds of the counter's own calibration."""
    if not text:
        return Amount(0, 0, 0)
    tokens = counter.count(text)
    return within(tokens, *counter.bounds(text, tokens))


def add_media(found: ShareBuilder, counter: TextCounter, role: Role, part: Part) -> None:
    """Add an image to ``images``, and a recording or a document to the role it came from."""
    info = counter.info
    if part.kind == "image":
        found.add("images", *count_image(media_of(part), info.provider, info.name))
    elif part.kind == "audio":
        found.add(TEXT_CATEGORIES[role], *count_audio(media_of(part), info.provider))
    elif part.kind == "video":
        found.add(TEXT_CATEGORIES[role], *count_video(media_of(part), info.provider))
    else:
        found.add(TEXT_CATEGORIES[role], count_text(counter, part.text))
        if not _is_given_as_text(part):
            found.add(TEXT_CATEGORIES[role], *count_document(media_of(part), info.provider))


def _is_given_as_text(part: Part) -> bool:
    """Whether all that a document holds is in ``text``, and not only its title."""
    raw = part.raw if isinstance(part.raw, dict) else {}
    source = raw.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    return raw.get("type") == "search_result" or kind in ("text", "content")
