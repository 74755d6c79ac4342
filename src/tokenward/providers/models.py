"""Whose counting API counts a model: where a name leaves any doubt, nobody's, for the text would leave the machine.

A text is sent only for a name that its maker's own API has. Three things have to be so:

- In front of the name stands nothing, or what means that very API (``openai/``, ``anthropic/``, ``gemini/``,
  ``models/``, ``google/``). Any other way in front (``azure/``, ``openrouter/openai/``, ``ollama/``), the places of
  Bedrock (``us.anthropic.``), versions and variants after ``@`` or ``:``, Azure's ``gpt-35`` and configured aliases
  mean that the model runs elsewhere.
- The catalog has the model, under this name or under one that differs in its numbers or its release date alone:
  ``claude-opus-4-7-20260101`` and ``gpt-7`` are plain, ``gpt-neo-2.7b`` and ``o1-open`` are not.
- Its weights are not open, since those run anywhere under the same name. Gemma is sent only as ``gemini/gemma-…``.

Fine-tuned models of OpenAI (``ft:gpt-4o-…``) run with OpenAI.
"""

import re
from functools import cache
from typing import Final

from tokenward.engine.catalog import Catalog, ModelInfo
from tokenward.engine.errors import InvalidInput
from tokenward.engine.tokenizers.encodings import ENCODING_NAMES
from tokenward.providers.endpoints import ENDPOINTS, Endpoint, NotCounted

_FINE_TUNED: Final = re.compile(r"ft:[\w.:-]+", re.ASCII)
_PLAIN: Final = re.compile(r"(?!gpt-35)[a-z](?:[a-z0-9-]|\.(?=\d))*")
_OPEN_WEIGHTS: Final = re.compile(r"gpt-?[12](?!\d)|gpt-oss|gemma")
_OPEN_WEIGHTS_FRONT: Final = "gemini/"
_RELEASE: Final = re.compile(
    r"-(?:\d{4}-\d{2}-\d{2}|\d{8}|\d{2}-\d{4}|\d{2}-\d{2}|\d{4}|\d{3}|latest|preview|exp)$", re.ASCII
)
_SENT_RELEASE: Final = re.compile(r"-20\d{6}|-latest", re.ASCII)
_NUMBER: Final = re.compile(r"\d+", re.ASCII)


def provider_model(info: ModelInfo) -> tuple[Endpoint, str]:
    """The API that counts for a model, and the model's name there.

    Raises:
        NotCounted: The name is not plainly one of a provider's own API.
    """
    endpoint = next((one for one in ENDPOINTS if one.maker == info.provider), None)
    if endpoint is None or info.name in ENCODING_NAMES or not _is_version_of_known(info.name):
        raise NotCounted("no provider's counting API has this model")
    asked = info.requested.strip()
    front = next((one for one in endpoint.fronts if asked.lower().startswith(one)), "")
    bare = asked[len(front) :]
    if not _is_own_name(bare, info):
        raise NotCounted(f"the model's name is not one of {endpoint.label}'s own API, so it may run elsewhere")
    if _OPEN_WEIGHTS.match(info.name.removeprefix("ft:")) and front != _OPEN_WEIGHTS_FRONT:
        raise NotCounted("the model's weights are open, so it may run elsewhere")
    return endpoint, _name(bare, info)


def _is_own_name(bare: str, info: ModelInfo) -> bool:
    """Whether a name without its front is the model's own, and not an alias's, a host's or a variant's."""
    if not (_PLAIN.fullmatch(bare.lower()) or _FINE_TUNED.fullmatch(bare)):
        return False
    try:
        return _catalog().resolve(bare).name == info.name
    except InvalidInput:
        return False


def _name(bare: str, info: ModelInfo) -> str:
    """The name as the maker writes it, with the release date or the owner that was asked for."""
    if _FINE_TUNED.fullmatch(bare):
        return bare
    lower = bare.lower()
    if lower.startswith(info.name) and _SENT_RELEASE.fullmatch(lower, len(info.name)):
        return lower
    return info.name


def _is_version_of_known(name: str) -> bool:
    shorter = name.removeprefix("ft:")
    while _without_numbers(shorter) not in _known_without_numbers():
        name, shorter = shorter, _RELEASE.sub("", shorter)
        if name == shorter:
            return False
    return True


def _without_numbers(name: str) -> str:
    return _NUMBER.sub("#", name)


@cache
def _catalog() -> Catalog:
    """The catalog without anyone's own aliases."""
    return Catalog()


@cache
def _known_without_numbers() -> frozenset[str]:
    return frozenset(_without_numbers(info.name) for info in _catalog().models())
