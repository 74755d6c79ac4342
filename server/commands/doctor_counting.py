"""What ``tokenward doctor`` says about counting: extras, cores, plug-ins, the user's files, the providers' APIs."""

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tokenward.server.commands.doctor import Finding

if TYPE_CHECKING:
    from tokenward.engine.catalog import ModelInfo
    from tokenward.server.settings import Settings

EXTRAS = (
    ("fast", "toktok-rs"),
    ("mistral", "mistral-common"),
    ("hf", "tokenizers"),
    ("sentencepiece", "sentencepiece"),
)
"""Extras of counting, and the library that each is there for."""

_CTOK_PYTHON = (3, 12)


def counting(settings: "Settings") -> Iterator[Finding]:
    """Everything that counts besides tiktoken, and whether it works."""
    yield from _extras()
    yield from _openai(settings)
    yield from _claude(settings)
    yield from _plugins(settings)
    yield from _strategies(settings)
    yield from _files(settings)
    yield from _providers(settings)


def _extras() -> Iterator[Finding]:
    from tokenward.engine.tokenizers.files import installed  # noqa: PLC0415 - heavy

    for extra, library in EXTRAS:
        version = installed(library)
        missing = f"not installed: pip install 'tokenward[{extra}]'"
        yield Finding(f"extra {extra}", "ok", f"{library} {version}" if version else missing)


def _openai(settings: "Settings") -> Iterator[Finding]:
    """Which core counts; a faster one that is there and not used is worth a note."""
    from tokenward.engine.tokenizers.files import installed  # noqa: PLC0415 - heavy
    from tokenward.engine.tokenizers.openai import TiktokenTokenizer  # noqa: PLC0415 - heavy

    core = TiktokenTokenizer("o200k_base", fast=settings.fast).core
    if core == "toktok":
        yield Finding("openai", "ok", "exact, counted by toktok, which agrees with tiktoken on the known texts")
    elif settings.fast and installed("toktok-rs"):
        yield Finding("openai", "note", "exact, counted by tiktoken: toktok is installed, and fails or disagrees")
    else:
        yield Finding("openai", "ok", "exact, counted by tiktoken")


def _claude(settings: "Settings") -> Iterator[Finding]:
    """Whether ctok counts, found out by counting a text for both generations."""
    from tokenward.engine.counting.counter import TokenCounter  # noqa: PLC0415 - heavy
    from tokenward.engine.tokenizers.files import installed  # noqa: PLC0415 - heavy

    counter = TokenCounter(options=settings.tokenizer_options)
    methods = {counter.count_tokens("tokenward", name).method for name in ("claude-opus-4-6", "claude-opus-4-7")}
    version = installed("ctok")
    if version and "estimate" in methods:
        yield Finding("claude", "note", f"estimated: ctok {version} is installed, and fails")
    elif version:
        yield Finding("claude", "ok", f"counted by {' and '.join(sorted(methods))}; ctok {version}")
    elif sys.version_info < _CTOK_PYTHON:
        yield Finding("claude", "ok", "estimated; exact counts need Python 3.12 or later, for ctok")
    else:
        yield Finding("claude", "note", "estimated: ctok is not installed; reinstall tokenward")


def _plugins(settings: "Settings") -> Iterator[Finding]:
    """Each plug-in, asked for every known model and made to count."""
    from tokenward.engine.tokenizers.plugins import installed_plugins  # noqa: PLC0415 - heavy

    if not settings.plugins:
        yield Finding("plug-ins", "ok", "switched off by the setting plugins")
        return
    plugins = installed_plugins()
    if not plugins:
        yield Finding("plug-ins", "ok", "none")
    infos = _known_models(settings)
    for plugin in plugins:
        served = plugin.examine(infos, settings.tokenizer_options)
        detail = f"{plugin.distribution}: {plugin.problem or f'serves {served} of {len(infos)} known models'}"
        yield Finding(f"plug-in {plugin.name}", "broken" if plugin.problem else "ok", detail)


def _strategies(settings: "Settings") -> Iterator[Finding]:
    """Each truncation strategy of another package, made to shorten a history. Most have none: that is no finding."""
    from tokenward.engine.history.strategy_plugins import installed_strategies  # noqa: PLC0415 - heavy

    for strategy in installed_strategies() if settings.plugins else ():
        problem = strategy.examine()
        detail = f"{strategy.distribution}: {problem or 'shortens a history'}"
        yield Finding(f"strategy {strategy.name}", "broken" if problem else "ok", detail)


def _files(settings: "Settings") -> Iterator[Finding]:
    """Each vocabulary file of the settings, read and made to count."""
    from tokenward.engine.tokenizers.files import given_files  # noqa: PLC0415 - heavy

    infos = _known_models(settings) if settings.tokenizers else []
    for file in given_files(settings.tokenizer_options):
        found = file.examine()
        served = sum(file.serves(info) for info in infos)
        subject = f"tokenizers.{file.key}"
        if file.problem is not None:
            yield Finding(subject, "broken", f"{file.path} {file.problem}")
        else:
            yield Finding(subject, "ok" if served else "note", f"{found}, serves {served} of {len(infos)} known models")


def _providers(settings: "Settings") -> Iterator[Finding]:
    """Which keys the providers' counting APIs would be asked with, if they are asked at all."""
    if settings.backend != "provider_api":
        return
    from tokenward.providers.endpoints import ENDPOINTS  # noqa: PLC0415 - heavy
    from tokenward.secret_files import ENVIRONMENT  # noqa: PLC0415 - only for this

    for endpoint in ENDPOINTS:
        variable = endpoint.key_variable(ENVIRONMENT)
        if variable:
            yield Finding(f"api {endpoint.name}", "ok", f"key in {variable}")
        else:
            wanted = " or ".join(endpoint.key_variables)
            yield Finding(f"api {endpoint.name}", "note", f"no key, so nothing is asked: set {wanted}")


def _known_models(settings: "Settings") -> "list[ModelInfo]":
    """The catalog's models and the user's own names."""
    from tokenward.engine.catalog import Catalog  # noqa: PLC0415 - heavy

    catalog = Catalog(settings.aliases)
    return [*catalog.models(), *(catalog.resolve(alias) for alias in settings.aliases)]
