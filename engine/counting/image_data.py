"""What a message part says of its image: where the data is, how large it is, in which detail it is read.

Only inline data is looked at, and of that only its beginning. A link is never followed.
"""

import binascii
from base64 import b64decode
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from tokenward.engine.messages.view import Part
from tokenward.engine.types import JsonObject, JsonValue

_HEAD_BYTES: Final = 1 << 20
"""How much of an image is decoded: a JPEG's size stands behind its metadata, which can be long."""

_MAX_SIDE: Final = 65_535
_SIGNATURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a")


@dataclass(frozen=True, slots=True)
class Media:
    """One image, recording or document of a request.

    Attributes:
        data: Its inline base64 data, if it has any.
        detail: The asked-for detail or resolution, in lower case; empty when none is asked for.
    """

    data: str | None
    detail: str = ""

    @property
    def byte_count(self) -> int:
        """How many bytes the inline data has, about."""
        return len(self.data or "") * 3 // 4


def media_of(part: Part) -> Media:
    """The media that a part carries, in any of the four formats' spellings."""
    raw = part.raw if isinstance(part.raw, dict) else {}
    image_url = raw.get("image_url")
    if isinstance(image_url, dict):
        return Media(_inline(image_url.get("url")), _word(image_url.get("detail")))
    for key in ("source", "inlineData", "inline_data", "input_audio", "file"):
        holder = raw.get(key)
        if isinstance(holder, dict):
            return Media(_held(holder), _resolution(raw))
    found = image_url if isinstance(image_url, str) else raw.get("file_data")
    return Media(_inline(found), _word(raw.get("detail")))


def image_size(media: Media) -> tuple[int, int] | None:
    """Width and height in pixels, from the header of an inline PNG, JPEG, GIF or WebP; ``None`` when that cannot be."""
    head = _decoded_head(media.data) if media.data else b""
    if not head.startswith(_SIGNATURES) and not (head.startswith(b"RIFF") and head[8:12] == b"WEBP"):
        return None
    import imagesize  # type: ignore[import-untyped]  # noqa: PLC0415 - heavy

    width, height = imagesize.get(BytesIO(head), exif_rotation=False)  # pyright: ignore[reportUnknownMemberType]
    return (width, height) if 0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE else None


def _decoded_head(data: str) -> bytes:
    text = "".join(data[: _HEAD_BYTES * 4 // 3].split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        return b64decode(text[: len(text) // 4 * 4], validate=True)
    except (binascii.Error, ValueError):
        return b""


def _inline(url: JsonValue) -> str | None:
    """The base64 data of a data URL; ``None`` for every other kind of URL."""
    if not isinstance(url, str) or url[:5].lower() != "data:":
        return None
    header, comma, data = url.partition(",")
    return data if comma and header.lower().endswith(";base64") else ""


def _held(holder: JsonObject) -> str | None:
    for key in ("data", "file_data"):
        value = holder.get(key)
        if isinstance(value, str):
            return value if value[:5].lower() != "data:" else _inline(value)
    return None


def _resolution(part: JsonObject) -> str:
    """Gemini's resolution of one part: ``{"level": "MEDIA_RESOLUTION_LOW"}`` or the bare name."""
    given = part.get("mediaResolution", part.get("media_resolution"))
    name = given.get("level") if isinstance(given, dict) else given
    return _word(name).removeprefix("media_resolution_")


def _word(value: JsonValue) -> str:
    return value.lower() if isinstance(value, str) else ""
