"""Lines of JSON-RPC: cutting a stream of bytes into them, reading one, writing one.

A line that the SDK would drop is served if it can be (lone surrogates and invalid UTF-8 become U+FFFD) and answered
with an error if it cannot.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable

from mcp_types import INVALID_REQUEST, PARSE_ERROR, ErrorData, JSONRPCError, JSONRPCMessage, jsonrpc_message_adapter
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
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    except ValidationError:
        return _read_again(line)


def _read_again(line: bytes) -> JSONRPCMessage:
    """As :func:`read_message`, mending texts that are not Unicode."""
    try:
        content: JsonValue = json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise UnreadableLine(PARSE_ERROR, "Parse error: the line is not JSON") from None
    try:
        return jsonrpc_message_adapter.validate_json(unicode_json(content), by_name=False)
    except ValidationError:
        known = content.get("id") if isinstance(content, dict) else None
        request_id = known if isinstance(known, str | int) and not isinstance(known, bool) else None
        raise UnreadableLine(INVALID_REQUEST, "Invalid request: not a JSON-RPC 2.0 message", request_id) from None


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
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
