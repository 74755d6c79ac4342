"""Lines of JSON-RPC: cutting a stream of bytes into them, reading one, writing one.

A line that the SDK would drop is served if it can be (lone surrogates and invalid UTF-8 become U+FFFD) and answered
with an error if it cannot.
"""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable

from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    jsonrpc_message_adapter,
)
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from tokenward.engine.types import JsonValue

MAX_LINE_BYTES = 96 * 2**20
"""Longest line served: 64 MiB of text with room for its escapes."""


class UnreadableLine(Exception):  # noqa: N818 - named for what it is
    """A line that is no message; ``answer`` is what its sender is told."""

    def __init__(self, code: int, problem: str, request_id: str | int | None = None) -> None:
        super().__init__(problem)
        self.answer = JSONRPCError(jsonrpc="2.0", id=request_id, error=ErrorData(code=code, message=problem))


async def read_lines(
    read: Callable[[], Awaitable[bytes]], max_bytes: int = MAX_LINE_BYTES
) -> AsyncIterator[bytes | None]:
    """The lines of a stream without their ends; ``None`` for one that is too long, which is never held in memory.

    Args:
        read: Gives the next piece of the stream, and ``b""`` at its end.
        max_bytes: Longest line.
    """
    pieces: list[bytes] = []
    held = 0
    while chunk := await read():
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            yield b"".join((*pieces, end)) if held + len(end) <= max_bytes else None
            pieces, held = [], 0
        held += len(rest)
        if held > max_bytes:
            pieces = []
        elif rest:
            pieces.append(rest)
    if held:
        yield b"".join(pieces) if held <= max_bytes else None


def read_message(line: bytes | None) -> JSONRPCMessage:
    """The message of a line.

    Raises:
        UnreadableLine: The line is too long, is no JSON, or its JSON is no message.
    """
    if line is None:
        raise UnreadableLine(INVALID_REQUEST, f"Invalid request: a line is at most {MAX_LINE_BYTES >> 20} MiB long")
    try:
        message = jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return _read_again(line)
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and "id" in json.loads(line):
        raise _bad_id()
    return message


def _bad_id() -> UnreadableLine:
    """A request whose id is neither a text nor an integer would be taken for a notification, and never answered."""
    return UnreadableLine(INVALID_REQUEST, "Invalid request: an id is a string or an integer")


def _read_again(line: bytes) -> JSONRPCMessage:
    """As :func:`read_message`, mending texts that are not Unicode."""
    text = line.decode("utf-8", "replace")
    content: JsonValue = None
    try:
        content = json.loads(text)
        # As an object: JSON that pydantic reads itself may not be nested as deep as a tool's schema can be.
        message = jsonrpc_message_adapter.validate_python(_unicode(content), by_name=False)
    except json.JSONDecodeError:
        raise UnreadableLine(PARSE_ERROR, "Parse error: the line is not JSON") from None
    except ValidationError:
        known = content.get("id") if isinstance(content, dict) else None
        request_id = known if isinstance(known, str | int) and not isinstance(known, bool) else None
        raise UnreadableLine(INVALID_REQUEST, "Invalid request: not a JSON-RPC 2.0 message", request_id) from None
    except (ValueError, RecursionError):
        known_id = _id_of(text)
        problem = "a number has too many digits, or values are nested too deep"
        raise UnreadableLine(PARSE_ERROR if known_id is None else INVALID_PARAMS, problem, known_id) from None
    if isinstance(message, JSONRPCNotification) and isinstance(content, dict) and "id" in content:
        raise _bad_id()
    return message


_ID = re.compile(r'"id"\s*:\s*(\d{1,18}|"[^"\\]{1,200}")\s*[,}]')


def _id_of(text: str) -> str | int | None:
    """The id in a line that cannot be read as a whole: the only one named, so that no argument is taken for it."""
    found = _ID.findall(text)
    if len(found) != 1:
        return None
    return str(found[0]).strip('"') if found[0].startswith('"') else int(found[0])


def write_message(message: JSONRPCMessage) -> bytes:
    """A message as a line."""
    try:
        text = message.model_dump_json(by_alias=True, exclude_unset=True)
    except PydanticSerializationError:
        # File names can hold what is not Unicode.
        text = unicode_json(message.model_dump(by_alias=True, exclude_unset=True))
    return text.encode() + b"\n"


def unicode_json(content: JsonValue) -> str:
    """Compact JSON in which what is not Unicode (lone surrogates) is replaced by U+FFFD."""
    return _clean(json.dumps(content, ensure_ascii=False, separators=(",", ":")))


_LONE_SURROGATE = re.compile("(?<![\ud800-\udbff])[\udc00-\udfff]|[\ud800-\udbff](?![\udc00-\udfff])")


def _clean(text: str) -> str:
    # The codec alone would do it, but takes eight times as long where there are many.
    return _LONE_SURROGATE.sub("\ufffd", text).encode("utf-16-le", "surrogatepass").decode("utf-16-le")


def _unicode(content: JsonValue) -> JsonValue:
    """The content with every text made Unicode."""
    if isinstance(content, str):
        return _clean(content)
    if isinstance(content, list):
        return [_unicode(one) for one in content]
    return {_clean(name): _unicode(one) for name, one in content.items()} if isinstance(content, dict) else content
