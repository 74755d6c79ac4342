"""States of counters as they are stored: apart from other rows, since a status line reads nothing else."""

import json
from typing import cast

from tokenward.engine.quota import State

dump = json.JSONEncoder(separators=(",", ":")).encode
"""JSON as it is stored."""


def dump_state(state: State) -> str:
    """A state as it is stored."""
    return dump({name: [[bucket, *amounts] for bucket, amounts in counter.items()] for name, counter in state.items()})


def parse_state(text: str) -> State:
    """A stored state."""
    stored = cast("dict[str, list[list[int]]]", json.loads(text))
    return {name: {row[0]: (row[1], row[2]) for row in rows} for name, rows in stored.items()}
