"""Texts for fitting estimates: cut from files, and made by seeded generators for what files hold too little of.

Files give prose and code; the generators give what estimates are usually worst at: numbers, hexadecimal, addresses,
symbols, emoji, random characters of every script, and repetition. Each generator is a source of its own, so that a text
held out for testing is of a sort that was not fitted on.
"""

# ruff: noqa: RUF001 - the signs

import math
import string
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from scripts import made_documents as document
from scripts import made_values as value

SHORTEST, LONGEST = 10, 15_000
"""Characters of the texts that are cut from files; short ones are as frequent as long ones."""


@dataclass(frozen=True)
class Sample:
    """A text and where it is from.

    Attributes:
        source: A folder of the corpus, or a generator. All texts of a source are in the same part, fitted or held out.
        text: The text.
    """

    source: str
    text: str


def texts_from_folder(folder: Path, per_source: int, seed: int) -> Iterator[Sample]:
    """Pieces of the files below a folder. Each of its subfolders is a source.

    Args:
        folder: Holds one folder per source, with UTF-8 files.
        per_source: How many pieces to cut from each source.
        seed: The same pieces come for the same seed and files.
    """
    for source in sorted(path for path in folder.iterdir() if path.is_dir()):
        files = sorted(path for path in source.rglob("*") if path.is_file())
        random = Random(f"{seed} {source.name}")
        pieces = {cut(random.choice(files).read_text("utf-8", "replace"), random) for _ in range(per_source)}
        yield from (Sample(source.name, piece) for piece in sorted(pieces) if piece)


def cut(text: str, random: Random) -> str:
    """A piece of a text, from the beginning of a line or word, of any length between the shortest and the longest."""
    size = round(math.exp(random.uniform(math.log(SHORTEST), math.log(LONGEST))))
    start = random.randrange(max(1, len(text) - size))
    mark = "\n" if size > 80 else " "
    start = text.find(mark, start) + 1
    end = start + size
    later = text.find(mark, end, end + 40)
    return text[start : later if later > 0 else end].strip("\n")


def generated_texts(per_generator: int, seed: int) -> Iterator[Sample]:
    """Texts by every generator, with lengths that differ as those from files do."""
    for name, make in GENERATORS.items():
        random = Random(f"{seed} {name}")
        for _ in range(per_generator):
            yield Sample(f"made-{name}", make(random))


def _many(item: Callable[[Random], str], separators: str = " ", longest: int = 120) -> Callable[[Random], str]:
    """A generator of lists of items, separated by one of the separators."""

    def make(random: Random) -> str:
        separator = random.choice(separators)
        separator = ", " if separator == "," else separator
        return separator.join(item(random) for _ in range(value.list_size(random, longest)))

    return make


def _repeated(unit: Callable[[Random], str], separator: str = "", longest: int = 400) -> Callable[[Random], str]:
    """A generator of one item again and again."""
    return lambda random: separator.join([unit(random)] * value.list_size(random, longest))


_ASCII_SIGNS = "=-*#_.~+!?/<>|&%@$^:;,'\"`()[]{}\\"

