#!/bin/sh
# Writes constraints.txt anew: the newest versions that install together on the oldest supported Python.
set -eu

venv=$(mktemp -d)
trap 'rm -rf "$venv"' EXIT

PYTHON=$(scripts/find_python.sh 3.11) CONSTRAINTS='' scripts/make_venv.sh "$venv"
{
    echo "# The versions that the tests run with. Written by 'make constraints'; not read by an ordinary installation."
    "$venv/bin/python" -m pip freeze --all --exclude tokenward
} >"$venv/constraints.txt"
cp "$venv/constraints.txt" constraints.txt
