#!/bin/sh
# Makes or updates the virtual environment named by $1: the project, editable, and what its checks need.
# Every version comes from constraints.txt; CONSTRAINTS= (empty) takes the newest releases instead.
set -eu

venv=$1
constraints=${CONSTRAINTS-constraints.txt}
python="$venv/bin/python"

install() { # -qq: errors only
    "$python" -m pip install -qq --disable-pip-version-check ${constraints:+--constraint "$constraints"} "$@"
}

if ! "$python" -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
    base=$(scripts/find_python.sh)
    echo "Creating $venv with $("$base" --version) ($base)"
    "$base" -m venv --clear "$venv"
fi

echo "Installing into $venv"
# pip first: older ones do not know dependency groups. setuptools too, so that the build below fetches nothing else.
install --upgrade pip setuptools
install --no-build-isolation --editable . --group dev