GENERATORS: dict[str, Callable[[Random], str]] = {
    "numbers-small": _many(lambda r: str(r.randint(0, 999)), " ,\n"),
    "numbers-large": _many(lambda r: str(r.randint(0, 10 ** r.randint(4, 15))), " ,\n", 50),
    "numbers-powers": _many(lambda r: str(r.choice((2, 3, 10)) ** r.randint(0, 40)), " ,", 30),
    "numbers-decimal": _many(value.decimal, " ,\n"),
    "numbers-fraction": _many(value.fraction, " ,"),
    "numbers-scientific": _many(lambda r: f"{r.uniform(1, 10):.{r.randint(0, 6)}e}", " ,\n"),
    "numbers-money": _many(value.money, " ,\n", 60),
    "numbers-phone": _many(
        lambda r: f"+{r.randint(1, 99)} ({value.digits(r, 3)}) {value.digits(r, 3)}-{value.digits(r, 4)}", ",\n", 40
    ),
    "numbers-dates": _many(value.date_or_time, " ,\n", 60),
    "numbers-ip": _many(value.ipv4, " ,\n", 60),
    "numbers-version": _many(lambda r: "v" + ".".join(str(r.randint(0, 30)) for _ in range(r.randint(2, 4))), " ,\n"),
    "numbers-digits": lambda r: value.digits(r, value.list_size(r, 600)),
    "hex-address": _many(lambda r: f"0x{value.hex_digits(r, r.choice((2, 4, 8, 8, 16)))}", " ,\n"),
    "hex-colour": _many(lambda r: f"#{value.hex_digits(r, r.choice((3, 6, 6, 8)))}", " ,\n"),
    "hex-binary": _many(lambda r: f"0b{value.binary(r)}", " ,\n"),
    "hex-bits": _many(value.binary, " \n"),
    "hex-bytes": _many(lambda r: value.hex_digits(r, 2, "abcdef"), " "),
    "hex-escapes": _many(lambda r: f"\\x{value.hex_digits(r, 2)}", '"'),
    "hex-hash": _many(lambda r: value.hex_digits(r, r.choice((32, 40, 64)), "abcdef"), " \n", 20),
    "hex-uuid": _many(lambda r: str(uuid.UUID(bytes=r.randbytes(16))), " ,\n", 30),
    "hex-masks": _many(value.bitmask, "\n ", 40),
    "hex-mac": _many(lambda r: ":".join(value.hex_digits(r, 2, "abcdef") for _ in range(6)), " \n", 40),
    "hex-ipv6": _many(lambda r: ":".join(value.hex_digits(r, 4, "abcdef") for _ in range(8)), " \n", 30),
    "hex-dump": _many(value.hexdump, "\n", 25),
    "random-base64": _many(value.base64_text, "\n", 4),
    "random-secret": _many(value.secret, " \n", 30),
    "random-password": _many(value.password, " \n", 40),
    "random-lower": _many(lambda r: value.letters(r, string.ascii_lowercase), " \n"),
    "random-upper": _many(lambda r: value.letters(r, string.ascii_uppercase), " \n"),
    "random-case": _many(lambda r: value.letters(r, string.ascii_letters), " \n"),
    "random-consonants": _many(lambda r: value.letters(r, "bcdfghjklmnpqrstvwxz"), " "),
    "random-ascii": lambda r: "".join(r.choices(string.printable, k=value.list_size(r, 800))),
    "url": _many(value.url, " \n,", 30),
    "url-local": _many(value.local_url, " \n", 30),
    "url-sentence": _many(lambda r: f"{value.sentence(r)[:-1]} {value.url(r)}.", " \n", 15),
    "url-mail": _many(
        lambda r: f"{value.word(r)}.{value.word(r)}@{value.word(r)}.{r.choice(('com', 'org', 'ac.uk'))}", ",\n", 50
    ),
    "url-path": _many(value.file_path, " \n", 40),
    "url-package": _many(value.package, " \n", 30),
    "symbols-arrows": _many(value.character_of((0x2190, 0x21FF), (0x27F5, 0x27FF), (0x2934, 0x2935)), " ,"),
    "symbols-arrows-common": _many(lambda r: r.choice("→←↑↓↔⇒⇐⇔⟶⟹↦➜➡"), " "),
    "symbols-maths": _many(value.character_of((0x2200, 0x22FF)), " "),
    "symbols-maths-common": _many(lambda r: r.choice("±×÷≠≤≥≈≡∞∑∏∫√∂∆∇∈∉⊂∪∩∀∃∅π°′"), " "),
    "symbols-formula": _many(value.formula, ".;\n", 20),
    "symbols-latin1": _many(value.character_of((0xA1, 0xBF)), " "),
    "symbols-legal": _many(lambda r: f"{value.word(r).title()}{r.choice('®™©§¶†‡°')} {value.word(r)}", " ,", 50),
    "symbols-typography": _many(lambda r: r.choice("©®™§¶†‡•…–—‘’“”«»‹›¿¡·‰€£¥¢№"), " "),
    "symbols-greek": _many(value.character_of((0x391, 0x3A1), (0x3B1, 0x3C9)), " ,"),
    "symbols-geometric": _many(value.character_of((0x25A0, 0x25FF)), " "),
    "symbols-dingbats": _many(value.character_of((0x2600, 0x26FF), (0x2701, 0x27BF)), " "),
    "symbols-technical": _many(value.character_of((0x2100, 0x214F), (0x2300, 0x23FF)), " "),
    "symbols-sub-super": _many(lambda r: f"{r.choice('xyzabHCON')}{r.choice('⁰¹²³⁴⁵⁶⁷⁸⁹ⁿ₀₁₂₃₄₅')}", " +"),
    "symbols-box": document.box,
    "symbols-tree": document.tree,
    "symbols-progress": _many(document.progress, "\n", 12),
    "symbols-braille": _many(value.character_of((0x2800, 0x28FF)), " "),
    "symbols-bullets": _many(lambda r: f"{r.choice('•◦▪‣–')} {value.sentence(r)}", "\n", 20),
    "symbols-currency": _many(value.character_of((0x20A0, 0x20BF)), " "),
    "punctuation": _many(value.punctuation, " "),
    "punctuation-dense": lambda r: "".join(r.choices(string.punctuation, k=value.list_size(r, 400))),
    "punctuation-regex": _many(value.regular_expression, " \n", 30),
    "punctuation-latex": _many(value.latex, " \n", 30),
    "emoji-faces": _many(value.FACE, " "),
    "emoji-things": lambda r: "".join(value.THING(r) for _ in range(value.list_size(r, 80))),
    "emoji-common": lambda r: "".join(r.choices(value.COMMON, k=value.list_size(r, 80))),
    "emoji-triples": _many(lambda r: value.emoji(r) * 3, " ", 40),
    "emoji-flags": _many(value.flag, " ", 40),
    "emoji-keycaps": _many(value.keycap, " ", 30),
    "emoji-joined": _many(lambda r: r.choice(value.JOINED), " ", 30),
    "emoji-toned": _many(value.toned, " ", 40),
    "emoji-lines": _many(document.emoji_line, "\n", 20),
    "emoji-sentences": _many(lambda r: f"{value.sentence(r)} {value.emoji(r)}", " ", 20),
    "emoji-repeated": _repeated(value.emoji, "", 60),
    "repeated-letter": _repeated(lambda r: r.choice(string.ascii_letters)),
    "repeated-lower-letter": _repeated(lambda r: r.choice("aaxzeotnhm")),
    "repeated-vowel": _repeated(lambda r: r.choice("aeiouAEIO"), "", 120),
    "repeated-cry": _many(
        lambda r: r.choice(("aa", "oh", "no", "so", "yes", "hm")) + r.choice("aohse!?.") * r.randint(2, 30), " ", 40
    ),
    "repeated-digit": _repeated(lambda r: r.choice(string.digits)),
    "repeated-sign": _repeated(lambda r: r.choice(_ASCII_SIGNS)),
    "repeated-sign-lines": _many(lambda r: r.choice("=-*#_~.") * r.randint(3, 100), "\n", 10),
    "repeated-heading": _many(
        lambda r: (
            f"{r.choice('=-*#~') * r.randint(3, 40)} {value.sentence(r, 3)} {r.choice('=-*#') * r.randint(3, 60)}"
        ),
        "\n",
        20,
    ),
    "repeated-dots": _many(lambda r: f"{value.word(r)} {'.' * r.randint(4, 60)} {r.randint(1, 400)}", "\n", 20),
    "repeated-word": _repeated(value.word, " ", 200),
    "repeated-title": _repeated(lambda r: value.word(r).title(), " ", 200),
    "repeated-pair": _repeated(lambda r: value.letters(r, string.ascii_lowercase)[:3]),
    "repeated-sentence": _repeated(value.sentence, " ", 30),
    "repeated-line": _repeated(document.method_call, "\n", 30),
    "repeated-han": _repeated(lambda r: r.choice("的一是哈啊好不人大中"), "", 100),
    "repeated-other": _repeated(
        value.character_of((0x430, 0x44F), (0x3041, 0x3093), (0xAC00, 0xB000), (0x628, 0x64A)), "", 100
    ),
    "space-runs": _many(lambda r: value.word(r) + " " * r.randint(1, 30), "\n ", 40),
    "space-only": lambda r: r.choice(" \n\t") * value.list_size(r, 300),
    "space-mixed": lambda r: "".join(r.choices(" \n\t\r", k=value.list_size(r, 200))),
    "space-indented": _many(lambda r: r.choice(("\t", "    ", "  ")) * r.randint(0, 8) + value.identifier(r), "\n", 40),
    "words-plain": _many(value.word, " "),
    "words-lines": _many(value.word, "\n,"),
    "words-sentences": _many(value.sentence, " \n", 20),
    "words-shouted": _many(value.shout, " ", 15),
    "words-titled": _many(value.titled, " ", 15),
    "words-identifiers": _many(value.identifier, " \n,", 60),
    "words-calls": _many(document.method_call, "\n ", 30),
    "words-short": document.short_text,
    # Again, with other texts: short ones weigh twice.
    "words-short-2": document.short_text,
    "script-han-rare": _many(value.words_of((0x3400, 0x4DBF), (0x6000, 0x9FA0)), " ", 30),
    "script-accents": _many(value.words_of((0xE0, 0xF6), (0x61, 0x7A), (0x100, 0x17F)), " ", 50),
    "script-georgian": _many(value.words_of((0x10D0, 0x10F0), (0x561, 0x587)), " ", 40),
    "script-fullwidth": _many(value.words_of((0xFF10, 0xFF19), (0xFF21, 0xFF5A)), " ", 40),
    "script-fullwidth-text": _many(
        lambda r: "".join(chr(ord(sign) + 0xFEE0) for sign in value.identifier(r)), "、 ", 20
    ),
    "script-astral": _many(value.words_of((0x1D400, 0x1D4FF), (0x20000, 0x200FF)), " ", 20),
    "script-mixed": _many(document.mixed_script, " ,", 40),
    "data-json": document.json_object,
    "data-json-lines": _many(document.json_object, "\n", 6),
    "data-csv": document.csv_table,
    "data-xml": document.xml,
    "data-sql": _many(document.sql, "\n", 6),
    "data-graphql": document.graphql,
    "data-yaml": document.yaml,
    "data-env": _many(document.env, "\n", 30),
    "data-markdown-table": document.markdown_table,
    "data-log": _many(document.log_line, "\n", 20),
    "data-trace": _many(document.trace, "\n", 20),
    "data-diff": _many(document.patch_hunk, "\n", 8),
    "data-shell": _many(document.shell, "\n", 15),
    "data-headers": _many(document.header, "\n", 20),
}
"""Every generator by its name: the sort of text, then what it is of that sort."""
