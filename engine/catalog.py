"""A model's name, in any spelling, to what is known of the model: one normaliser, one catalog, one place.

Names arrive as the maker writes them (``gpt-4o-2024-08-06``), with a router's or cloud's way in front
(``openrouter/anthropic/claude-sonnet-4.5:thinking``, ``us.anthropic.claude-…-v1:0``), as a fine-tuning
(``ft:gpt-4o-mini:org::id``) or as a deployment's own name (through configured aliases). The facts are in
``engine/data/models.json``; nothing heavier is loaded.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache

from tokenward.engine.datafiles import object_at, read_json, text_at
from tokenward.engine.errors import CorruptData, InvalidInput, UnknownEncoding, shown
from tokenward.engine.tokenizers.encodings import ENCODING_NAMES
from tokenward.engine.types import JsonObject

MAX_NAME_CHARACTERS = 256

_REMEMBERED_NAMES = 256
"""How many spellings are kept resolved; callers choose the names, so it has a limit."""

_ENCODING_SHAPE = re.compile(r"[^/]*_(?:base|edit|harmony)|(?:cl|o|p|r)\d{2,3}k(?:[_-]\w*)?")
_MAKER = re.compile(
    r"^(?:openai|anthropic|google(?:[-_](?:gla|vertex|genai|vertexai))?|mistral(?:ai)?|deepseek|xai):(?=.)"
)
_FINE_TUNED = "ft:"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
_BEDROCK_PLACE = re.compile(
    r"^(?:[a-z]{2,6}(?:-gov)?\.)?(?:anthropic|meta|mistral|deepseek|qwen|openai|google|xai)\.(?=[a-z])"
)
_BEDROCK_VERSION = re.compile(r"(?<!claude)-v?\d+:\d+(?::\d+k)?$")
_VARIANT = re.compile(r"[:@\[]")
_RELEASE = re.compile(
    r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{2}-\d{4}|\d{2}-\d{2}|\d{4}|\d{3}|latest|preview|beta|exp|instruct|chat|it|hf)$"
)
_CLAUDE_RELEASE = re.compile(r"(?:-20\d{6}|-latest|(?<=\d)-v\d+|-fast|-thinking|-beta)+$")
_CLAUDE_VERSION = re.compile(r"(?<=\d)[._p](?=\d)")
_LLAMA_VERSION = re.compile(r"^(?:meta-)?llama-?v?(\d)(?:[.p-](\d)(?!\d*b))?(?=-|$)")
_SERVED = re.compile(r"^(?!(?:.*/)?ft:).*:(batch|flex|priority)$")
_CLAUDE_FAST = re.compile(r"(?:^|/)fast/(?:.*/)?claude[^/]*$|claude[^/]*-fast(?=$|[-:@\[])")
_NEAREST_CUTOFF = 0.7


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is known of one model.

    Attributes:
        requested: The name as asked for.
        name: The bare name in the maker's spelling, by which it is priced.
        provider: The maker (``openai``, ``anthropic``, ``google`` …), or ``None`` when it cannot be told.
        family: Models that share a way of counting: ``openai``, or a key of ``engine/data/estimates.json``.
        encoding: The encoding it is counted with, or the one its estimate is based on.
        context_window: Tokens of input and output together, or ``None`` when not known.
        max_output_tokens: Tokens of output, or ``None`` when not known.
        known: Whether the catalog has this model.
        target: The name as asked for, an own alias replaced by what it stands for.
        warnings: What was assumed. Without a warning nothing was.
        max_input_tokens: Tokens of input, where a provider allows fewer than the context window; else ``None``.
        served: How the name says that the model is served, since that has a price of its own: ``batch``, ``flex`` or
            ``priority`` (``gpt-4o:batch``), or ``fast``, Anthropic's fast mode (``claude-opus-4-8-fast``); else empty.
    """

    requested: str
    name: str
    provider: str | None
    family: str
    encoding: str
    context_window: int | None
    max_output_tokens: int | None
    known: bool
    target: str
    warnings: tuple[str, ...] = ()
    max_input_tokens: int | None = None
    served: str = ""


class Catalog:
    """The models that are known, and the configured names for them.

    Args:
        aliases: Own names, such as Azure deployments, to model names; matched without regard to case.
    """

    def __init__(self, aliases: Mapping[str, str] | None = None) -> None:
        self._own = {alias.strip().lower(): model for alias, model in (aliases or {}).items()}
        self._facts: _Facts | None = None
        # Every call asks for its model, and to find the nearest name of an unknown one takes long.
        self._resolved = lru_cache(_REMEMBERED_NAMES)(self._resolve)

    def resolve(self, model: str) -> ModelInfo:
        """What is known of a model or an encoding, by name.

        A model that is not known gets the family of the nearest name, ``known=False`` and a warning that says so.

        Raises:
            InvalidInput: The name is empty, too long or holds control characters.
            UnknownEncoding: The name can only be an encoding's, and there is none of that name.
        """
        return self._resolved(model)

    def _resolve(self, model: str) -> ModelInfo:
        name = _checked(model)
        # Own aliases hold with and without the way in front (``azure/…``).
        alias_of = self._own.get(name) or self._own.get(name.rsplit("/", 1)[-1])
        target = alias_of or model
        if name in ENCODING_NAMES:
            return ModelInfo(model, name, "openai", "openai", name, None, None, known=True, target=target)
        if _ENCODING_SHAPE.fullmatch(name) and name not in self._own:
            raise UnknownEncoding(model, ENCODING_NAMES)
        facts = self._loaded()
        return facts.describe(model, target, facts.normalise(_checked(target)))

    def models(self) -> list[ModelInfo]:
        """The known models, sorted by name. Encodings and own aliases are not among them."""
        facts = self._loaded()
        return [facts.describe(name, name, name) for name in sorted(facts.models)]

    def names(self) -> list[str]:
        """The names of the known models, what else they are called, the encodings and the own aliases, sorted."""
        facts = self._loaded()
        return sorted({*facts.models, *facts.aliases, *ENCODING_NAMES, *self._own})

    def undated(self, model: str) -> str | None:
        """The known model that a known one is a release of, as its name says; else ``None``."""
        shorter = _RELEASE.sub("", model)
        return shorter if shorter != model and shorter in self._loaded().models else None

    def _loaded(self) -> "_Facts":
        if self._facts is None:
            self._facts = _Facts(read_json("models.json"))
        return self._facts


