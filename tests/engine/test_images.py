"""Images: sizes from headers of inline data only, and tokens by each provider's published rule."""

import base64
import json
import socket
import struct
import zlib
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tokenward.engine.counting.counter import TokenCounter
from tokenward.engine.counting.image_data import Media, image_size, media_of
from tokenward.engine.counting.images import count_image
from tokenward.engine.counting.messages import count_messages
from tokenward.engine.counting.recordings import count_audio, count_document, count_video
from tokenward.engine.counting.results import MessageCount
from tokenward.engine.messages import Format, read_messages
from tokenward.engine.types import JsonObject

SECRET = "thesecretword"


@cache
def counter() -> TokenCounter:
    return TokenCounter()


def png(width: int, height: int) -> bytes:
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HHBBB", width, height, 0, 0, 0) + b";"


def jpeg(width: int, height: int, metadata: int = 0) -> bytes:
    segments = b"".join(b"\xff\xe1\xff\xff" + bytes(65_533) for _ in range(metadata))
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 17, 8, height, width, 3) + bytes(9)
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00" + segments + frame


def webp(width: int, height: int) -> bytes:
    sides = b"".join(struct.pack("<I", side - 1)[:3] for side in (width, height))
    extended = b"VP8X" + struct.pack("<IB3x", 10, 0) + sides
    return b"RIFF" + struct.pack("<I", 4 + len(extended)) + b"WEBP" + extended


def encoded(data: bytes) -> str:
    return base64.b64encode(data).decode()


def inline(width: int, height: int, detail: str = "") -> Media:
    return Media(encoded(png(width, height)), detail)


def openai_image(url: str, **more: str) -> JsonObject:
    return {"role": "user", "content": [{"type": "image_url", "image_url": {"url": url, **more}}]}


def count(message: JsonObject, model: str) -> MessageCount:
    return count_messages([message], model, counter=counter())


@pytest.mark.parametrize("data", [png(640, 480), gif(640, 480), jpeg(640, 480), webp(640, 480)])
def test_sizes_come_from_the_header(data: bytes) -> None:
    assert image_size(Media(encoded(data))) == (640, 480)


def test_a_size_behind_long_metadata_is_found() -> None:
    assert image_size(Media(encoded(jpeg(640, 480, metadata=8)))) == (640, 480)


def test_only_the_head_of_an_image_is_decoded() -> None:
    assert image_size(Media(encoded(jpeg(640, 480, metadata=17)))) is None
    # What follows the head is not even looked at: it is not base64.
    assert image_size(Media(encoded(png(640, 480) + bytes(1_100_001)) + "!" * 1000)) == (640, 480)


@pytest.mark.parametrize("variant", ["wrapped lines", "web alphabet", "no padding"])
def test_base64_in_its_usual_variants(variant: str) -> None:
    data = encoded(png(640, 480) + bytes([255, 239, 190] * 40))
    changed = {
        "wrapped lines": "\n".join(data[start : start + 76] for start in range(0, len(data), 76)),
        "web alphabet": data.replace("+", "-").replace("/", "_"),
        "no padding": data.rstrip("="),
    }[variant]
    assert changed != data or variant == "no padding"
    assert image_size(Media(changed)) == (640, 480)


@pytest.mark.parametrize(
    "data",
    [
        *("", "====", "not base64 !", "ü", "\ud800", encoded(b"GIF89a"), encoded(b"\xff\xd8\xff"), encoded(b"RIFF")),
        *(
            encoded(png(0, 5)),
            encoded(png(2**31, 5)),
            encoded(b"<svg width='5' height='5'/>"),
            encoded(b"BM" + bytes(40)),
        ),
    ],
)
def test_data_without_a_sensible_header_has_no_size(data: str) -> None:
    assert image_size(Media(data)) is None


@settings(deadline=None, max_examples=300)
@given(st.sampled_from([png(9, 9), gif(9, 9), jpeg(9, 9), webp(9, 9)]), st.binary(max_size=60), st.integers(0, 40))
def test_broken_headers_never_raise(whole: bytes, noise: bytes, keep: int) -> None:
    size = image_size(Media(encoded(whole[:keep] + noise)))
    assert size is None or min(size) > 0


