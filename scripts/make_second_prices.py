"""Writes engine/data/second_prices.json anew: what LiteLLM's list says of the models that tokenward knows.

Only figures are taken: prices of the makers themselves, by tier and above sizes of input, and limits. What the list
says of other servers' models, of audio, images and searches, and of prices that change with the hour, is left out.

    python -m scripts.make_second_prices --version 1.109.1 --released 2026-11-12 --date 2026-11-22
    python -m scripts.make_second_prices --wheel FILE.whl --version 1.109.1 --released 2026-11-12 --date 2026-11-22

Without ``--wheel``, pip downloads it to a temporary folder. ``--released`` is the day on which pip first finds the
release (``pip index versions litellm --uploaded-prior-to DAY``).
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path

from tokenward.engine.catalog import Catalog
from tokenward.engine.money import decimal_text

FILE = Path(__file__).parents[1] / "engine" / "data" / "second_prices.json"
PACKAGE = "litellm"
LIST = "litellm/model_prices_and_context_window_backup.json"

# The list's providers that are makers, by our names of them; of two entries for a model the earlier provider's counts.
MAKERS = {
    "openai": "openai",
    "text-completion-openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "vertex_ai-language-models": "google",
    "xai": "x-ai",
    "mistral": "mistral",
    "codestral": "mistral",
    "deepseek": "deepseek",
    "meta": "meta",
    "meta_llama": "meta",
    "dashscope": "qwen",
}
MODES = frozenset({"chat", "completion", "embedding", "realtime", "responses"})

FIELDS = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
    "cache_creation_input_token_cost_above_1hr": "cache_write_1h",
    "output_cost_per_reasoning_token": "reasoning",
}
TIERS = {None: "standard", "batches": "batch", "flex": "flex", "priority": "priority"}
KEY = re.compile(rf"({'|'.join(FIELDS)})(?:_above_(\d+)k_tokens)?(?:_({'|'.join(filter(None, TIERS))}))?")
BY_THE_HOUR = "off_peak_pricing"
PER_PRICE = 1_000_000


def published_list(wheel: Path) -> dict[str, dict[str, object]]:
    """The list in a wheel, numbers with a point as decimals."""
    with zipfile.ZipFile(wheel) as archive:
        found = json.loads(archive.read(LIST), parse_float=Decimal)
    return {name: entry for name, entry in found.items() if isinstance(entry, dict)}


def downloaded(version: str, folder: Path) -> Path:
    """The wheel of a release, fetched by pip."""
    pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:")
    subprocess.run([*pip, "--dest", str(folder), f"{PACKAGE}=={version}"], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def rates(entry: Mapping[str, object]) -> dict[str, dict[str, dict[str, str]]]:
    """Prices per million tokens, by tier, then by the input above which they hold, then by kind of token.

    A price of 0 is left out: there it also stands for what is not known.
    """
    found: dict[str, dict[str, dict[str, str]]] = {}
    if BY_THE_HOUR in entry:
        return found
    for key, price in sorted(entry.items()):
        match = KEY.fullmatch(key)
        if match and isinstance(price, int | Decimal) and price > 0:
            above = str(int(match[2] or 0) * 1_000)
            found.setdefault(TIERS[match[3]], {}).setdefault(above, {})[FIELDS[match[1]]] = decimal_text(
                Decimal(price) * PER_PRICE
            )
    return {tier: dict(sorted(sizes.items(), key=lambda one: int(one[0]))) for tier, sizes in found.items()}


def limits(entry: Mapping[str, object]) -> dict[str, int]:
    """What may go in and come out, in tokens."""
    wanted = ("max_input_tokens", "max_output_tokens")
    return {key: int(value) for key in wanted if isinstance(value := entry.get(key), int | Decimal) and value > 0}


def models(listed: Mapping[str, Mapping[str, object]]) -> Iterator[tuple[str, dict[str, object]]]:
    """What the list says of each model of a maker, by its bare name there; the catalog's goes with it if it differs."""
    catalog = Catalog()
    found: dict[str, tuple[int, dict[str, object]]] = {}
    for written, entry in listed.items():
        seller, bare = str(entry.get("litellm_provider")), written.rsplit("/", 1)[-1].lower()
        if seller not in MAKERS or entry.get("mode") not in MODES:
            continue
        info, rank = catalog.resolve(written), list(MAKERS).index(seller)
        facts: dict[str, object] = {"provider": info.provider, **limits(entry), "rates": rates(entry)}
        if info.provider != MAKERS[seller] or (len(facts) == 2 and not facts["rates"]):
            continue
        if bare not in found or rank < found[bare][0]:
            found[bare] = rank, facts if info.name == bare else {"name": info.name, **facts}
    yield from ((bare, facts) for bare, (_, facts) in sorted(found.items()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheel", type=Path, help="litellm's wheel; pip downloads it if not given")
    parser.add_argument("--version", required=True, help="the release")
    parser.add_argument("--released", required=True, help="the day of the release")
    parser.add_argument("--date", required=True, help="the day on which the list was read")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        wheel = options.wheel or downloaded(options.version, Path(folder))
        if f"-{options.version}-" not in wheel.name:
            parser.error(f"{wheel.name} is not version {options.version}")
        listed = published_list(wheel)
    head = {
        "source": {
            "package": PACKAGE,
            "version": options.version,
            "released": options.released,
            "file": LIST,
            "licence": "MIT, Copyright (c) 2023 Berri AI; figures only",
        },
        "date": options.date,
    }
    rows = ",\n".join(f"  {json.dumps(name)}: {json.dumps(facts)}" for name, facts in models(listed))
    FILE.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "models": {{\n{rows}\n }}\n}}\n', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
