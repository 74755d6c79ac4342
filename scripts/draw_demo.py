"""Draws the README's picture: runs the demo and puts some of its steps, as they were printed, into an SVG file.

Run it as ``.venv/bin/python scripts/draw_demo.py docs/images/demo.svg``.
"""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

STEPS = ("3", "5", "6")
DEMO = Path(__file__).parent.parent / "docs" / "examples" / "demo.py"


def steps_of(output: str) -> list[str]:
    """The output's parts: each begins with a heading such as ``3. Price …``."""
    colours = re.compile(r"\x1b\[[0-9;]*m")
    steps: dict[str, list[str]] = {}
    current = ""
    for line in output.splitlines():
        if heading := re.match(r"(\d+)\. ", colours.sub("", line)):
            current = heading[1]
        steps.setdefault(current, []).append(line)
    return ["\n".join(steps[number]).rstrip() for number in STEPS]


def without_web_fonts(svg: str) -> str:
    """The picture with the reader's own fixed-width font: nothing is loaded from elsewhere."""
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    return svg.replace("Fira Code", "Menlo, Consolas, DejaVu Sans Mono")


def main(target: Path) -> None:
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "92"}
    ran = subprocess.run([sys.executable, str(DEMO)], env=environment, capture_output=True, text=True, check=True)
    console = Console(record=True, width=92, file=io.StringIO())
    for step in steps_of(ran.stdout):
        console.print(Text.from_ansi(step), soft_wrap=True)
        console.print()
    svg = console.export_svg(title="make demo")
    target.write_text("\n".join(line.rstrip() for line in without_web_fonts(svg).splitlines()) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
