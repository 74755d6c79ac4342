"""Alert hooks as they are set: a command that is run, or an address that is posted to.

A hook is the owner's own. Addresses may hold secrets, so neither they nor arguments are logged or shown.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from shutil import which
from typing import Final

from tokenward.engine.errors import InvalidInput, shown
from tokenward.providers.urls import check_address
from tokenward.secret_files import ENVIRONMENT

DEFAULT_TIMEOUT_SECONDS: Final = 10.0
MAX_TIMEOUT_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertHook:
    """What is done on an alert: a command is run or an address is posted to.

    Attributes:
        command: A program and its arguments; no shell reads them.
        url: An https address, or one of http on this machine.
        header: The name of the header that a secret is sent in.
        secret_variable: The environment variable that holds this header's whole value, or with ``_FILE`` behind
            its name the file that does; empty sends none.
        timeout_seconds: How long the hook may take, above 0 and up to 60.

    Raises:
        InvalidInput: Not exactly one of command and url, or a value that cannot be used.
    """

    command: tuple[str, ...] = field(default=(), repr=False)
    url: str = field(default="", repr=False)
    header: str = "Authorization"
    secret_variable: str = ""
    timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS

    def __post_init__(self) -> None:
        if bool(self.command) == bool(self.url):
            raise InvalidInput("command", "give either a command or a url.")
        if self.command and (not self.command[0] or any("\0" in one for one in self.command)):
            raise InvalidInput("command", "expected a list of texts, the program's name first.")
        if self.url:
            check_address("url", self.url)
        if self.command and self.secret_variable:
            raise InvalidInput("secret_variable", "is sent to a url; a command reads its environment itself.")
        if not _is_header(self.header):
            raise InvalidInput("header", f"{shown(self.header)} is not a header's name.")
        if "\0" in self.secret_variable or "=" in self.secret_variable:
            raise InvalidInput("secret_variable", "expected the name of an environment variable.")
        if not 0 < self.timeout_seconds <= MAX_TIMEOUT_SECONDS:
            raise InvalidInput("timeout_seconds", f"expected a number above 0 and up to {MAX_TIMEOUT_SECONDS:g}.")

    @property
    def label(self) -> str:
        """For the log: the kind of hook, and of a command the program's name."""
        return f"command {shown(os.path.basename(self.command[0]))}" if self.command else "url"  # noqa: PTH119

    def problem(self, environment: Mapping[str, str] = ENVIRONMENT) -> str:
        """Why it cannot work here, found out without running it; empty if nothing is known against it."""
        if self.command and which(self.command[0]) is None:
            return f"there is no program {shown(self.command[0])}"
        if self.secret_variable and not environment.get(self.secret_variable):
            return f"{self.secret_variable} is not set"
        return ""


def _is_header(name: str) -> bool:
    return bool(name) and name.isascii() and all(one.isalnum() or one in "-_" for one in name)
