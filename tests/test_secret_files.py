"""Secrets in files: found, read anew, and said to be missing where nothing else would say it."""

import os
from pathlib import Path

import pytest

from tokenward.engine.errors import ConfigurationError
from tokenward.hooks import AlertHook
from tokenward.secret_files import MAX_BYTES, SecretEnvironment, secret
from tokenward.server.settings import load_settings


def test_a_file_stands_for_a_variable_and_is_read_each_time(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("one\n", "utf-8")
    environment = SecretEnvironment({"KEY_FILE": str(file), "OTHER": "x"})
    assert environment["KEY"] == "one"
    file.write_text("two", "utf-8")
    assert environment.get("KEY") == "two"
    assert (environment["OTHER"], environment.get("NONE")) == ("x", None)
    assert sorted(environment) == ["KEY_FILE", "OTHER"]
    assert len(environment) == 2


def test_the_variable_itself_comes_first(tmp_path: Path) -> None:
    environment = {"KEY": "given", "KEY_FILE": str(tmp_path / "none")}
    assert secret("KEY", environment) == "given"
    assert SecretEnvironment(environment)["KEY"] == "given"
    assert secret("NONE", environment) == ""


@pytest.mark.parametrize("content", [None, b"", b"\n", b"\xff", b"x" * (MAX_BYTES + 1)])
def test_a_file_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "key"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(
        ConfigurationError, match=r"^KEY_FILE names a file that cannot be read as a text, or is empty\.$"
    ):
        secret("KEY", {"KEY_FILE": str(file)})
    assert "KEY" not in SecretEnvironment({"KEY_FILE": str(file)})


def test_the_stores_url_with_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "store"
    file.write_text("postgresql://u:secret@h/db\n", "utf-8")
    monkeypatch.delenv("TOKENWARD_STORE", raising=False)
    monkeypatch.setenv("TOKENWARD_STORE_FILE", str(file))
    assert load_settings().store == "postgresql://u:secret@h/db"
    assert "secret" not in repr(load_settings())
    assert load_settings(store="memory://").store == "memory://"
    file.unlink()
    with pytest.raises(ConfigurationError, match="TOKENWARD_STORE_FILE"):
        load_settings()
    monkeypatch.setenv("TOKENWARD_STORE", "memory://")
    assert load_settings().store == "memory://"


def test_a_hooks_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hook").write_text("Bearer x", "utf-8")
    hook = AlertHook(url="https://example.com/hook", secret_variable="HOOK_SECRET")
    assert "HOOK_SECRET" not in os.environ
    assert hook.problem() == "HOOK_SECRET is not set"
    monkeypatch.setenv("HOOK_SECRET_FILE", str(tmp_path / "hook"))
    assert hook.problem() == ""
