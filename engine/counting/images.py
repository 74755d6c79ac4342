"""How many tokens an image takes, by its provider's rule (``data/images.json``)."""

from collections.abc import Callable
from functools import cache
from math import ceil
from typing import Final

from tokenward.engine.counting.amounts import Amount, exactly, longest_prefix, within
from tokenward.engine.counting.image_data import Media, image_size
from tokenward.engine.datafiles import object_at, read_json
from tokenward.engine.types import JsonObject

_Size = tuple[int, int]

_UNKNOWN_SIZE: Final = "an image whose size is not known (a link or unreadable data) is counted as a common size"
_GUESSED_RULE: Final = "no image rule is published for this model; its images are estimated"


def count_image(media: Media, provider: str | None, model: str) -> tuple[Amount, str]:
    """Tokens of one image, and a warning when something about it had to be assumed.

    Args:
        media: The image.
        provider: The model's provider.
        model: The model's bare name.
    """
    size = image_size(media)
    if provider == "openai":
        return _openai(media, size, longest_prefix(model, _rules("openai")))
    rules: dict[str | None, Callable[[Media, _Size, str], Amount]] = {"anthropic": _claude, "google": _gemini}
    rule = rules.get(provider)
    if rule is None:
        return _other(), _GUESSED_RULE
    if size is None:
        return _unknown(rule, media, model), _UNKNOWN_SIZE
    return rule(media, size, model), ""


def _openai(media: Media, size: _Size | None, rule: JsonObject) -> tuple[Amount, str]:
    count = _openai_tiles if rule["kind"] == "tile" else _openai_patches
    # Unseen images are at least one tile or patch, at most what fits.
    known = size is not None or (rule["kind"] == "tile" and media.detail == "low")
    amount = count(media.detail, size or (1024, 1024), rule)
    if not known:
        smallest, largest = count(media.detail, (1, 1), rule), count(media.detail, (768, 2048), rule)
        amount = within(amount.tokens, smallest.lower, largest.upper)
    if rule.get("guess") is True:
        return within(amount.tokens, amount.lower // 3 or 1, amount.upper * 3), _GUESSED_RULE
    if rule["verified"] is not True:
        amount = within(amount.tokens, amount.lower * 9 // 10 or 1, amount.upper * 11 // 10 + 1)
    return amount, "" if known else _UNKNOWN_SIZE


def _openai_tiles(detail: str, size: _Size, rule: JsonObject) -> Amount:
    base, tile = _number(rule, "base"), _number(rule, "tile")
    if detail == "low":
        return exactly(base)
    usual = base + tile * _tiles(size, _rounded)
    # A side within a pixel of a tile's edge depends on how the provider rounds; billed counts round to nearest.
    return within(usual, base + tile * _tiles(size, _floor), usual)


def _tiles(size: _Size, divide: Callable[[int, int], int]) -> int:
    width, height = size
    longest = max(size)
    if longest > 2048:
        width, height = divide(width * 2048, longest), divide(height * 2048, longest)
    shortest = min(width, height)
    if shortest > 768:
        width, height = divide(width * 768, shortest), divide(height * 768, shortest)
    return _ceil(max(width, 1), 512) * _ceil(max(height, 1), 512)


def _openai_patches(detail: str, size: _Size, rule: JsonObject) -> Amount:
    factor, cap = _number(rule, "factor_hundredths"), _number(rule, "cap")
    patches = _ceil(size[0], 32) * _ceil(size[1], 32)
    if patches <= cap:
        whole = _ceil(patches * factor, 100)
        low = min(whole, _ceil(256 * factor, 100))
        return exactly(whole) if detail != "low" or low == whole else within(low, 1, whole)
    scaled = _ceil(_scaled_patches(size, cap) * factor, 100)
    # Above the cap the published resizing and the billed counts differ by up to 6 %.
    return within(scaled, scaled * 94 // 100, _ceil(cap * factor, 100))


def _scaled_patches(size: _Size, cap: int) -> int:
    """Patches after the published shrinking: to the cap's area, then to whole patches along one side."""
    width, height = size
    shrink = (32 * 32 * cap / (width * height)) ** 0.5
    across, down = width * shrink / 32, height * shrink / 32
    shrink *= min(max(int(across), 1) / across, max(int(down), 1) / down)
    across, down = width * shrink / 32, height * shrink / 32
    # The side that was made whole must not become one patch more by the last bit of a float.
    return min(_ceil_float(across) * _ceil_float(down), cap)


def _claude(media: Media, size: _Size, model: str) -> Amount:
    del media
    rule = longest_prefix(model, _rules("claude"))
    cap = _number(rule, "cap")
    by_pixels, by_patches = _claude_pixels(size, 1600), _claude_patches(size, cap)
    tokens = by_patches if rule["rule"] == "patch" else _claude_pixels(size, cap)
    # Which of the two a model uses is only partly published, and shrinking is done by the server.
    others = (by_pixels, by_patches, _claude_patches(size, 1568))
    return within(tokens, min(others) * 9 // 10 or 1, max(others) * 11 // 10 + 4)


def _claude_pixels(size: _Size, cap: int) -> int:
    longest = max(*size, 1568)
    return max(1, min(size[0] * size[1] * 1568**2 // (longest**2 * 750), cap))


def _claude_patches(size: _Size, cap: int) -> int:
    return min(_ceil(size[0], 28) * _ceil(size[1], 28), cap)


def _gemini(media: Media, size: _Size, model: str) -> Amount:
    rule = object_at(read_document(), "gemini")
    if not model.startswith(("gemini-1", "gemini-2")):
        levels = {level: _number(rule, level) for level in ("low", "medium", "high", "ultra_high")}
        asked = levels.get(media.detail)
        return within(asked or levels["high"], asked or levels["low"], asked or levels["ultra_high"])
    tile = _number(rule, "tile")
    if max(size) <= _number(rule, "small_side"):
        return within(tile, tile, tile + 2)
    tokens = tile * _ceil(size[0], _number(rule, "tile_side")) * _ceil(size[1], _number(rule, "tile_side"))
    # The guide's own example cuts by two thirds of the short side instead of by 768 pixels.
    unit = max(min(size) * 2 // 3, 1)
    other = tile * min(_ceil(size[0], unit) * _ceil(size[1], unit), 64)
    return within(tokens, min(tile, other), max(tokens, other))


def _unknown(rule: Callable[[Media, _Size, str], Amount], media: Media, model: str) -> Amount:
    usual, smallest, largest = (rule(media, size, model) for size in ((1024, 1024), (1, 1), (4000, 4000)))
    return within(usual.tokens, smallest.lower, largest.upper)


def _other() -> Amount:
    rule = object_at(read_document(), "other")
    return within(_number(rule, "unknown_size"), _number(rule, "lower"), _number(rule, "upper"))


@cache
def read_document() -> JsonObject:
    """The rules, as the data file has them."""
    return read_json("images.json")


@cache
def _rules(provider: str) -> dict[str, JsonObject]:
    return {key: value for key, value in object_at(read_document(), provider).items() if isinstance(value, dict)}


def _number(rule: JsonObject, key: str) -> int:
    value = rule[key]
    return value if isinstance(value, int) else 0


def _ceil(number: int, unit: int) -> int:
    return -(-number // unit)


def _ceil_float(number: float) -> int:
    return max(1, ceil(number - 1e-9))


def _rounded(number: int, unit: int) -> int:
    return (2 * number + unit) // (2 * unit)


def _floor(number: int, unit: int) -> int:
    return number // unit
