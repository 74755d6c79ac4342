"""The double of the providers' APIs, and nothing else to talk to."""

from collections.abc import Iterator

import pytest

from tests.providers.double import KEYS, VARIABLES, ProviderDouble


@pytest.fixture
def double() -> Iterator[ProviderDouble]:
    with ProviderDouble().running() as double:
        yield double


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the double's keys, and no proxy, are in the environment."""
    for name in (*VARIABLES.values(), "GOOGLE_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for provider, variable in VARIABLES.items():
        monkeypatch.setenv(variable, KEYS[provider])