PNG_URL = "data:image/png;base64,AAAA"
PARTS: list[tuple[Format, JsonObject, bool, str]] = [
    (
        "openai",
        {"type": "image_url", "image_url": {"url": PNG_URL, "detail": "HIGH"}},
        True,
        "high",
    ),
    ("openai", {"type": "image_url", "image_url": {"url": "https://x/y.png"}}, False, ""),
    ("openai", {"type": "image_url", "image_url": PNG_URL}, True, ""),
    ("openai", {"type": "file", "file": {"file_data": "data:application/pdf;base64,AAAA"}}, True, ""),
    ("openai", {"type": "file", "file": {"file_id": "f"}}, False, ""),
    ("openai", {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}, True, ""),
    (
        "openai_responses",
        {"type": "input_image", "image_url": PNG_URL.upper(), "detail": "low"},
        True,
        "low",
    ),
    ("openai_responses", {"type": "input_image", "file_id": "f", "detail": "auto"}, False, "auto"),
    ("openai_responses", {"type": "input_file", "file_data": "data:application/pdf;base64,AAAA"}, True, ""),
    ("anthropic", {"type": "image", "source": {"type": "base64", "data": "AAAA"}}, True, ""),
    ("anthropic", {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}, False, ""),
]


@pytest.mark.parametrize(("format_", "part", "has_data", "detail"), PARTS)
def test_where_each_format_keeps_its_data(format_: Format, part: JsonObject, has_data: bool, detail: str) -> None:
    read = read_messages([{"role": "user", "content": [part]}], format_)
    assert media_of(read.messages[0].parts[0]) == Media("AAAA" if has_data else None, detail)


@pytest.mark.parametrize("key", ["mediaResolution", "media_resolution"])
def test_where_gemini_keeps_its_data(key: str) -> None:
    part: JsonObject = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}, key: {"level": "MEDIA_RESOLUTION_LOW"}}
    read = read_messages([{"role": "user", "parts": [part]}])
    assert media_of(read.messages[0].parts[0]) == Media("AAAA", "low")


@pytest.mark.parametrize(
    ("model", "width", "height", "detail", "tokens"),
    [
        ("gpt-4o", 1024, 1024, "high", 765),
        ("gpt-4o", 2048, 4096, "high", 1105),
        ("gpt-4o", 4096, 8192, "low", 85),
        ("gpt-4o", 512, 512, "", 255),
        ("gpt-4o", 513, 512, "auto", 425),
        ("gpt-4.1", 2049, 513, "high", 1445),  # billed, developer community thread 1281361
        ("gpt-4.1", 2050, 513, "high", 765),  # billed, the same
        ("gpt-4o-mini", 1024, 1024, "high", 25501),
        ("gpt-4.5-preview", 1024, 1024, "high", 765),
        ("o3", 1024, 1024, "high", 675),
        ("gpt-4.1-mini", 1024, 1024, "high", 1659),
        ("gpt-4.1-mini", 1800, 2400, "high", 2353),  # 1,452 patches, the guide's example
        ("gpt-4.1-nano", 1024, 1024, "high", 2520),
        ("o4-mini", 1024, 1024, "high", 1762),
        ("gpt-5-mini", 1280, 720, "high", 1104),  # billed, developer community thread 1344040
        ("gpt-5-mini", 2048, 768, "high", 1844),  # billed, the same
        ("gpt-5-nano", 1024, 1024, "high", 1536),
    ],
)
def test_openai_rules(model: str, width: int, height: int, detail: str, tokens: int) -> None:
    amount, warning = count_image(inline(width, height, detail), "openai", model)
    assert amount.tokens == tokens
    assert not warning


@pytest.mark.parametrize(("width", "height", "billed"), [(4000, 1474, 2489), (2400, 1800, 2353)])
def test_bills_above_the_patch_limit_lie_within_bounds(width: int, height: int, billed: int) -> None:
    amount, _ = count_image(inline(width, height), "openai", "gpt-4.1-mini")
    assert amount.lower <= billed <= amount.upper


@pytest.mark.parametrize(
    ("model", "width", "height", "tokens"),
    [
        ("claude-sonnet-4-5", 200, 200, 53),
        ("claude-sonnet-4-5", 1000, 1000, 1333),
        ("claude-sonnet-4-5", 1568, 392, 819),
        ("claude-sonnet-4-5", 3136, 784, 819),
        ("claude-sonnet-4-5", 4000, 4000, 1600),
        ("claude-opus-4-7", 1000, 1000, 1296),
        ("claude-opus-4-8", 4000, 4000, 4784),
    ],
)
def test_claude_rules(model: str, width: int, height: int, tokens: int) -> None:
    amount, _ = count_image(inline(width, height), "anthropic", model)
    assert amount.tokens == tokens
    assert amount.lower < tokens < amount.upper


