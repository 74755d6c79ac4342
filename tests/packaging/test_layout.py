"""The build reads pyproject.toml, type checkers read the links: both must say what the folders hold."""

import ast
import importlib.metadata
import re
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import tokenward
from tests.packaging.project import ROOT, packages, project_files, pyproject, rooms, setuptools_table

# Modules that come with a dependency, in the version it needs.
PARTS_OF_OTHERS = {
    "cryptography": "mcp",
    "jwt": "mcp",
    "mcp_types": "mcp",
    "opentelemetry": "mcp",
    "psycopg_pool": "psycopg",
    "pydantic_core": "pydantic",
    "sse_starlette": "mcp",
}
# Folders of which some files are loaded only where an extra is wanted.
EXTRAS = {"server/http": ("http",), "server/telemetry": ("otel", "prometheus")}


def test_packages_are_the_folders() -> None:
    assert sorted(setuptools_table()["packages"]) == sorted(packages())


@pytest.mark.parametrize("name", sorted(packages()))
def test_package_has_an_init(name: str) -> None:
    assert (packages()[name] / "__init__.py").is_file()


def test_links_are_the_rooms() -> None:
    links = {path.name: path.readlink().as_posix() for path in (ROOT / "src/tokenward").iterdir() if path.is_symlink()}
    expected = {name.removeprefix("tokenward."): room for name, room in rooms().items() if name != "tokenward"}
    assert links == {short: f"../../{room.relative_to(ROOT).as_posix()}" for short, room in expected.items()}


def test_tools_that_skip_links_name_every_room() -> None:
    links = {f"src/tokenward/{name.removeprefix('tokenward.')}" for name in rooms() if name != "tokenward"}
    tools = pyproject()["tool"]
    assert set(tools["ruff"]["extend-exclude"]) == links
    assert {path for path in tools["pyright"]["include"] if path.startswith("src/tokenward/")} == links
    folders = {path.relative_to(ROOT).as_posix() for name, path in rooms().items() if name != "tokenward"}
    assert set(tools["coverage"]["run"]["source"]) == {"src", *folders}


def test_package_data_is_complete() -> None:
    declared: dict[str, list[str]] = setuptools_table()["package-data"]
    folders = packages()
    matched: set[Path] = set()
    for package, globs in declared.items():
        for pattern in globs:
            files = {path for path in folders[package].glob(pattern) if path.is_file()}
            assert files, f"{package}: {pattern} matches nothing"
            matched |= files
    present = {
        path
        for name, room in rooms().items()
        for path in room.rglob("*")
        if path.is_file() and path.suffix != ".py" and "__pycache__" not in path.parts
        if not (name == "tokenward" and path.parent != room)
    }
    assert {str(path) for path in matched} == {str(path) for path in present}


def test_versions_agree() -> None:
    declared = pyproject()["project"]["version"]
    try:
        installed = importlib.metadata.version("tokenward")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("tokenward is not installed in this environment")
    assert installed == declared
    assert tokenward.__version__ == declared
    assert f"## {declared}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_constraints_are_names_and_versions() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [line for line in lines if not line.startswith("#")]
    assert requirements
    assert [line for line in requirements if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", line)] == []


def test_constraints_pin_everything_that_is_asked_for() -> None:
    document = pyproject()
    lines = [*document["project"]["dependencies"], *document["dependency-groups"]["dev"]]
    every = [Requirement(line) for line in lines]
    asked = [requirement for requirement in every if not requirement.marker or requirement.marker.evaluate()]
    pinned = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower().replace("_", "-")
    assert [requirement.name for requirement in asked if f"\n{requirement.name.lower()}==" not in pinned] == []


def test_every_import_is_a_declared_dependency() -> None:
    project = pyproject()["project"]
    declared = required(project["dependencies"])
    providers = importlib.metadata.packages_distributions()
    undeclared: set[str] = set()
    for folder in packages().values():
        extras = EXTRAS.get(folder.relative_to(ROOT).as_posix(), ())
        here = declared.union(*(required(project["optional-dependencies"][extra]) for extra in extras))
        for path in folder.glob("*.py"):
            for module in imported_modules(path) - sys.stdlib_module_names - {"tokenward"} - set(PARTS_OF_OTHERS):
                if not here & {name.lower().replace("_", "-") for name in providers.get(module, [])}:
                    undeclared.add(f"{path.relative_to(ROOT)}: {module}")
    assert undeclared == set()
    assert declared >= set(PARTS_OF_OTHERS.values())


def required(lines: list[str]) -> set[str]:
    """The names of requirements."""
    return {Requirement(line).name.lower() for line in lines}


def imported_modules(path: Path) -> set[str]:
    """The top-level names that a file imports, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


# Written so that this file does not match itself.
FORBIDDEN = re.compile(
    r"(?<![\w.~$}-])/(?:wor[k]|roo[t]|tmp/bas[h])(?:/|_jobs)"  # one machine's paths
    r"|https?://[^\s\"']+/simpl[e](?=[/\"'\s]|$)",  # a package index
    re.MULTILINE,
)


def test_no_file_names_a_machine_or_a_registry() -> None:
    found: list[str] = []
    for path in project_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.relative_to(ROOT)}: {match.group()}" for match in FORBIDDEN.finditer(text)]
    assert found == []
