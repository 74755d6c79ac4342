"""How many tokens a recording or a document takes, about (``media`` in ``data/images.json``).

Nobody publishes a rule that a request alone could be counted by, so all of it is estimated: inline media from the size
of their data, linked ones as of a common length. Nothing is fetched.
"""

from typing import Final

from tokenward.engine.counting.amounts import Amount, within
from tokenward.engine.counting.image_data import Media
from tokenward.engine.counting.images import read_document
from tokenward.engine.datafiles import integers, object_at

_LINKED: Final = "recordings and documents that are linked rather than included are counted as of a common length"
_GUESSED: Final = "recordings and documents are estimated from the size of their data"
_NAMES: Final[dict[str | None, str]] = {"openai": "openai", "anthropic": "claude", "google": "gemini"}


def count_audio(media: Media, provider: str | None) -> tuple[Amount, str]:
    """Tokens of a recording of sound, and what was assumed."""
    return _count(media, provider, "audio_second")


def count_video(media: Media, provider: str | None) -> tuple[Amount, str]:
    """Tokens of a film with its sound, and what was assumed."""
    return _count(media, provider, "video_second")


def count_document(media: Media, provider: str | None) -> tuple[Amount, str]:
    """Tokens of a document whose text is not given, and what was assumed."""
    return _count(media, provider, "page")


def _count(media: Media, provider: str | None, unit: str) -> tuple[Amount, str]:
    """So many tokens a unit (a second or a page), for so many units as there may be."""
    rule, sizes = _rule(_NAMES.get(provider, "other")), _rule("bytes")
    if media.data:
        usual, most = (media.byte_count // sizes[f"{unit}{least}"] + 1 for least in ("", "_least"))
        warning = _GUESSED
    else:
        linked = _rule("linked")
        usual, most, warning = linked[unit], linked[f"{unit}_most"], _LINKED
    each = rule[unit]
    return within(usual * each, 0, most * rule.get(f"{unit}_upper", each)), warning


def _rule(name: str) -> dict[str, int]:
    return integers(object_at(object_at(read_document(), "media"), name))
