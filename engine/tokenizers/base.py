"""What a tokenizer is: the small protocol that every family, and every plug-in, implements."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from tokenward.engine.catalog import ModelInfo

Method: TypeAlias = Literal[
    "tiktoken", "ctok", "mistral-common", "huggingface", "provider_api", "pg_tiktoken", "estimate"
]


class TokenizationModel(StrEnum):
    """The seven encodings that OpenAI has published."""

    GPT2 = "gpt2"
    R50K_BASE = "r50k_base"
    P50K_BASE = "p50k_base"
    P50K_EDIT = "p50k_edit"
    CL100K_BASE = "cl100k_base"
    O200K_BASE = "o200k_base"
    O200K_HARMONY = "o200k_harmony"


class Tokenizer(Protocol):
    """Counts texts of one family of models. Called from several threads at once."""

    @property
    def method(self) -> Method:
        """How it counts."""
        ...

    @property
    def exact(self) -> bool:
        """Whether its counts are the true ones."""
        ...

    @property
    def encoding(self) -> str:
        """The name of its vocabulary, or of the one that an estimate is based on."""
        ...

    def count(self, text: str) -> int:
        """The tokens of a text, without any message overhead. Never raises on a string; the empty one has none."""
        ...

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """The lowest and the highest true count to expect for a text that ``count`` gave ``tokens`` for."""
        ...


class ExactTokenizer:
    """What all tokenizers have in common whose counts are the true ones."""

    exact = True

    def bounds(self, text: str, tokens: int) -> tuple[int, int]:
        """The count itself, twice."""
        del text
        return tokens, tokens


@runtime_checkable
class ExplainedTokenizer(Tokenizer, Protocol):
    """A tokenizer that says itself what its counts rest on."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was assumed, in the place of the catalog's warnings about the model. Without a warning nothing was."""
        ...


def warnings_of(tokenizer: Tokenizer, info: "ModelInfo") -> tuple[str, ...]:
    """What a model's counts assume: as its tokenizer says, else as the catalog does."""
    return tokenizer.warnings if isinstance(tokenizer, ExplainedTokenizer) else info.warnings


@dataclass(frozen=True, slots=True)
class TokenizerOptions:
    """What the user has set about tokenizers.

    Attributes:
        files: Vocabulary files by the beginning of a model's bare name, or by a family's name.
        fast: Whether a faster core may count where it is installed and agrees with tiktoken.
        plugins: Whether installed plug-ins are looked for and asked.
    """

    files: Mapping[str, Path] = field(default_factory=dict[str, Path])
    fast: bool = True
    plugins: bool = True


MakeTokenizer: TypeAlias = "Callable[[ModelInfo, TokenizerOptions], Tokenizer | None]"
"""Makes the tokenizer of a model, or says with ``None`` that it is none of its own. What an entry point of the group
``tokenward.tokenizers`` names."""
