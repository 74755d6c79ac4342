"""Random documents for made texts: tables, data formats, logs, drawings, and lines of code.

Every function takes the source of randomness and returns a string, so that a seed gives the same texts again.
"""
# ruff: noqa: E501 - the templates are such

import string
from collections.abc import Callable
from random import Random
from typing import TypeAlias

from scripts.made_values import (
    WORDS,
    date_or_time,
    decimal,
    emoji,
    file_path,
    hex_digits,
    identifier,
    ipv4,
    letters,
    list_size,
    money,
    secret,
    sentence,
    url,
    word,
    words_of,
)

Make: TypeAlias = Callable[[Random], str]


def _long_hex(random: Random) -> str:
    return hex_digits(random, 32)


def _bearer(random: Random) -> str:
    return f"Bearer {secret(random)}"


def box(random: Random) -> str:
    widths = [random.randint(3, 14) for _ in range(random.randint(1, 5))]
    line, joints = random.choice((("─", "┌┬┐├┼┤└┴┘│"), ("═", "╔╦╗╠╬╣╚╩╝║"), ("-", "++++++" + "+++|")))
    rules = [f"{joints[k]}{joints[k + 1].join(line * width for width in widths)}{joints[k + 2]}" for k in (0, 3, 6)]
    rows = [
        joints[9] + joints[9].join(word(random)[:width].ljust(width) for width in widths) + joints[9]
        for _ in range(random.randint(1, 6))
    ]
    return "\n".join((rules[0], rows[0], rules[1], *rows[1:], rules[2]))


def tree(random: Random) -> str:
    lines = [
        f"{'│   ' * random.randint(0, 3)}{random.choice('├└')}── {file_path(random).rsplit('/', 1)[-1]}"
        for _ in range(list_size(random, 30))
    ]
    return "\n".join((".", *lines))


def progress(random: Random) -> str:
    full = random.randint(0, 40)
    return (
        f"{word(random)}: {random.choice('█▓■#')}"
        + "█" * full
        + random.choice("░ ▒") * (40 - full)
        + f" {full * 100 // 40}%"
    )


def markdown_table(random: Random) -> str:
    columns = random.randint(2, 6)

    def row() -> str:
        cells = (random.choice((word, decimal, date_or_time, identifier))(random) for _ in range(columns))
        return f"| {' | '.join(cells)} |"

    return "\n".join((row(), "|" + "---|" * columns, *(row() for _ in range(list_size(random, 25)))))


def csv_table(random: Random) -> str:
    columns: tuple[Make, ...] = (
        *(word, decimal, date_or_time, identifier, money, ipv4),
        lambda r: str(r.randint(0, 99999)),
        lambda r: f"{r.choice(WORDS)}@{r.choice(WORDS)}.com",
    )
    makers = random.choices(columns, k=random.randint(3, 8))
    rows = [",".join(make(random) for make in makers) for _ in range(list_size(random, 40))]
    return "\n".join((",".join(identifier(random) for _ in makers), *rows))


def json_object(random: Random, depth: int = 0) -> str:
    pad, end = random.choice((("\n" + "  " * (depth + 1), "\n" + "  " * depth), ("", "")))
    leaves = (lambda: f'"{word(random)}"', lambda: str(random.randint(0, 5000)), lambda: decimal(random), lambda: random.choice(("true", "false", "null")), lambda: f'"{sentence(random, 5)}"', lambda: f'"{url(random)}"', lambda: f'"{identifier(random)}"')  # fmt: skip
    fields = [
        f'"{identifier(random)}": {json_object(random, depth + 1) if depth < 3 and random.random() < 0.25 else random.choice(leaves)()}'
        for _ in range(random.randint(1, 6))
    ]
    return "{" + pad + ("," + (pad or " ")).join(fields) + end + "}"


def xml(random: Random, depth: int = 0) -> str:
    tag = random.choice(("div", "item", "config", "span", "entry", "node", "p", "li", word(random)))
    attributes = "".join(
        f' {random.choice(("id", "class", "href", "type", "name"))}="{identifier(random)}"'
        for _ in range(random.randint(0, 2))
    )
    inside = sentence(random, 4) if depth > 3 or random.random() < 0.4 else "\n".join("  " * (depth + 1) + xml(random, depth + 1) for _ in range(random.randint(1, 3))) + "\n" + "  " * depth  # fmt: skip
    return f"<{tag}{attributes}>{'' if inside[0] != ' ' else chr(10)}{inside}</{tag}>"


