"""The image without Docker: the Dockerfile's steps carried out below a folder."""

import os
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.dockerfile import PORT, Step, context_files, image, stages
from tests.packaging.project import ROOT

# The folders of the image that the steps name. They stand below one folder of the test's instead.
IMAGE_FOLDERS = re.compile(r"(?<![\w.])/(build|data|etc|opt)(?=[/\s\":]|$)")


@dataclass(frozen=True, slots=True)
class Container:
    """The image's file system below one folder, as far as its steps make it."""

    root: Path

    def place(self, text: str) -> str:
        """The text with the image's folders where they are here."""
        return IMAGE_FOLDERS.sub(rf"{self.root}/\1", text)

    @property
    def environment(self) -> dict[str, str]:
        """What ``ENV`` sets, and nothing of ours but the way to the system's programs."""
        pairs = [pair.partition("=") for step in image().every("ENV") for pair in step.words]
        found = {name: self.place(value) for name, _, value in pairs}
        return found | {"PATH": found["PATH"].replace("$PATH", os.environ["PATH"])}

    def command(self, words: Sequence[str], port: int) -> list[str]:
        """A command as the entry point starts it, on a port of the test's."""
        (program,) = image().last("ENTRYPOINT").words
        return [str(self.root / "opt/tokenward/bin" / program), *(str(port) if one == PORT else one for one in words)]

    def health(self, port: int) -> int:
        """The exit code of the health check."""
        _, _, check = image().last("HEALTHCHECK").text.partition(" CMD ")
        words = Step("CMD", check.replace(PORT, str(port))).words
        return subprocess.run(words, env=self.environment, check=False, capture_output=True).returncode


def build_image(base: Path, root: Path) -> Container:
    """The steps of the file, one after the other. Packages are not fetched: those of this environment lie behind.

    Args:
        base: An empty folder, for what stands for the base image.
        root: An empty folder, for the image's file system.
    """
    venv.create(base, with_pip=False, symlinks=True)
    lend_packages(base)
    built = Container(root)
    offline = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PATH": f"{base / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    for stage in stages():
        folder = built.root
        for step in stage.steps:
            if step.instruction == "WORKDIR":
                folder = Path(built.place(step.text))
                folder.mkdir(exist_ok=True)
            elif step.instruction == "COPY":
                copy(step, folder)
            elif step.instruction == "RUN":
                text = built.place(step.text)
                run(text if os.geteuid() == 0 else text.partition(" && chown ")[0], folder, offline)
    lend_packages(built.root / "opt/tokenward")
    return built


def lend_packages(environment: Path) -> None:
    """Let an environment find the packages of this one, its own first."""
    (purelib,) = environment.glob("lib/python3.*/site-packages")
    # Not the checkout, which may be on the path too.
    lent = [path for path in sys.path if path.endswith("site-packages")]
    (purelib / "lent.pth").write_text("\n".join(lent) + "\n", encoding="utf-8")


def copy(step: Step, folder: Path) -> None:
    """``COPY``: from the context; or from the stage before, which has the same folders here."""
    *names, target = step.words
    if names[0].startswith("--from="):
        assert names[1:] == [target]
        return
    for name in context_files():
        if name.parts[0] in names:
            place = folder / (name if target == "./" else Path(target, *name.parts[1:]))
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, place)


def run(command: str, folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        ["sh", "-euc", command], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
