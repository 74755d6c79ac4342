"""Refuse Python files that have outgrown their ceiling: split them by subject."""

import subprocess
import sys
from pathlib import Path

CEILING = 400
CEILINGS_BY_FOLDER = {"tests": 600, "bench": 600}


def python_files(root: Path) -> list[Path]:
    """The project's own Python files, relative to `root`: tracked or new, without what git ignores."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z", "--", "*.py"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in sorted(set(listed.split("\0"))) if name and (root / name).is_file()]


def too_long(root: Path) -> list[str]:
    """One line for each file above its ceiling."""
    complaints: list[str] = []
    for path in python_files(root):
        ceiling = CEILINGS_BY_FOLDER.get(path.parts[0], CEILING)
        lines = len((root / path).read_text(encoding="utf-8").splitlines())
        if lines > ceiling:
            complaints.append(f"{path}: {lines} lines, at most {ceiling}")
    return complaints


def main() -> int:
    complaints = too_long(Path(__file__).resolve().parent.parent)
    for complaint in complaints:
        print(complaint)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
