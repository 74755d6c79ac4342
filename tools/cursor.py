"""Cursors: where the next page of one certain query starts. Opaque to callers, and no secret."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2s

from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import JsonValue


def cursor_of(offset: int, query: Sequence[JsonValue]) -> str:
    """A cursor for the page of ``query`` that starts at ``offset``."""
    return urlsafe_b64encode(json.dumps([offset, _fingerprint(query)]).encode()).decode()


def offset_of(cursor: str, query: Sequence[JsonValue]) -> int:
    """Where the page starts.

    Raises:
        InvalidInput: The cursor was changed, or belongs to a query with other arguments.
    """
    try:
        content: JsonValue = json.loads(urlsafe_b64decode(cursor.encode()))
    except ValueError:
        content = None
    match content:
        case [int(offset), str(fingerprint)] if offset >= 0 and fingerprint == _fingerprint(query):
            return offset
        case _:
            raise InvalidInput(
                "cursor", "not a cursor of this query; give next_cursor as it came, with the other arguments unchanged."
            )


def _fingerprint(query: Sequence[JsonValue]) -> str:
    return blake2s(json.dumps(list(query)).encode(), digest_size=6).hexdigest()
