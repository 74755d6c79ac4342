#!/bin/sh
# Prints the first Python that runs, is 3.11 or later and can make virtual environments.
#
#     scripts/find_python.sh          $PYTHON when it is set, else what PATH and then pyenv have
#     scripts/find_python.sh 3.13     that version only
#
# A name on PATH proves nothing (pyenv leaves shims of versions that are switched off), so each candidate is run.
set -eu

works() { # works INTERPRETER VERSION, where an empty version means any
    "$1" - "$2" >/dev/null 2>&1 <<'PYTHON'
import sys
import ensurepip, venv

here = "{}.{}".format(*sys.version_info)
sys.exit(sys.version_info < (3, 11) or sys.argv[1] not in ("", here))
PYTHON
}

version=${1:-}
if [ -z "$version" ] && [ -n "${PYTHON:-}" ]; then
    works "$PYTHON" "" && echo "$PYTHON" && exit 0
    echo "PYTHON=$PYTHON does not run, is older than 3.11, or lacks the modules venv and ensurepip." >&2
    exit 1
fi

pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
for candidate in python3.13 python3.12 python3.11 python3 /usr/bin/python3 \
    "$pyenv"/3.13.*/bin/python "$pyenv"/3.12.*/bin/python "$pyenv"/3.11.*/bin/python; do
    works "$candidate" "$version" && echo "$candidate" && exit 0
done

[ -n "$version" ] || echo "No Python 3.11 or later with the modules venv and ensurepip was found.
Install one (Debian and Ubuntu: apt-get install python3 python3-venv) or name it: make setup PYTHON=/path/to/python" >&2
exit 1
