"""Writes engine/data/fast_checks.json anew: the counts of its texts by tiktoken, and what libraries disagree about.

The texts themselves are kept; to add one, write it into the file and run this. What characters are unsettled is found
out by comparing toktok with tiktoken, and needs toktok and a Python whose Unicode is version 14 (3.11).

    python -m scripts.make_fast_checks --date 2026-11-22
"""

import argparse
import json
import sys
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from tokenward.engine.datafiles import list_at, read_json
from tokenward.engine.tokenizers.encodings import load_encoding
from tokenward.engine.tokenizers.fast import checks, load_toktok
from tokenward.engine.tokenizers.text import count_text

FILE = Path(__file__).parents[1] / "engine" / "data" / "fast_checks.json"
RANKS = ("cl100k_base", "o200k_base")
UNICODE = "14.0.0"


def unsettled() -> Iterator[tuple[int, int]]:
    """Ranges of code points that this Python's Unicode does not have, and a library takes for a letter, digit or mark.

    Behind such a character ``_P`` is one piece with it, and so fewer tokens than behind a symbol.
    """
    truncate = load_toktok()
    if truncate is None or unicodedata.unidata_version != UNICODE:
        raise SystemExit(f"needs toktok and a Python with Unicode {UNICODE}")
    first = last = -1
    for code in range(0x80, sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) != "Cn" or all(
            len(load_encoding(name).encode_ordinary(character)) + 2
            == len(load_encoding(name).encode_ordinary(f"{character}_P"))
            == truncate(f"{character}_P", sys.maxsize, name)[1]
            for name in RANKS
        ):
            continue
        if code != last + 1:
            if first >= 0:
                yield first, last
            first = code
        last = code
    if first >= 0:
        yield first, last


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--date", required=True, help="of the counts")
    options = parser.parse_args()
    document = read_json(FILE.name)
    document["date"] = options.date
    document["unsettled"] = [[f"{first:X}", f"{last:X}"] for first, last in unsettled()]
    for check, (text, _) in zip(list_at(document, "checks"), checks(), strict=True):
        if isinstance(check, dict):
            check["counts"] = {name: count_text(load_encoding(name), text) for name in RANKS}
    rows = {key: ",\n    ".join(json.dumps(row) for row in list_at(document, key)) for key in ("unsettled", "checks")}
    head = json.dumps({"source": document["source"], "date": document["date"]}, indent=2)[:-2]
    lists = ",\n".join(f'  "{key}": [\n    {text}\n  ]' for key, text in rows.items())
    FILE.write_text(f"{head},\n{lists}\n}}\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