class _Facts:
    """``models.json`` in the shape that look-ups need."""

    def __init__(self, document: JsonObject) -> None:
        self.models = object_at(document, "models")
        self._families = object_at(document, "families")
        self.aliases = object_at(document, "aliases")
        # The longest prefix is the most telling one.
        self._prefixes = sorted(self._families, key=len, reverse=True)

    def normalise(self, name: str) -> str:
        """The bare name in its maker's spelling, from a lower-case name in any spelling."""
        name = self._renamed(_spelling_of_maker(_bare(name)))
        stripped = name.removesuffix("-latest")
        return stripped if stripped in self.models else name

    def describe(self, requested: str, target: str, name: str) -> ModelInfo:
        """What is known of a bare name."""
        known = self._known(name)
        like = name if self._prefix(name) else self._nearest(name)
        prefix = self._prefix(like)
        family = object_at(self._families, prefix) if prefix else _UNKNOWN_FAMILY
        limits = object_at(self.models, known) if known else {}
        return ModelInfo(
            requested=requested,
            name=name,
            provider=text_at(family, "provider") or None,
            family=text_at(family, "family"),
            encoding=text_at(family, "encoding"),
            context_window=_limit(limits, "context_window"),
            max_output_tokens=_limit(limits, "max_output_tokens"),
            known=known is not None,
            target=target,
            warnings=_warnings(name, like, family, known=known is not None),
            max_input_tokens=_limit(limits, "max_input_tokens"),
            served=served_as(target),
        )

    def _renamed(self, name: str) -> str:
        return text_at(self.aliases, name) if name in self.aliases else name

    def _known(self, name: str) -> str | None:
        """The catalog's entry for a name: itself, or itself without its release date or variant."""
        name = name.removeprefix(_FINE_TUNED)
        while name not in self.models:
            shorter = _RELEASE.sub("", name)
            if shorter == name:
                return None
            name = self._renamed(shorter)
        return name

    def _nearest(self, name: str) -> str:
        close = get_close_matches(name, self.models, n=1, cutoff=_NEAREST_CUTOFF)
        return close[0] if close else ""

    def _prefix(self, name: str) -> str | None:
        name = name.removeprefix(_FINE_TUNED)
        return next((prefix for prefix in self._prefixes if name.startswith(prefix)), None)


def served_as(name: str) -> str:
    """How a model's name, in any spelling, says that it is served: see :attr:`ModelInfo.served`."""
    lower = name.strip().lower()
    if _CLAUDE_FAST.search(lower):
        return "fast"
    found = _SERVED.match(lower)
    return found[1] if found else ""


_UNKNOWN_FAMILY: JsonObject = {"family": "unknown", "provider": "", "encoding": "o200k_base"}


def _checked(model: str) -> str:
    name = model.strip().lower()
    if not name:
        raise InvalidInput("model", "it is empty; give a model's or an encoding's name.")
    if len(model) > MAX_NAME_CHARACTERS:
        raise InvalidInput("model", f"it has {len(model)} characters; a name has at most {MAX_NAME_CHARACTERS}.")
    if _CONTROL.search(name):
        raise InvalidInput("model", f"{shown(model)} holds control characters; give a plain name.")
    return name


def _bare(name: str) -> str:
    """Without routers' paths, clouds' places and versions, and variants after a colon or an at-sign."""
    name = _MAKER.sub("", name.rstrip("/").rsplit("/", 1)[-1])
    if name.startswith(_FINE_TUNED):
        return _FINE_TUNED + name.removeprefix(_FINE_TUNED).split(":", 1)[0]
    place = _BEDROCK_PLACE.match(name)
    if place:
        name = _BEDROCK_VERSION.sub("", name[place.end() :])
    return _VARIANT.split(name, maxsplit=1)[0]


def _spelling_of_maker(name: str) -> str:
    if name.startswith("claude"):
        return _CLAUDE_RELEASE.sub("", _CLAUDE_VERSION.sub("-", name))
    if name.startswith("gpt-35"):
        return name.replace("gpt-35", "gpt-3.5", 1)
    llama = _LLAMA_VERSION.match(name)
    if llama:
        version = llama[1] if llama[2] is None else f"{llama[1]}.{llama[2]}"
        return f"llama-{version}{name[llama.end() :]}"
    return name


def _limit(limits: JsonObject, key: str) -> int | None:
    value = limits.get(key)
    if value is None or isinstance(value, int):
        return value
    raise CorruptData("models.json")


def _warnings(name: str, like: str, family: JsonObject, *, known: bool) -> tuple[str, ...]:
    encoding = text_at(family, "encoding")
    if not known:
        basis = f"like {shown(like)}, the nearest known name," if like not in (name, "") else "by its family:"
        group = text_at(family, "family")
        return (f"The model {shown(name)} is not known; it is counted {basis} {group}, {encoding}, with wide bounds.",)
    if family.get("assumed") is True:
        return (f"The tokenizer of {shown(name)} is not published; {encoding} is assumed.",)
    return ()
