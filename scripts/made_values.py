"""Random values for made texts: words, numbers, addresses, signs of every script, symbols and emoji.

Every function takes the source of randomness and returns a string, so that a seed gives the same texts again.
"""
# ruff: noqa: E501, RUF001, SIM905 - the samples are such

import base64
import math
import string
from collections.abc import Callable
from random import Random

WORDS = """the of and to in is that for it was on are as with his they at be this from have or by one had not but
what all were when we there can an your which their said if do will each about how up out them then she
many some so these would other into has more her two like him see time could no make than first been its
who now people my made over did down only way find use may water long little very after words called just
where most know house garden window river morning music letter table market yellow quiet engine network
server client request response error model token vector matrix policy budget deadline report customer
invoice library function variable memory thread socket database migration""".split()

COUNTRIES = """AE AR AT BD BE BG CH CL CO CZ DK EC EE EG ES FI FR GH GR HR HU IE IL IR IS JP KE LT LV MA MY NL NO NZ PE
PH PK PT RO RS SA SG SK TH TN TW UA US UY VN ZA""".split()

NAMES = """api app auth blog cart data docs example files help image index item login news page search shop user v1
v2""".split()


def list_size(random: Random, longest: int = 120) -> int:
    return round(math.exp(random.uniform(0.0, math.log(longest))))


def digits(random: Random, length: int) -> str:
    return "".join(random.choices(string.digits, k=length))


def hex_digits(random: Random, length: int, letters: str = "") -> str:
    digits = string.digits + (letters or random.choice(("abcdef", "ABCDEF")))
    return "".join(random.choices(digits, k=length))


def character_of(*ranges: tuple[int, int]) -> Callable[[Random], str]:
    """One character of the given ranges of code points, ends included."""
    pool = "".join(chr(code) for first, last in ranges for code in range(first, last + 1))
    return lambda random: random.choice(pool)


def words_of(*ranges: tuple[int, int]) -> Callable[[Random], str]:
    character = character_of(*ranges)
    return lambda random: "".join(character(random) for _ in range(random.randint(1, 9)))


def word(random: Random) -> str:
    return random.choice(WORDS)


def sentence(random: Random, words: int = 0) -> str:
    chosen = random.choices(WORDS, k=words or random.randint(4, 14))
    return f"{' '.join(chosen).capitalize()}{random.choice('..!?')}"


def identifier(random: Random) -> str:
    parts = [word(random) for _ in range(random.randint(2, 4))]
    styles = (
        "_".join(parts),
        "-".join(parts),
        parts[0] + "".join(map(str.title, parts[1:])),
        "".join(map(str.title, parts)),
        "_".join(parts).upper(),
    )
    return random.choice(styles)


def url(random: Random) -> str:
    scheme = random.choice(("https://", "https://www.", "http://", "https://docs.", "ftp://", "git+https://"))
    address = f"{scheme}{word(random)}{random.choice(('', '-' + word(random)))}.{random.choice(('com', 'org', 'io', 'de', 'dev'))}"
    path = "".join(f"/{random.choice(NAMES + WORDS)}" for _ in range(random.randint(0, 4)))
    query = random.choice(("", f"?{word(random)}={random.randint(0, 9999)}&{word(random)}={word(random)}"))
    return address + path + query + random.choice(("", "", f"#{word(random)}-{word(random)}"))


def local_url(random: Random) -> str:
    host = random.choice(("localhost", "127.0.0.1", "0.0.0.0", "[::1]", "192.168.0." + str(random.randint(1, 254))))
    return f"http://{host}:{random.choice((80, 3000, 5432, 8000, 8080))}/{random.choice(NAMES)}/{random.choice(NAMES)}"


def file_path(random: Random) -> str:
    parts = [random.choice(NAMES + WORDS) for _ in range(random.randint(2, 6))]
    ending = random.choice((".py", ".tar.gz", ".ts", ".log", "", ".json"))
    windows = "C:\\" + "\\".join(map(str.title, parts)) + ending
    return random.choice(("/" + "/".join(parts) + ending, "./" + "/".join(parts) + ending, windows))


def package(random: Random) -> str:
    version = ".".join(str(random.randint(0, 20)) for _ in range(3))
    name = f"{word(random)}-{word(random)}"
    return random.choice(
        (
            f"npm:@{word(random)}/{name}@^{version}",
            f"{name}=={version}",
            f"pkg:pypi/{name}@{version}",
            f"git@github.com:{name}/{word(random)}.git#v{version}",
            f"s3://{name}/{version}/{word(random)}.csv",
        )
    )


def date_or_time(random: Random) -> str:
    year, month, day = random.randint(1900, 2099), random.randint(1, 12), random.randint(1, 28)
    hour, minute, second = random.randint(0, 23), random.randint(0, 59), random.randint(0, 59)
    return random.choice(
        (
            f"{year}-{month:02}-{day:02}",
            f"{hour:02}:{minute:02}:{second:02}",
            f"{year}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z",
            f"{day:02}/{month:02}/{year}",
            f"{day}.{month}.{year}",
        )
    )


def decimal(random: Random) -> str:
    return f"{random.choice(('', '', '-'))}{random.uniform(0, 10 ** random.randint(0, 5)):.{random.randint(1, 8)}f}"


def fraction(random: Random) -> str:
    one, other = random.randint(0, 400), random.randint(1, 99)
    return random.choice(
        (f"{one}/{other}", f"{one}:{other}", f"{one / other:.1f}%", f"1:{other / 7:.3f}", f"{one} vs {other}")
    )