def sql(random: Random) -> str:
    one, two, three = (word(random) for _ in range(3))
    return random.choice(
        (
            f"SELECT {one[0]}.id, {one[0]}.{two}, COUNT(*) AS {three}_count\nFROM {one} {one[0]}\nLEFT JOIN {two} ON {two}.{one}_id = {one[0]}.id\nWHERE {one[0]}.created_at > '{date_or_time(random)}'\nGROUP BY {one[0]}.id\nORDER BY {three}_count DESC LIMIT {random.randint(1, 99)};",
            f"INSERT INTO {one} ({two}, {three}) VALUES ('{word(random)}', {random.randint(0, 999)}), (NULL, DEFAULT);",
            f"CREATE TABLE IF NOT EXISTS {one} (\n  id BIGSERIAL PRIMARY KEY,\n  {two} VARCHAR({random.randint(1, 255)}) NOT NULL,\n  {three} NUMERIC(10, 2) REFERENCES {two}(id)\n);",
            f"UPDATE {one} SET {two} = {two} + 1 WHERE {three} IN (SELECT id FROM {two}) AND {two} IS NOT NULL;",
        )
    )


def graphql(random: Random) -> str:
    fields = "\n    ".join(identifier(random) for _ in range(random.randint(2, 7)))
    return f"query Get{word(random).title()}(${word(random)}: ID!, $first: Int = {random.randint(1, 50)}) {{\n  {word(random)}(id: $id) {{\n    {fields}\n  }}\n}}"


def yaml(random: Random) -> str:
    lines = [
        f"{'  ' * random.randint(0, 3)}{random.choice(('', '- '))}{identifier(random)}: {random.choice((word, decimal, file_path, ipv4, sentence))(random)}"
        for _ in range(list_size(random, 40))
    ]
    return "\n".join(lines)


def env(random: Random) -> str:
    return f"{identifier(random).upper().replace('-', '_')}={random.choice((word, url, file_path, identifier, _long_hex))(random)}"


def log_line(random: Random) -> str:
    return f"{date_or_time(random)} {random.choice(('INFO', 'WARN', 'ERROR', 'DEBUG'))} [{word(random)}-{random.randint(0, 99)}] {identifier(random)}: {sentence(random)} {word(random)}={random.randint(0, 99999)} {ipv4(random)}"


def trace(random: Random) -> str:
    return f'  File "{file_path(random)}", line {random.randint(1, 3000)}, in {identifier(random)}\n    {identifier(random)}({word(random)}={word(random)})'


def patch_hunk(random: Random) -> str:
    lines = [
        f"{random.choice('+- ')}    {identifier(random)} = {identifier(random)}({word(random)})"
        for _ in range(random.randint(1, 8))
    ]
    return f"@@ -{random.randint(1, 900)},7 +{random.randint(1, 900)},9 @@\n" + "\n".join(lines)


def shell(random: Random) -> str:
    return f"$ {random.choice(('git', 'docker', 'curl -sSL', 'npm run', 'pip install', 'grep -rn', 'kubectl'))} {word(random)} --{word(random)}={word(random)} -{random.choice('abcxvz')} {file_path(random)} | {random.choice(('head -n 5', 'sort -u', 'jq .', 'wc -l'))}"


def header(random: Random) -> str:
    return f"{word(random).title()}-{word(random).title()}: {random.choice((word, date_or_time, identifier, _bearer))(random)}"


def method_call(random: Random) -> str:
    return f"{identifier(random)}.{identifier(random)}({identifier(random)}, {random.choice(('null', 'true', '0', word(random)))});"


def emoji_line(random: Random) -> str:
    sign = random.choice(("//", "#", "-", "*", ""))
    return f"{sign} {emoji(random)} {sentence(random)}".strip()


def mixed_script(random: Random) -> str:
    scripts = (words_of((0x4E00, 0x5FFF)), words_of((0x3041, 0x3093)), words_of((0xAC00, 0xC4FF)), word, words_of((0x430, 0x44F)), decimal)  # fmt: skip
    return random.choice(scripts)(random)


def short_text(random: Random) -> str:
    makers: tuple[Make, ...] = (
        *(word, identifier, sentence, date_or_time, decimal, emoji, url),
        lambda r: f"{r.choice(WORDS)} {r.choice(WORDS)}",
        lambda r: r.choice(string.ascii_letters),
        lambda r: f"{letters(r, string.ascii_uppercase)}-{r.randint(1, 9)}{r.choice('abo')}",
    )
    return random.choice(makers)(random)
