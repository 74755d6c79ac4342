"""What is released: built from a copy of the checkout, looked into, installed alone, and spoken to."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from tests.packaging.conftest import Ask
from tests.packaging.project import ROOT, packages, project_files, pyproject

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def run(*command: str | Path, cwd: Path, environment: dict[str, str] | None = None) -> str:
    finished = subprocess.run(
        command, cwd=cwd, env=environment, check=False, capture_output=True, text=True, encoding="utf-8"
    )
    assert finished.returncode == 0, f"{command}\n{finished.stdout}\n{finished.stderr}"
    return finished.stdout


def build(source: Path, target: Path, *options: str) -> None:
    run(sys.executable, "-m", "build", "--no-isolation", *options, "--outdir", target, source, cwd=target)


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, so that neither leftovers in the checkout nor a build beside other tests can matter."""
    copy = tmp_path_factory.mktemp("checkout")
    for path in project_files():
        target = copy / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, target)
    for link in (path for path in (ROOT / "src/tokenward").iterdir() if path.is_symlink()):
        (copy / link.relative_to(ROOT)).symlink_to(link.readlink())
    return copy


@pytest.fixture(scope="module")
def released(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel that was built from it."""
    target = tmp_path_factory.mktemp("released")
    build(checkout, target)
    return target


@pytest.fixture(scope="module")
def installed(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts folder of a new environment that holds the wheel, and sees the packages of this one behind it.

    Nothing is fetched, so that it also works where the network is cut off; that every import is declared, the test of
    the layout says.
    """
    environment = tmp_path_factory.mktemp("installed")
    venv.create(environment, with_pip=False)
    scripts = environment / ("Scripts" if sys.platform == "win32" else "bin")
    pip = (sys.executable, "-m", "pip", "--python", scripts / "python")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel_in(released), cwd=environment)
    purelib = run(scripts / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=environment)
    # What this file leads to is searched last, and its own such files, the checkout's among them, are not read.
    Path(purelib.strip(), "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return scripts


def wheel_in(folder: Path) -> Path:
    (wheel,) = folder.glob("*.whl")
    return wheel


def names_in(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return sorted(archive.namelist())


def test_wheel_holds_the_packages_and_their_data_once(released: Path) -> None:
    names = names_in(wheel_in(released))
    shipped = [name for name in names if ".dist-info/" not in name]
    expected = {
        str(PurePosixPath(*package.split("."), path.name))
        for package, folder in packages().items()
        for path in folder.glob("*.py")
    }
    data = {
        f"tokenward/{path.relative_to(ROOT).as_posix()}"
        for pattern in ("engine/data/*", "storage/migrations/*/*.sql")
        for path in ROOT.glob(pattern)
    }
    assert data
    assert set(shipped) == expected | data | {"tokenward/py.typed"}
    assert len(names) == len(set(names))


def test_wheel_names_its_licences_and_its_command(released: Path) -> None:
    wheel = wheel_in(released)
    by_name = {PurePosixPath(name).name: name for name in names_in(wheel) if ".dist-info/" in name}
    assert {"LICENSE", "NOTICE", "METADATA", "entry_points.txt"} <= set(by_name)
    with zipfile.ZipFile(wheel) as archive:
        metadata = archive.read(by_name["METADATA"]).decode()
        commands = archive.read(by_name["entry_points.txt"]).decode()
    assert "License-Expression: MIT" in metadata
    assert f"Version: {pyproject()['project']['version']}" in metadata
    assert "tokenward = tokenward.server.entry:main" in commands


def test_wheel_is_the_same_straight_from_the_checkout(checkout: Path, released: Path, tmp_path: Path) -> None:
    build(checkout, tmp_path, "--wheel")
    assert names_in(wheel_in(tmp_path)) == names_in(wheel_in(released))


def test_sdist_holds_what_the_build_needs(released: Path) -> None:
    (sdist,) = released.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "engine/__init__.py", "src/tokenward/py.typed"} <= names


def test_installed_command_tells_its_version(
    installed: Path, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    told = run(installed / "tokenward", "--version", cwd=tmp_path, environment=clean_environment)
    assert pyproject()["project"]["version"] in told


def test_installed_server_counts(ask: Ask, installed: Path, clean_environment: dict[str, str]) -> None:
    result = ask(
        [str(installed / "tokenward"), "serve"],
        clean_environment,
        "tools/call",
        {"name": "count_tokens", "arguments": {"text": "hello world", "model": "gpt-4o"}},
    )
    assert not result.get("isError"), result
    counted = result["structuredContent"]
    assert isinstance(counted, dict)
    assert counted["tokens"] == 2
    assert counted["exact"] is True
