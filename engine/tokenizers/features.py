"""What a text is made of: its features, from which estimates are made.

Every character is replaced by the sign of its class, in one pass in C. Counting signs gives how many characters of each
class there are; joining equal neighbours and counting again gives how many runs, such as words and numbers. At most
``SAMPLE_CHARACTERS`` are looked at, in pieces from the whole length of a text, so the cost is bounded.
"""

import re
from functools import cache
from itertools import groupby
from typing import Final

SAMPLE_CHARACTERS: Final = 3_000
"""How much of a text is looked at."""

_PIECES: Final = 10

CLASSES: Final[dict[str, str]] = {
    "lower": "a-z",
    "upper": "A-Z",
    "digit": "0-9",
    "space": " ",
    "tab": "\t",
    "line": "\n\r",
    "stop": ".,;:!?",
    "quote": "'\"`",
    "bracket": "()[]{}",
    "operator": "<=>+*&|%^~-",
    "underscore": "_",
    "slash": "/\\",
    "sign": "#$@",
    "control": "\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f",
    "latin1_sign": "\xa0-\xbf\xd7\xf7",
    "latin": "\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u02af\u1e00-\u1eff",
    "greek": "\u0370-\u03ff\u1f00-\u1fff",
    "cyrillic": "\u0400-\u052f",
    "armenian": "\u0530-\u058f",
    "hebrew": "\u0590-\u05ff",
    "thaana": "\u0780-\u07bf",
    "arabic": "\u0600-\u06ff\u0750-\u077f\u08a0-\u08ff\ufb50-\ufdff\ufe70-\ufefe",
    "devanagari": "\u0900-\u097f",
    "bengali": "\u0980-\u09ff",
    "gurmukhi": "\u0a00-\u0a7f",
    "gujarati": "\u0a80-\u0aff",
    "oriya": "\u0b00-\u0b7f",
    "tamil": "\u0b80-\u0bff",
    "telugu": "\u0c00-\u0c7f",
    "kannada": "\u0c80-\u0cff",
    "malayalam": "\u0d00-\u0d7f",
    "sinhala": "\u0d80-\u0dff",
    "thai": "\u0e00-\u0e7f",
    "lao": "\u0e80-\u0eff",
    "tibetan": "\u0f00-\u0fff",
    "burmese": "\u1000-\u109f",
    "georgian": "\u10a0-\u10ff",
    "ethiopic": "\u1200-\u139f",
    "khmer": "\u1780-\u17ff",
    "punctuation": "\u2010-\u2027\u2030-\u205e",
    "technical": "\u2070-\u20cf\u2300-\u23ff",
    "math": "\u2100-\u22ff\u27c0-\u27ff\u2900-\u2bff",
    "box": "\u2500-\u257f",
    "geometric": "\u2580-\u25ff\u2800-\u28ff",
    "dingbat": "\u2600-\u27bf",
    "cjk_sign": "\u3000-\u303f",
    "kana": "\u3040-\u30ff\u31f0-\u31ff",
    "han": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff",
    "hangul": "\uac00-\ud7a3\u1100-\u11ff\u3130-\u318f",
    "wide": "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff61-\uffef",
    "wide_sign": "\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff60",
    "emoji": "\U0001f000-\U0001f1e5\U0001f200-\U0001f3fa\U0001f400-\U0001faff",
    "flag": "\U0001f1e6-\U0001f1ff",
    "joiner": "\u200b-\u200f\u20d0-\u20ff\ufe00-\ufe0f\U0001f3fb-\U0001f3ff",
}
"""Classes of characters: single ones and ranges, ends included. A later class takes from a former."""

OTHER: Final = "other"
ASTRAL: Final = "astral"
"""The classes of what no class of ``CLASSES`` has: characters up to U+FFFF, and those above."""

_ASCII: Final = tuple(CLASSES)[: tuple(CLASSES).index("latin1_sign")]
_NAMES: Final = (*CLASSES, OTHER, ASTRAL)
_SIGNS: Final = {name: chr(0x21 + position) for position, name in enumerate(_NAMES)}
_TABLE_SIZE: Final = 0x20000

