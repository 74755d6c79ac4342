"""The example for nginx agrees with what the servers do by themselves, and with its own advice."""

import re

import pytest

from tests.deploy.nginx import EXAMPLE, MAIN, REQUIRE, SKIP, program
from tests.packaging.project import ROOT
from tokenward.server.http.settings import HttpSettings

SERVE = ROOT / "server" / "http" / "serve.py"
SIZES = {"": 1, "k": 2**10, "m": 2**20}


def directives(name: str) -> list[str]:
    """The values of every directive of a name."""
    return re.findall(rf"^\s*{name}\s+([^;]+);", EXAMPLE.read_text("utf-8"), re.MULTILINE)


def test_a_request_that_may_have_arrived_is_sent_to_nobody_else() -> None:
    assert directives("proxy_next_upstream") == ["error timeout"]


def test_bodies_and_times_are_those_of_the_servers() -> None:
    fields = HttpSettings.model_fields
    (size,) = directives("client_max_body_size")
    assert int(size[:-1]) * SIZES[size[-1]] == fields["max_body_bytes"].default
    (seconds,) = directives("proxy_read_timeout")
    assert int(seconds.removesuffix("s")) > fields["request_timeout_seconds"].default


def test_nginx_ends_idle_connections_first() -> None:
    (seconds,) = directives("keepalive_timeout")
    served = re.search(r"^_KEEP_ALIVE_SECONDS = (\d+)$", SERVE.read_text("utf-8"), re.MULTILINE)
    assert served is not None
    assert int(seconds.removesuffix("s")) < int(served[1])
    assert f"({served[1]} s)" in EXAMPLE.read_text("utf-8")


def test_the_ports_are_the_default() -> None:
    port = HttpSettings.model_fields["port"].default
    assert re.findall(r"^ +server \S+:(\d+)", EXAMPLE.read_text("utf-8"), re.MULTILINE) == [str(port)] * 2


def test_metrics_are_not_for_the_outside() -> None:
    places = re.findall(r"^\s*location (?:= )?(\S+) \{", EXAMPLE.read_text("utf-8"), re.MULTILINE)
    assert places == ["/mcp", "/admin/", "/.well-known/", "/readyz", "/"]


def test_a_missing_nginx_is_never_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.deploy.nginx.find_program", lambda: None)
    monkeypatch.delenv(REQUIRE, raising=False)
    with pytest.raises(pytest.skip.Exception, match=SKIP):
        program()
    monkeypatch.setenv(REQUIRE, "1")
    with pytest.raises(pytest.fail.Exception, match=REQUIRE):
        program()


def test_nothing_of_the_system_s_own_nginx_is_used() -> None:
    assert "/etc" not in MAIN
    assert "/var" not in MAIN
