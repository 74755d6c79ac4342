"""The image as far as it can be had without Docker: its command and its health check run for real."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from tests.deploy.serving import AUTH_EXAMPLE, call, example_token
from tests.packaging.conftest import Ask
from tests.packaging.container import Container, build_image
from tests.packaging.dockerfile import image
from tests.postgres import free_port
from tests.waiting import NET_SECONDS, wait_until
from tokenward.engine.types import JsonObject

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

# run(port): the container's default command as a process
Run = Callable[[int], "subprocess.Popen[str]"]


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory) -> Container:
    return build_image(tmp_path_factory.mktemp("base"), tmp_path_factory.mktemp("image"))


@pytest.fixture
def run(container: Container) -> Iterator[Run]:
    started: list[subprocess.Popen[str]] = []

    def runs(port: int) -> "subprocess.Popen[str]":
        words = container.command(image().last("CMD").words, port)
        process = subprocess.Popen(
            words, cwd=container.root / "data", env=container.environment, stderr=subprocess.PIPE, text=True
        )
        started.append(process)
        return process

    yield runs
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def configured(container: Container) -> Iterator[None]:
    """The example of an authenticated server as the container's settings file."""
    file = container.root / "etc/tokenward/config.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(AUTH_EXAMPLE.read_text("utf-8"), "utf-8")
    yield
    file.unlink()


def test_nobody_gets_in_before_somebody_says_who(run: Run, container: Container) -> None:
    process = run(free_port())
    _, said = process.communicate(timeout=NET_SECONDS)
    assert process.returncode != 0
    assert "--insecure" in said
    assert not list((container.root / "data").iterdir())


@pytest.mark.usefixtures("configured")
def test_it_serves_those_it_knows_is_healthy_and_ends_in_good_order(run: Run, container: Container) -> None:
    port = free_port()
    before = files_outside_data(container)
    assert container.health(port) != 0
    process = run(port)
    wait_until(lambda: process.poll() is not None or container.health(port) == 0)
    endpoint = f"http://127.0.0.1:{port}/mcp"
    with httpx2.Client(trust_env=False, timeout=NET_SECONDS) as client:
        assert client.post(endpoint, json={}).status_code == 401
        client.headers["Authorization"] = f"Bearer {example_token()}"
        used: JsonObject = {"model": "gpt-4o", "input_tokens": 5, "output_tokens": 2}
        assert call(client, endpoint, "record_usage", used)["user"] == "alice"
    process.send_signal(getattr(signal, image().last("STOPSIGNAL").text))
    assert process.wait(NET_SECONDS) == 0
    assert container.health(port) != 0
    assert (container.root / "data/tokenward/ledger.db").stat().st_size > 0
    assert files_outside_data(container) == before


def files_outside_data(container: Container) -> set[Path]:
    """What an image's layers hold, and a container never changes."""
    return {path for path in container.root.rglob("*") if container.root / "data" not in path.parents}


def test_it_speaks_on_standard_input_too(ask: Ask, container: Container) -> None:
    counted: JsonObject = {"name": "count_tokens", "arguments": {"text": "hello world", "model": "gpt-4o"}}
    result = ask(container.command(["serve"], 0), container.environment, "tools/call", counted)
    assert isinstance(result["structuredContent"], dict)
    assert result["structuredContent"]["tokens"] == 2


def test_it_holds_nothing_that_is_not_needed(container: Container) -> None:
    installed = {path.name for path in container.root.glob("opt/tokenward/lib/python3.*/site-packages/*")}
    assert "tokenward" in installed
    assert "pip" not in installed
    if sys.version_info >= (3, 12):  # as in the image; before, every new environment has it
        assert "setuptools" not in installed
