"""The three counting APIs: where they are, how a key is sent, what an answer looks like."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias
from urllib.parse import quote

from tokenward.engine.messages.view import Format
from tokenward.engine.types import JsonValue
from tokenward.engine.usage import MAX_TOKENS
from tokenward.providers.urls import ProviderName

Timer: TypeAlias = Callable[[], float]

_KEY: Final = re.compile(r"[!-~]+")


class NotCounted(Exception):  # noqa: N818 - never seen outside
    """The provider did not count. Says why in our words: a library's and a server's can quote texts and keys."""


class RequestRefused(NotCounted):
    """It is this request, or its model, that the provider does not count."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One provider's counting API. It never holds a key.

    Attributes:
        name: Its name in the settings.
        label: Its name in sentences.
        maker: The provider's name in the catalog of models.
        fronts: What may stand in front of a model's name and means this very API.
        format: The format of messages that it takes.
        base_url: Where it is, without a slash at the end.
        path: What follows, with a place for the model's name.
        key_variables: The environment variables of its key; the first that is set holds it.
        key_header: The header that carries the key.
        key_prefix: What stands before the key there.
        headers: Further headers.
        wrong_key: What the body of an answer of status 400 holds if it is the key that is wrong.
        answer: The field of the answer that holds the count.
    """

    name: ProviderName
    label: str
    maker: str
    fronts: tuple[str, ...]
    format: Format
    base_url: str
    path: str
    key_variables: tuple[str, ...]
    key_header: str
    answer: str
    key_prefix: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    wrong_key: bytes = b""

    def url(self, model: str, bases: Mapping[ProviderName, str]) -> str:
        """The address for a model, at the provider's own base URL or the one that is set for it."""
        return bases.get(self.name, self.base_url).rstrip("/") + self.path.format(model=quote(model, safe=""))

    def key(self, environment: Mapping[str, str]) -> str:
        """The key. Raises NotCounted."""
        variable = self.key_variable(environment)
        if variable is None:
            raise NotCounted(f"there is no key for {self.label}; set {' or '.join(self.key_variables)}")
        key = environment[variable].strip()
        if not _KEY.fullmatch(key):
            raise NotCounted(f"{variable} holds characters that no key has")
        return key

    def key_variable(self, environment: Mapping[str, str]) -> str | None:
        """The environment variable that holds the key, if any does."""
        return next((name for name in self.key_variables if environment.get(name, "").strip()), None)

    def read_answer(self, content: bytes) -> int:
        """The tokens that an answer's body says. Raises NotCounted."""
        try:
            answer: JsonValue = json.loads(content)
        except (ValueError, RecursionError):
            answer = None
        tokens = answer.get(self.answer) if isinstance(answer, dict) else None
        if isinstance(tokens, int) and tokens is not True and 1 <= tokens <= MAX_TOKENS:
            return tokens
        raise NotCounted(f"{self.label}'s answer holds no count")


ENDPOINTS: Final = (
    Endpoint(
        name="anthropic",
        label="Anthropic",
        maker="anthropic",
        fronts=("anthropic/", "anthropic:"),
        format="anthropic",
        base_url="https://api.anthropic.com",
        path="/v1/messages/count_tokens",
        key_variables=("ANTHROPIC_API_KEY",),
        key_header="x-api-key",
        headers=(("anthropic-version", "2023-06-01"),),
        answer="input_tokens",
    ),
    Endpoint(
        name="gemini",
        label="Gemini",
        maker="google",
        fronts=("gemini/", "models/", "google/", "google:", "google-gla:"),
        format="gemini",
        base_url="https://generativelanguage.googleapis.com",
        path="/v1beta/models/{model}:countTokens",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        key_header="x-goog-api-key",
        answer="totalTokens",
        wrong_key=b"API_KEY_INVALID",
    ),
    Endpoint(
        name="openai",
        label="OpenAI",
        maker="openai",
        fronts=("openai/", "openai:"),
        format="openai_responses",
        base_url="https://api.openai.com",
        path="/v1/responses/input_tokens",
        key_variables=("OPENAI_API_KEY",),
        key_header="authorization",
        key_prefix="Bearer ",
        answer="input_tokens",
    ),
)
