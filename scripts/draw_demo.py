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

CELL_WIDTH = 12.2
"""How wide Rich draws a letter: as wide as Fira Code is at 20 pixels."""
LETTER_WIDTH = 0.602
"""Of Menlo and DejaVu Sans Mono, for a size of 1."""


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


def for_any_reader(svg: str) -> str:
    """The picture in the reader's own fixed-width font, with nothing loaded from elsewhere, and with all its blanks.

    Browsers keep the no-break spaces that columns stand on, and make every text as long as it says. Other programs
    (librsvg) keep blanks only where they are told to, and need letters of the right width.
    """
    svg = re.sub(r"@font-face\s*{[^}]*}", "", svg)
    svg = svg.replace("<svg ", '<svg xml:space="preserve" ', 1)
    svg = svg.replace("font-size: 20px", f"font-size: {CELL_WIDTH / LETTER_WIDTH:.2f}px")
    return svg.replace("Fira Code", "Menlo, DejaVu Sans Mono, Consolas")


def draw() -> str:
    """The picture of what the demo prints now."""
    environment = {**os.environ, "FORCE_COLOR": "1", "COLUMNS": "92", "TERM": "xterm-256color"}
    ran = subprocess.run(
        [sys.executable, str(DEMO)], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    console = Console(record=True, width=92, file=io.StringIO())
    for step in steps_of(ran.stdout):
        console.print(Text.from_ansi(step), soft_wrap=True)
        console.print()
    svg = console.export_svg(title="make demo")
    return "\n".join(line.rstrip() for line in for_any_reader(svg).splitlines()) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(draw(), "utf-8")