def money(random: Random) -> str:
    return random.choice("$€£¥₹") + f"{random.uniform(0, 10 ** random.randint(1, 7)):,.2f}"


def ipv4(random: Random) -> str:
    return ".".join(str(random.randint(0, 255)) for _ in range(4)) + random.choice(
        ("", "", f":{random.randint(1, 65535)}", "/24")
    )


def bitmask(random: Random) -> str:
    name = identifier(random).upper()
    return random.choice(
        (
            f"{name} = 0x{hex_digits(random, 2)}",
            f"{name} = 1 << {random.randint(0, 31)}",
            f"0x{hex_digits(random, 2)} & ~0b{binary(random)} == 0x{hex_digits(random, 4)}",
        )
    )


def binary(random: Random) -> str:
    return "".join(random.choices("01", k=random.choice((1, 2, 4, 8, 8, 16))))


def hexdump(random: Random) -> str:
    raw = random.randbytes(16)
    shown = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in raw)
    return f"{random.randrange(0, 1 << 16, 16):08x}  {raw.hex(' ')}  |{shown}|"


def formula(random: Random) -> str:
    sign = random.choice
    letters = "xyzfgnkuvwABCFPQ"
    one, two, three = (sign(letters) for _ in range(3))
    return sign(
        (
            f"{one} {sign('∈∉⊂⊆')} {sign('ℝℕℤℂℚ')}, {two} {sign('≤≥≠≈≡')} {random.randint(0, 9)}",
            f"{sign('∑∏∫')} {one}{sign('²³ⁿ₀₁')} {sign('±×÷·')} {two}",
            f"{sign('∀∃¬')}{one} ({two} {sign('∩∪∧∨⊕⊗')} {three} {sign('⟹⇒⇔→')} {sign('∅∞')})",
            f"{sign('∂∇∆')}{one} / {sign('∂√∛')}{two} {sign('<>=≅∝')} {sign('αβγδεθλμπσφω')}{sign('ᵢⁿ₂')}",
        )
    )


def latex(random: Random) -> str:
    one, two = random.choice("xyzabn"), random.choice("xyzabn")
    return random.choice(
        (
            rf"\frac{{{one}^2}}{{{two}_{{i+1}}}}",
            rf"\sum_{{{one}=1}}^{{n}} \alpha_{{{one}}} \cdot {two}",
            rf"\mathbb{{R}}^{{{one}}} \to \mathcal{{L}}({two})",
            rf"\begin{{align}} {one} &= {two} \\ \end{{align}}",
        )
    )


def regular_expression(random: Random) -> str:
    parts = (
        r"\d+",
        "[a-z0-9_]*",
        r"(?:\w+)",
        r"^\s*",
        "$",
        r"\.",
        "{2,5}",
        "(.*?)",
        r"\b",
        "[^/]+",
        "|",
        r"\\",
        "(?=x)",
    )
    return "/" + "".join(random.choices(parts, k=random.randint(2, 8))) + "/" + random.choice(("", "g", "i"))


def punctuation(random: Random) -> str:
    return random.choice("!?.-~*#@:;|/\\=+_&%$^<>()[]{}'\"`,") * random.randint(1, 4)


def flag(random: Random) -> str:
    return "".join(chr(0x1F1E6 + ord(letter) - ord("A")) for letter in random.choice(COUNTRIES))


FACE = character_of((0x1F600, 0x1F64F))

THING = character_of(
    (0x1F300, 0x1F320),
    (0x1F32D, 0x1F393),
    (0x1F3A0, 0x1F3CA),
    (0x1F400, 0x1F4FC),
    (0x1F680, 0x1F6C5),
    (0x1F910, 0x1F9FF),
)

COMMON = "😂❤️🤣👍😭🙏😘🥰😍😊🎉😁💕🥺😅🔥💯✨🎯💪🙌👀🤯🚀✅❌⚠️💡📝🔧🐛📦🎨⚡🔒📈🌍🤖💻📱🏆⭐🍕☕🎵"

JOINED = """👨‍👩‍👧‍👦 👩‍💻 👨‍🚀 🏳️‍🌈 👩‍❤️‍👨 🧑‍🍳 👁️‍🗨️ 🐻‍❄️ 🏴‍☠️ 🧑🏽‍🔬 👩🏿‍🎓 🤷‍♂️ 🙋🏻‍♀️ ❤️‍🔥""".split()


def emoji(random: Random) -> str:
    return random.choice((FACE(random), THING(random), random.choice(COMMON), random.choice(COMMON)))


def keycap(random: Random) -> str:
    return random.choice("0123456789#*") + "\ufe0f\u20e3"


def toned(random: Random) -> str:
    return random.choice("👍👎👋🙏💪👏🤝👌✌👆") + chr(random.randint(0x1F3FB, 0x1F3FF))


def secret(random: Random) -> str:
    return "".join(random.choices(string.ascii_letters + string.digits, k=random.randint(8, 60)))


def base64_text(random: Random) -> str:
    return base64.b64encode(random.randbytes(random.randint(6, 300))).decode()


def password(random: Random) -> str:
    return "".join(random.choices(string.ascii_letters + string.digits + string.punctuation, k=random.randint(6, 24)))


def letters(random: Random, alphabet: str) -> str:
    return "".join(random.choices(alphabet, k=random.randint(2, 14)))


def shout(random: Random) -> str:
    return sentence(random).upper()


def titled(random: Random) -> str:
    return sentence(random).title()
