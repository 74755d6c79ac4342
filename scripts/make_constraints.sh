#!/bin/sh
# Writes constraints.txt anew: the newest versions that install together on the oldest supported Python, and those of
# what only newer ones need.
set -eu

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

frozen() { # frozen PYTHON CONSTRAINTS: what an environment made by this Python holds
    rm -rf "$folder/venv"
    PYTHON=$1 CONSTRAINTS=$2 scripts/make_venv.sh "$folder/venv" >&2
    "$folder/venv/bin/python" -m pip freeze --all --exclude tokenward
}

frozen "$(scripts/find_python.sh 3.11)" '' >"$folder/oldest.txt"
frozen "$(scripts/find_python.sh 3.13)" "$folder/oldest.txt" >"$folder/newest.txt"
{
    echo "# The versions that the tests run with. Written by 'make constraints'; not read by an ordinary installation."
    sort --ignore-case --unique "$folder/oldest.txt" "$folder/newest.txt"
} >"$folder/constraints.txt"
cp "$folder/constraints.txt" constraints.txt
