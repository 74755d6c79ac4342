"""The image's file says what it must: two stages, no root, nothing untested, nothing secret, a context of sources."""

import re
from collections.abc import Iterator

from packaging.requirements import Requirement

from tests.packaging.dockerfile import PORT, context_files, image, stages
from tests.packaging.project import ROOT, packages, pyproject


def test_the_image_is_built_in_two_stages_from_one_base() -> None:
    building, final = stages()
    assert building.name == "build"
    assert building.base == final.base
    assert re.fullmatch(r"python:3\.\d+-slim-\w+", final.base)
    supported = pyproject()["project"]["classifiers"]
    assert f"Programming Language :: Python :: {final.base.split(':')[1].split('-')[0]}" in supported


def test_nothing_runs_as_root() -> None:
    user = image().last("USER").text
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user)
    assert [step.text for step in image().every("RUN")] == [f"mkdir -m 0750 /data && chown {user} /data"]
    assert image().last("VOLUME").words == ["/data"]
    positions = [step.instruction for step in image().steps]
    assert positions.index("USER") > max(at for at, name in enumerate(positions) if name in {"COPY", "RUN"})


def test_no_secret_is_built_in() -> None:
    text = (ROOT / "Dockerfile").read_text("utf-8").lower()
    assert not re.search(r"password|secret|api_?key|--insecure", text)


def test_everything_in_the_image_has_a_tested_version() -> None:
    constraints = (ROOT / "constraints.txt").read_text("utf-8").lower().replace("_", "-").splitlines()
    pinned = {line.partition("==")[0] for line in constraints}
    unix = [one for one in wanted("all") if not one.marker or one.marker.evaluate({"python_version": "3.13"})]
    assert {requirement.name.lower() for requirement in unix} <= pinned
    for step in (step for stage in stages() for step in stage.every("RUN")):
        assert step.text.count("pip install") == step.text.count("--constraint constraints.txt")


def wanted(*extras: str) -> Iterator[Requirement]:
    """What the package needs, and what its extras need, which may name other extras of it."""
    project = pyproject()["project"]
    lines = project["dependencies"] + [line for extra in extras for line in project["optional-dependencies"][extra]]
    for requirement in map(Requirement, lines):
        if requirement.name == "tokenward":
            yield from wanted(*requirement.extras)
        else:
            yield requirement


def test_the_image_can_serve_http_and_be_watched() -> None:
    named = {requirement.name for requirement in wanted("all")}
    assert {"uvloop", "httptools", "prometheus-client"} <= named


def test_the_context_holds_what_is_copied_and_nothing_else() -> None:
    copied = {word for step in stages()[0].every("COPY") for word in step.words[:-1]}
    context = context_files()
    assert {path.parts[0] for path in context} == copied
    shipped = {path.relative_to(ROOT) for folder in packages().values() for path in folder.glob("*.py")}
    assert shipped <= set(context)
    assert [path for path in context if path.suffix in {".pyc", ".db", ".pem", ".env"}] == []


def test_health_is_asked_of_the_port_that_is_served() -> None:
    assert image().last("EXPOSE").text == PORT
    assert image().last("CMD").words[-2:] == ["--port", PORT]
    assert f", {PORT}," in image().last("HEALTHCHECK").text
