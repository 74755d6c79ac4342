"""Secrets that stand in files, as Docker, Kubernetes and systemd hand them over: ``NAME_FILE`` instead of ``NAME``."""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from tokenward.engine.errors import ConfigurationError

MAX_BYTES = 65_536


def secret(name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The value of a variable, else what its file holds, without the line's end; empty if there is neither.

    The file is read anew each time, so that a secret can be changed without a new start.

    Raises:
        ConfigurationError: ``NAME_FILE`` names a file that cannot be read.
    """
    given, file = environment.get(name, ""), environment.get(f"{name}_FILE", "")
    if given or not file:
        return given
    try:
        with Path(file).open("rb") as opened:
            content = opened.read(MAX_BYTES + 1)
        text = content.decode().rstrip("\r\n")
    except (OSError, ValueError):
        content, text = b"", ""
    if not text or len(content) > MAX_BYTES:
        raise ConfigurationError(f"{name}_FILE names a file that cannot be read as a text, or is empty.")
    return text


class SecretEnvironment(Mapping[str, str]):
    """The environment, with the secrets that it names files of. A file that cannot be read is as none."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        self._environment = environment

    def __getitem__(self, name: str) -> str:
        try:
            found = secret(name, self._environment)
        except ConfigurationError:
            raise KeyError(name) from None
        return found or self._environment[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._environment)

    def __len__(self) -> int:
        return len(self._environment)


ENVIRONMENT = SecretEnvironment()
"""This process's environment."""
