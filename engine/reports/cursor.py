"""Cursors: where the next page of one certain query starts, signed with the ledger's own key.

A cursor carries the period of the first page, so that "the last 7 days" are the same days on every page. Callers see
an opaque text. It holds no secret, but what is in it was not written by them: a changed one is refused.
"""

import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2s

from tokenward.engine.errors import InvalidInput
from tokenward.engine.types import JsonValue

_VERSION = 1
_SIGNATURE_BYTES = 16


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page starts.

    Attributes:
        start_us: Start of the period, in microseconds UTC.
        end_us: End of the period, outside it.
        tokens: The total of tokens of the last row before.
        key: Its key.
    """

    start_us: int
    end_us: int
    tokens: int
    key: str


def signed(cursor: Cursor, query: Sequence[JsonValue], secret: bytes) -> str:
    """The text of a cursor of ``query``, signed with the ledger's secret."""
    content = [_VERSION, cursor.start_us, cursor.end_us, cursor.tokens, cursor.key, _fingerprint(query)]
    body = json.dumps(content, separators=(",", ":")).encode()
    return urlsafe_b64encode(_signature(body, secret) + body).decode().rstrip("=")


def opened(text: str, query: Sequence[JsonValue], secret: bytes) -> Cursor:
    """The cursor that was signed.

    Raises:
        InvalidInput: It was changed, comes from another ledger, or belongs to a query with other arguments.
    """
    match _content(text, secret):
        case [int(version), int(start_us), int(end_us), int(tokens), str(key), str(fingerprint)]:
            if version == _VERSION and hmac.compare_digest(fingerprint, _fingerprint(query)):
                return Cursor(start_us, end_us, tokens, key)
        case _:
            raise InvalidInput("cursor", "not a cursor of this ledger, or changed; give next_cursor as it came.")
    raise InvalidInput(
        "cursor", "not a cursor of this query; give next_cursor as it came, with the other arguments unchanged."
    )


def _content(text: str, secret: bytes) -> JsonValue:
    """What was signed, or ``None``."""
    try:
        signed_body = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return None
    signature, body = signed_body[:_SIGNATURE_BYTES], signed_body[_SIGNATURE_BYTES:]
    # Other texts decode to the same bytes; only the one that was given out is a cursor.
    same_text = urlsafe_b64encode(signed_body).decode().rstrip("=") == text
    if not same_text or not hmac.compare_digest(signature, _signature(body, secret)):
        return None
    content: JsonValue = json.loads(body)
    return content


def _signature(body: bytes, secret: bytes) -> bytes:
    return hmac.digest(secret, b"tokenward cursor\n" + body, "sha256")[:_SIGNATURE_BYTES]


def _fingerprint(query: Sequence[JsonValue]) -> str:
    return blake2s(json.dumps(list(query)).encode(), digest_size=8).hexdigest()