_RUNS: Final = (
    *("lower", "upper", "digit", "space", "tab", "line", "stop", "quote", "bracket", "operator", "slash", "sign"),
    *("latin1_sign", "latin", "greek", "cyrillic", "hebrew", "arabic", "devanagari", "hangul", "han", "kana", "wide"),
    *("math", "box", "geometric", "dingbat", "punctuation", "emoji", "joiner"),
)
_PAIRS: Final = (
    *(("upper", "lower"), ("lower", "upper"), ("lower", "digit"), ("digit", "lower"), ("upper", "digit")),
    *(("digit", "upper"), ("lower", "underscore"), ("line", "stop"), ("stop", "line"), ("space", "upper")),
    *(("space", "digit"), ("digit", "stop"), ("stop", "digit"), ("space", "operator"), ("operator", "space")),
    *(("space", "bracket"), ("stop", "space"), ("quote", "stop"), ("slash", "lower"), ("space", "math")),
    *(("space", "geometric"), ("space", "dingbat"), ("space", "latin1_sign"), ("space", "emoji"), ("space", "box")),
    *(("latin", "lower"), ("lower", "latin")),
)
_REPEATED: Final = re.compile(r"(.)(?=\1)\1{2,}", re.DOTALL)
_RULES: Final = frozenset("=*#._\u2500")
_CAPITALS: Final = re.compile(f"{_SIGNS['upper']}{{2,}}")
_LONG_WORD: Final = re.compile(f"{_SIGNS['lower']}{{8,}}")
_SHORT_WORD: Final = re.compile(f"(?<!{_SIGNS['lower']}){_SIGNS['lower']}{{1,2}}(?!{_SIGNS['lower']})")


def features(text: str) -> dict[str, float]:
    """The features of a text by name; what a text has none of is left out.

    Counted in a sample and scaled up to the whole. ``lower`` is a number of characters, ``lower+`` of runs of them,
    ``upper lower`` of places where one class follows the other. A character three times or more in a row counts once
    there; the rest of such repetitions are ``same`` features.
    """
    sample = sampled(text)
    if not sample:
        return {}
    found, signs = _classified(sample)
    joined = "".join(sign for sign, _ in groupby(signs))
    for name in _RUNS:
        if found.get(name):
            found[f"{name}+"] = joined.count(_SIGNS[name])
    for first, second in _PAIRS:
        if found.get(first) and found.get(second):
            found[f"{first} {second}"] = joined.count(_SIGNS[first] + _SIGNS[second])
    found |= _words(signs)
    scale = len(text) / len(sample)
    return {name: count * scale for name, count in found.items() if count}


def sampled(text: str) -> str:
    """At most ``SAMPLE_CHARACTERS`` of a text, in equal pieces from its beginning to its end."""
    if len(text) <= SAMPLE_CHARACTERS:
        return text
    size = SAMPLE_CHARACTERS // _PIECES
    step = (len(text) - size) / (_PIECES - 1)
    return "".join(text[start : start + size] for start in (round(step * piece) for piece in range(_PIECES)))


def characters(sample: str) -> dict[str, int]:
    """Of the features of a sample those that are numbers of characters; cheaper than all."""
    found, _ = _classified(sample)
    return found


def _classified(sample: str) -> tuple[dict[str, int], str]:
    """How many characters of each class and of each repetition a sample has, and the signs of its classes."""
    found, single = _repeated(sample)
    signs = single.translate(_class_table())
    names = _ASCII if single.isascii() else _NAMES
    found |= {name: count for name in names if (count := signs.count(_SIGNS[name]))}
    counted = sum(found.get(name, 0) for name in names)
    if counted < len(signs):
        found[ASTRAL] = found.get(ASTRAL, 0) + len(signs) - counted
    return found, signs


def _words(signs: str) -> dict[str, int]:
    capitals = _CAPITALS.findall(signs)
    long = _LONG_WORD.findall(signs)
    return {
        "in capitals": sum(map(len, capitals)),
        "capitals+": len(capitals),
        "beyond 7": sum(map(len, long)) - 7 * len(long),
        "short+": len(_SHORT_WORD.findall(signs)),
    }


def _repeated(sample: str) -> tuple[dict[str, int], str]:
    """How many characters and runs there are of one character repeated, and the sample with each such run joined."""
    found: dict[str, int] = {}
    for match in _REPEATED.finditer(sample):
        name = f"same {_kind_of_repeated(match[1])}"
        found[name] = found.get(name, 0) + len(match[0]) - 1
        found[f"{name}+"] = found.get(f"{name}+", 0) + 1
    return found, _REPEATED.sub(r"\1", sample) if found else sample


def _kind_of_repeated(character: str) -> str:
    if character.isspace():
        return "space"
    if not character.isascii() and character not in _RULES:
        return "other"
    if character.isalpha():
        return "letter"
    if character.isdigit():
        return "digit"
    return "rule" if character in _RULES else "hyphen" if character == "-" else "sign"


@cache
def _class_table() -> str:
    """The sign of every character below ``_TABLE_SIZE``, for ``str.translate``."""
    table = [_SIGNS[OTHER]] * 0x10000 + [_SIGNS[ASTRAL]] * (_TABLE_SIZE - 0x10000)
    for name, characters in CLASSES.items():
        for found in re.finditer("(?s:.-.|.)", characters):
            first, last = ord(found[0][0]), ord(found[0][-1])
            table[first : last + 1] = _SIGNS[name] * (last - first + 1)
    return "".join(table)
