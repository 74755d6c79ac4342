"""What ``tokenward doctor`` says about the settings: each in plain words, where it comes from, and what is unwise."""

import os
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from pathlib import Path
from typing import TYPE_CHECKING

from tokenward.engine.types import JsonObject, JsonValue
from tokenward.server.commands.doctor import Finding

if TYPE_CHECKING:
    from pydantic import BaseModel

    from tokenward.server.auth.settings import AuthSettings, TokenSetting
    from tokenward.server.commands.session import Session
    from tokenward.server.settings import Settings

_SUBJECTS = {"store": "store URL", "prices": "own prices"}
"""Settings that would be called as something else that is examined."""


def settings_in_force(session: "Session") -> Iterator[Finding]:
    """Every setting and where it comes from. No password, hash or secret is told."""
    from tokenward.server.settings import config_file  # noqa: PLC0415 - heavy

    settings = session.settings()
    file = config_file(session.config)
    in_file = tomllib.loads(file.read_text("utf-8")) if file else {}
    yield Finding("settings file", "ok", str(file) if file else "none")
    for name in type(settings).model_fields:
        said = _said(settings, name)
        detail = f"{said} ({_source(session, name, in_file)})" if said else "default"
        yield Finding(_SUBJECTS.get(name, name), "ok", detail)
    yield from _missing_roots(settings.roots)
    yield from _alerts(settings)
    yield from _known_tokens(settings.auth.tokens)


def _source(session: "Session", name: str, in_file: Mapping[str, object]) -> str:
    variable = f"TOKENWARD_{name.upper()}"
    if name in ("store", "user", "log_level") and getattr(session, name) is not None:
        return "option"
    given = sorted(one for one, value in os.environ.items() if value and re.fullmatch(rf"{variable}(__.+)?", one))
    if given:
        return ", ".join(given)
    return "file" if name in in_file else "default"


def _said(settings: "Settings", name: str) -> str:
    """A setting's value; empty for a table in which nothing differs from the default."""
    from tokenward.server.settings import masked  # noqa: PLC0415 - heavy

    match name:
        case "store":
            return masked(settings.store)
        case "auth":
            return _auth(settings.auth)
        case "limits" | "alerts" | "tokenizers":
            listed: Sized = getattr(settings, name)
            return f"{len(listed)} set" if listed else "none"
        case "roots":
            return os.pathsep.join(str(one) for one in settings.roots) or "none"
        case "http" | "telemetry":
            table: BaseModel = getattr(settings, name)
            differing: JsonObject = table.model_dump(mode="json", exclude_defaults=True)
            return ", ".join(f"{key} {_words(value)}" for key, value in differing.items())
        case _:
            dumped: JsonObject = settings.model_dump(mode="json", include={name})
            return _words(dumped[name])


def _words(value: JsonValue) -> str:
    """A value as people write it; of what one word cannot say, the name only."""
    match value:
        case bool():
            return "on" if value else "off"
        case float():
            return f"{value:g}"
        case dict():
            entries = (key if isinstance(one, dict | list) else f"{key} = {one}" for key, one in value.items())
            return ", ".join(entries) or "none"
        case list():
            return ", ".join(_words(one) for one in value) or "none"
        case _:
            return str(value) or "none"


def _auth(auth: "AuthSettings") -> str:
    """Who may come in over HTTP. Of tokens only their number: the hashes are nobody's business."""
    said: list[str] = []
    if auth.tokens:
        said.append("1 token" if len(auth.tokens) == 1 else f"{len(auth.tokens)} tokens")
    if auth.jwt is not None:
        said.append(f"JWT from {auth.jwt.issuer}")
    if auth.requests_per_minute != type(auth).model_fields["requests_per_minute"].default:
        most = f"{auth.requests_per_minute:,}" if auth.requests_per_minute else "any number of"
        said.append(f"{most} requests a minute each")
    return ", ".join(said) or "none"


def _known_tokens(tokens: Iterable["TokenSetting"]) -> Iterator[Finding]:
    """Tokens that everybody can read in the documentation; ``serve`` warns of them too."""
    from tokenward.server.auth.tokens import EXAMPLES  # noqa: PLC0415 - only for this

    known = [f"{one.subject} ({', '.join(one.scopes)})" for one in tokens if one.hash in EXAMPLES]
    if known:
        detail = f"tokens of the documentation are accepted, which everybody knows: {', '.join(known)}; make your own "
        yield Finding("auth tokens", "note", f"{detail}with: tokenward token create NAME")


def _missing_roots(roots: Sequence[Path]) -> Iterator[Finding]:
    """Folders to count files in that are not there; without any of them no file can be counted."""
    missing = [one for one in roots if not os.path.isdir(one)]  # noqa: PTH112 - answers also where it may not look
    for one in missing:
        yield Finding("roots", "broken" if len(missing) == len(roots) else "note", f"there is no folder {one}")


def _alerts(settings: "Settings") -> Iterator[Finding]:
    """Whether alert hooks could work here; none is run."""
    for hook in settings.alert_hooks:
        problem = hook.problem()
        yield Finding(f"alert {hook.label}", "broken" if problem else "ok", problem or "usable; not run here")
