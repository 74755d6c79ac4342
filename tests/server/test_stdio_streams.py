"""Standard input and output that the server cannot use, and a hang-up that it was started to outlive."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.test_stdio import ENVIRONMENT, HANDSHAKE, ODD, call, started
from tests.server.test_stdio_end import answer, send
from tests.waiting import NET_SECONDS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a shell of Unix")


@pytest.mark.parametrize(
    ("redirected", "problem"),
    [
        ("<&-", "Standard input is closed or cannot be read."),
        ("0>nowhere", "Standard input is closed or cannot be read."),
        ("<said >&-", "The output cannot be written (standard output is closed)."),
        ("<said 1<said", "Standard output is closed or cannot be written."),
        pytest.param(
            "<said >/dev/full",
            "Standard output cannot be written (No space left on device).",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="a device of Linux"),
        ),
    ],
)
def test_streams_that_cannot_be_used_are_named(redirected: str, problem: str, tmp_path: Path) -> None:
    (tmp_path / "said").write_bytes(HANDSHAKE)
    command = [sys.executable, "-W", "error", "-m", "tokenward", "--store", "memory://", "serve"]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {redirected}', "sh", *command],
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        cwd=tmp_path,
        check=False,
        timeout=NET_SECONDS,
    )
    assert (done.returncode, done.stderr.decode()) == (1, f"Error: {problem}\n")


def test_a_hang_up_that_was_to_be_ignored_is() -> None:
    with started(("sh", "-c", 'trap "" HUP; exec "$@"', "sh", *ODD)) as process:
        send(process, HANDSHAKE)
        assert answer(process)["id"] == 0
        process.send_signal(signal.SIGHUP)
        output, _ = process.communicate(call(1, "echo", text="hi"), timeout=NET_SECONDS)
    assert [json.loads(one)["id"] for one in output.splitlines()] == [1]
    assert process.returncode == 0


def test_a_terminal_that_is_closed_is_a_good_end() -> None:
    import pty  # not on Windows

    here, there = pty.openpty()
    command = [sys.executable, "-W", "error", "-m", "tokenward", "--store", "memory://", "serve"]
    with subprocess.Popen(
        command, stdin=there, stdout=there, stderr=subprocess.PIPE, env=ENVIRONMENT, start_new_session=True
    ) as process:
        try:
            os.close(there)
            os.write(here, HANDSHAKE)
            said = b""
            while b'"result"' not in said:
                said += os.read(here, 1_000)
            os.close(here)
            _, errors = process.communicate(timeout=NET_SECONDS)
        finally:
            process.kill()
    assert (process.returncode, errors) == (0, b"")
