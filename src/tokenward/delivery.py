"""Telling a hook of an alert: bounded in time; nothing that it answers is read."""

import json
import os
import signal
import subprocess
from contextlib import suppress
from shutil import which
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from tokenward.engine.alerting import alert_variables
from tokenward.engine.types import JsonObject
from tokenward.hooks import AlertHook
from tokenward.providers.http import new_http
from tokenward.secret_files import ENVIRONMENT

if TYPE_CHECKING:
    from anyio.abc import Process

_KILLED_SECONDS: Final = 2.0


class HookError(Exception):
    """A hook did not do its work; the text says why, and nothing that could be a secret."""


async def deliver(hook: AlertHook, told: JsonObject) -> None:
    """Run or post a hook, and wait for it.

    Args:
        hook: What to do.
        told: The alert.

    Raises:
        HookError: It cannot be started or reached, failed, or took too long. It is over then.
    """
    body = json.dumps(told, separators=(",", ":")).encode()
    with anyio.move_on_after(hook.timeout_seconds):
        await (_run(hook, told, body) if hook.command else _post(hook, body))
        return
    raise HookError(f"took longer than {hook.timeout_seconds:g} s")


# Commands -----------------------------------------------------------------------------------------------------------


async def _run(hook: AlertHook, told: JsonObject, body: bytes) -> None:
    program = which(hook.command[0])
    if program is None:
        raise HookError("there is no such program")
    try:
        process = await anyio.open_process(
            [program, *hook.command[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **alert_variables(told)},
            # A group of its own, so that its children can be ended with it.
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise HookError(f"cannot be started ({error.strerror or 'error'})") from None
    try:
        await _say(process, body)
        code = await process.wait()
    except BaseException:
        _kill(process)
        with anyio.move_on_after(_KILLED_SECONDS, shield=True):
            await process.wait()
        raise
    finally:
        if process.stdin is not None:
            with anyio.CancelScope(shield=True), suppress(OSError, anyio.BrokenResourceError):
                await process.stdin.aclose()
    if code:
        raise HookError(f"ended with {code}")


async def _say(process: "Process", body: bytes) -> None:
    """The alert on its standard input; a command that does not read it is welcome."""
    if process.stdin is None:
        return
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.send(body + b"\n")
    with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
        await process.stdin.aclose()


def _kill(process: "Process") -> None:
    """End a command and its children."""
    if os.name == "posix":
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
    elif process.returncode is None:
        process.kill()


# HTTP ---------------------------------------------------------------------------------------------------------------


async def _post(hook: AlertHook, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    if hook.secret_variable:
        secret = ENVIRONMENT.get(hook.secret_variable)
        if not secret:
            raise HookError(f"{hook.secret_variable} is not set")
        if not (secret.isascii() and secret.isprintable()):
            raise HookError(f"{hook.secret_variable} cannot be sent in a header")
        headers[hook.header] = secret
    import httpx2  # noqa: PLC0415 - heavy

    try:
        # Certificates are read, which takes longer than others should wait.
        http = await anyio.to_thread.run_sync(new_http)
    except Exception as error:  # noqa: BLE001 - a proxy or certificates that the environment names wrongly
        problem = f"the environment's proxy or certificates cannot be used ({type(error).__name__})"
        raise HookError(problem) from None
    try:
        async with http, http.stream("POST", hook.url, content=body, headers=headers) as response:
            status = response.status_code
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError):
        raise HookError("cannot be reached") from None
    if not 200 <= status < 300:
        raise HookError(f"answered HTTP {status}")