@pytest.mark.parametrize(
    ("model", "width", "height", "detail", "tokens"),
    [
        ("gemini-2.5-pro", 384, 384, "", 258),
        ("gemini-2.5-pro", 1536, 768, "", 516),
        ("gemini-3-pro", 100, 100, "", 1120),
        ("gemini-3-pro", 100, 100, "low", 280),
        ("gemini-3-pro", 100, 100, "ultra_high", 2240),
    ],
)
def test_gemini_rules(model: str, width: int, height: int, detail: str, tokens: int) -> None:
    assert count_image(inline(width, height, detail), "google", model)[0].tokens == tokens


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-5-mini", "claude-sonnet-4-5", "gemini-2.5-pro", "qwen3-32b"])
@pytest.mark.parametrize("url", ["https://example.com/x.png", "data:image/png;base64,####", "data:image/png,plain"])
def test_an_image_that_cannot_be_seen_is_estimated_and_never_fetched(
    model: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(socket, "socket", refuse)
    result = count(openai_image(url + SECRET), model)
    assert not result.exact
    assert result.lower < result.tokens < result.upper
    assert result.breakdown.images > 0
    assert any("image" in warning for warning in result.warnings)
    assert SECRET not in json.dumps(result.warnings)


def test_low_detail_needs_no_size() -> None:
    result = count(openai_image("https://example.com/x.png", detail="low"), "gpt-4o")
    assert (result.exact, result.breakdown.images) == (True, 85)


def test_a_model_without_a_published_rule_says_so() -> None:
    result = count(openai_image(f"data:image/png;base64,{encoded(png(640, 480))}"), "gpt-5.4")
    assert not result.exact
    assert any("no image rule is published" in warning for warning in result.warnings)


@settings(deadline=None, max_examples=300)
@given(
    st.integers(1, 65_535),
    st.integers(1, 65_535),
    st.sampled_from(["", "low", "high", "auto", "original"]),
    st.sampled_from(
        [
            *(("openai", "gpt-4o"), ("openai", "gpt-4.1-mini"), ("openai", "o4-mini"), ("openai", "gpt-9")),
            *(("anthropic", "claude-opus-4-8"), ("anthropic", "claude-3-haiku"), ("google", "gemini-2.0-flash")),
            *(("google", "gemini-3-pro"), (None, "who-knows")),
        ]
    ),
)
def test_any_size_is_between_its_bounds(width: int, height: int, detail: str, model: tuple[str | None, str]) -> None:
    amount, _ = count_image(inline(width, height, detail), *model)
    assert 0 < amount.lower <= amount.tokens <= amount.upper
    turned, _ = count_image(inline(height, width, detail), *model)
    assert turned == amount


def test_recordings_and_documents_are_estimated_from_their_size() -> None:
    second = Media(encoded(bytes(16_000)))
    for count_media in (count_audio, count_video, count_document):
        for provider in ("openai", "anthropic", "google", None):
            amount, warning = count_media(second, provider)
            assert 0 == amount.lower < amount.tokens < amount.upper
            assert warning
    assert count_audio(Media(encoded(bytes(160_000))), "google")[0].tokens == 32 * 11


@pytest.mark.parametrize("mime", ["audio/mp3", "video/mp4", "application/pdf"])
def test_what_is_linked_is_of_unknown_length_and_says_so(mime: str) -> None:
    part: JsonObject = {"fileData": {"mimeType": mime, "fileUri": "gs://x/y"}}
    result = count({"role": "user", "parts": [part]}, "gemini-2.5-pro")
    assert result.tokens > 1_000
    assert result.upper - result.lower > 10_000
    assert any("linked" in warning for warning in result.warnings)


def test_a_linked_document_is_never_counted_exactly() -> None:
    file: JsonObject = {"type": "file", "file": {"file_id": "f"}}
    result = count({"role": "user", "content": [file]}, "gpt-4o")
    assert not result.exact
    assert result.lower < result.tokens < result.upper


def test_a_film_counts_by_its_seconds() -> None:
    part: JsonObject = {"inlineData": {"mimeType": "video/mp4", "data": encoded(bytes(1_000_000))}}
    plain = count({"role": "user", "parts": [{"text": ""}]}, "gemini-2.5-pro").tokens
    assert count({"role": "user", "parts": [part]}, "gemini-2.5-pro").tokens - plain == 263 * 5


def test_a_document_given_as_text_counts_as_its_text() -> None:
    block: JsonObject = {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "hello"}}
    plain: JsonObject = {"role": "user", "content": "hello"}
    assert (
        count({"role": "user", "content": [block]}, "claude-haiku-4-5").tokens
        == count(plain, "claude-haiku-4-5").tokens
    )
