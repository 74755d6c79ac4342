"""Packages with a tokenizer plug-in, as an installer would leave them in a folder on the path."""

from pathlib import Path

GOOD = (Path(__file__).parents[1] / "docs" / "examples" / "plugin.py").read_text(encoding="utf-8")
"""The plug-in of the documentation: words of the models whose names begin with ``acme-``."""

_COUNT = "return len(text.split())"
_BOUNDS = "return tokens, tokens"
_EXACT = "exact = True"

BROKEN = {
    "raises in count": (GOOD.replace(_COUNT, "raise KeyError(text)"), "raised KeyError"),
    "negative": (GOOD.replace(_COUNT, "return -1"), "negative"),
    "no integer": (GOOD.replace(_COUNT, "return 1.5"), "gave float"),
    "true": (GOOD.replace(_COUNT, "return True"), "gave bool"),
    "bounds differ": (GOOD.replace(_BOUNDS, "return tokens, tokens + 1"), "bounds that differ"),
    "bounds beside": (GOOD.replace(_BOUNDS, "return tokens + 1, tokens + 1"), "not between"),
    "bounds no pair": (GOOD.replace(_BOUNDS, "return tokens"), "no pair"),
    "bounds of three": (GOOD.replace(_BOUNDS, "return tokens, tokens, tokens"), "no pair"),
    "bounds raise": (GOOD.replace(_BOUNDS, "raise ValueError(text)"), "raised ValueError"),
    "panic": (
        GOOD.replace(_COUNT, "raise type('PanicException', (BaseException,), {})('at ' + text)"),
        "raised PanicException",
    ),
    "method": (GOOD.replace('"huggingface"', '"mine"'), "'method' is none of"),
    "unhashable method": (GOOD.replace('"huggingface"', "[]"), "'method' is none of"),
    "exact": (GOOD.replace(_EXACT, "exact = 1"), "'exact'"),
    "encoding": (GOOD.replace('"acme-words"', '"two\\nlines"'), "'encoding'"),
    "no count": (GOOD.replace("def count", "def counts"), "without count"),
    "property raises": (GOOD.replace(_EXACT, "exact = property(lambda self: 1 / 0)"), "ZeroDivisionError"),
    "factory raises": (GOOD.replace("return Words() if", "raise OSError(info.name) if"), "raised OSError"),
    "factory takes nothing": (
        GOOD.replace("make(info: ModelInfo, options: TokenizerOptions)", "make()"),
        "raised TypeError",
    ),
    "factory exits": (GOOD.replace("return Words() if", "raise SystemExit(1) if"), "tried to end the program"),
    "import raises": ("1 / 0", "raised ZeroDivisionError when it was imported"),
    "import exits": ("raise SystemExit(1)", "tried to end the program"),
    "nothing to import": ("", "raised AttributeError"),
    "exits": (GOOD.replace(_COUNT, "import sys; sys.exit(text)"), "tried to end the program when counting"),
    "bounds exit": (GOOD.replace(_BOUNDS, "raise SystemExit(text)"), "tried to end the program when counting"),
    "generator exit": (GOOD.replace(_COUNT, "raise GeneratorExit(text)"), "raised GeneratorExit when counting"),
    "cancelled by name": (
        GOOD.replace(_COUNT, "raise type('CancelledError', (BaseException,), {})(text)"),
        "raised CancelledError when counting",
    ),
    "cancelled": (
        GOOD.replace(_COUNT, "import asyncio; raise asyncio.CancelledError(text)"),
        "raised CancelledError when counting",
    ),
    "cancelled future": (
        GOOD.replace(_COUNT, "import concurrent.futures as f; raise f.CancelledError(text)"),
        "raised CancelledError when counting",
    ),
    "factory closes": (GOOD.replace("return Words() if", "raise GeneratorExit(1) if"), "raised GeneratorExit when it"),
    "huge": (GOOD.replace(_COUNT, "return 10**5000"), "a number of tokens that no text has"),
    "huge bounds": (
        GOOD.replace(_BOUNDS, "return 0, 10**5000").replace(_EXACT, "exact = False"),
        "a number of tokens that no text has",
    ),
}
"""Plug-ins that break each part of the contract, and what is said of each."""


def write_package(site: Path, name: str = "acme", source: str | None = GOOD, module: str = "acme_tokens") -> None:
    """A distribution with one entry point ``name``, to ``make`` of a module; without a source there is no module."""
    site.mkdir(exist_ok=True)
    if source is not None:
        (site / f"{module}.py").write_text(source, encoding="utf-8")
    metadata = site / f"{module}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n", encoding="utf-8")
    points = f"[tokenward.tokenizers]\n{name} = {module}:make\n"
    (metadata / "entry_points.txt").write_text(points, encoding="utf-8")
