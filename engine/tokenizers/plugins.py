"""Plug-ins: families that other packages add, by an entry point of the group ``tokenward.tokenizers``.

An entry point names a ``MakeTokenizer``: a function from a model and the options to a tokenizer, or ``None`` for a
model that it does not serve. It is other people's code, so nothing of it is taken for granted: it is looked for at the
first count, everything it gives is checked, and at its first failure it is not asked again.
"""

import threading
from collections.abc import Iterable
from functools import cache
from importlib.metadata import EntryPoint
from typing import get_args

from tokenward.engine.catalog import ModelInfo
from tokenward.engine.entry_points import installed_entries
from tokenward.engine.tokenizers.base import MakeTokenizer, Method, Tokenizer, TokenizerOptions
from tokenward.engine.tokenizers.guarded import BrokenContract, Source, checked_count, failure

GROUP = "tokenward.tokenizers"

PROBES = ("", "tokenward", "Two words.\n\n\tAnd more: 1234.", "na\u00efve \u6f22\u5b57 \U0001f600", "\ud800", "\x00")
"""Texts that every tokenizer must be able to count: the empty one, plain ones, a lone surrogate, NUL."""

MAX_NAME_CHARACTERS = 100

# `cache` alone lets two threads find the same plug-in twice, and each would have to fail on its own.
_LOOKING = threading.Lock()


class Plugin(Source):
    """One installed plug-in.

    Attributes:
        name: The entry point's name.
        distribution: The package that brought it, with its version.
    """

    def __init__(self, entry: EntryPoint, distribution: str) -> None:
        super().__init__(f"The tokenizer plug-in {entry.name[:MAX_NAME_CHARACTERS]!r} of {distribution}")
        self.name = entry.name
        self.distribution = distribution
        self._entry = entry

    def tokenizer(self, info: ModelInfo, options: TokenizerOptions) -> Tokenizer | None:
        """The plug-in's tokenizer of a model; ``None`` where it has none or is broken."""
        if self.problem is not None:
            return None
        doing = "when it was imported"
        try:
            make: MakeTokenizer = self._entry.load()
            doing = "when it was asked for a tokenizer"
            made = make(info, options)
            return None if made is None else _Adopted(self.name, made)
        except BrokenContract as broken:
            self.fail(str(broken))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the next way counts
            self.fail(failure(error, doing))
        return None

    def note(self, info: ModelInfo) -> str | None:
        """Nothing: whether a broken plug-in would have served the model is not known."""
        del info
        return None

    def examine(self, infos: Iterable[ModelInfo], options: TokenizerOptions) -> int:
        """How many of the models it serves. Each of its tokenizers counts the probes; ``problem`` says what failed."""
        served = 0
        examined: set[tuple[str, str]] = set()
        for info in infos:
            tokenizer = self.tokenizer(info, options)
            if tokenizer is None:
                continue
            served += 1
            kind = (tokenizer.method, tokenizer.encoding)
            if kind not in examined:
                examined.add(kind)
                self._probe(tokenizer)
        return served

    def _probe(self, tokenizer: Tokenizer) -> None:
        try:
            for text in PROBES:
                tokens, *_ = checked_count(tokenizer, text)
                if tokens and not text:
                    self.fail("gave tokens for the empty text")
        except BrokenContract as broken:
            self.fail(str(broken))
        except BaseException as error:  # noqa: BLE001 - whatever it is, the examination goes on
            self.fail(failure(error))


def installed_plugins() -> tuple[Plugin, ...]:
    """The plug-ins of this environment, by name. Looked for once; nothing of them is imported yet."""
    with _LOOKING:
        return found_plugins()


@cache
def found_plugins() -> tuple[Plugin, ...]:
    """See :func:`installed_plugins`, which lets one thread at a time look."""
    return tuple(Plugin(entry, named) for entry, named in installed_entries(GROUP))


class _Adopted:
    """A plug-in's tokenizer, with what it says of itself read once and checked."""

    warnings: tuple[str, ...] = ()

    def __init__(self, name: str, tokenizer: Tokenizer) -> None:
        missing = [one for one in _MEMBERS if not hasattr(tokenizer, one)]
        if missing:
            raise BrokenContract(f"gave a tokenizer without {', '.join(missing)}")
        self.method: Method = _method(tokenizer.method)
        self.exact = _boolean(tokenizer.exact)
        # Whose vocabulary it is: counts of others' vocabularies of the same name are never taken for these.
        self.encoding = f"{name}:{_name(tokenizer.encoding)}"
        self.count = tokenizer.count
        self.bounds = tokenizer.bounds


_MEMBERS = ("method", "exact", "encoding", "count", "bounds")
_METHODS: tuple[Method, ...] = get_args(Method)


def _method(value: object) -> Method:
    for method in _METHODS:
        if value == method:
            return method
    raise BrokenContract(f"gave a tokenizer whose 'method' is none of {', '.join(_METHODS)}")


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise BrokenContract("gave a tokenizer whose 'exact' is neither true nor false")
    return value


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or not 0 < len(value) <= MAX_NAME_CHARACTERS:
        raise BrokenContract(f"gave a tokenizer whose 'encoding' is no name of 1 to {MAX_NAME_CHARACTERS} characters")
    return value
