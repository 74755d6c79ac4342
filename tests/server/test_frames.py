"""Lines of JSON-RPC."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp_types import JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from tokenward.server.frames import UnreadableLine, read_lines, read_message, write_message

pytestmark = pytest.mark.anyio


def reader(chunks: Sequence[bytes]) -> Callable[[], Awaitable[bytes]]:
    left = [chunk for chunk in chunks if chunk]

    async def read() -> bytes:
        return left.pop(0) if left else b""

    return read


async def lines(chunks: Sequence[bytes], max_bytes: int = 10) -> list[bytes | None]:
    return [line async for line in read_lines(reader(chunks), max_bytes)]


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ([], []),
        ([b"a\nb\n"], [b"a", b"b"]),
        ([b"a", b"b\nc", b"\n"], [b"ab", b"c"]),
        ([b"a\n\nb"], [b"a", b"", b"b"]),
        ([b"0123456789\n"], [b"0123456789"]),
        ([b"0123456789x\nok\n"], [None, b"ok"]),
        ([b"01234", b"56789", b"x", b"yz\nok\n"], [None, b"ok"]),
        ([b"0123456789x"], [None]),
    ],
)
async def test_lines(chunks: list[bytes], expected: list[bytes | None]) -> None:
    assert await lines(chunks) == expected


@given(st.lists(st.binary(max_size=8)), st.integers(1, 20))
async def test_lines_do_not_depend_on_the_pieces(texts: list[bytes], size: int) -> None:
    expected = [text.replace(b"\n", b"") for text in texts]
    stream = b"".join(text + b"\n" for text in expected)
    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]
    assert await lines(pieces) == expected


REQUEST = '{"jsonrpc":"2.0","id":1,"method":"m","params":{"text":"%s"}}'


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ((REQUEST % "plain").encode(), "plain"),
        ((REQUEST % "\\ud83d\\ude00").encode(), "😀"),
        ((REQUEST % "a\\ud800b").encode(), "a\ufffdb"),
        ((REQUEST % "\\ude00\\ud83d").encode(), "\ufffd\ufffd"),
        ((REQUEST % "a\xff").encode("latin-1"), "a\ufffd"),
        ((REQUEST % "\\u0000").encode(), "\0"),
    ],
)
def test_every_text_is_served(line: bytes, text: str) -> None:
    message = read_message(line)
    assert isinstance(message, JSONRPCRequest)
    assert message.params == {"text": text}


@pytest.mark.parametrize(
    ("line", "code", "request_id"),
    [
        (None, -32600, None),
        (b"{bad", -32700, None),
        (b"\xff", -32700, None),
        (b"[" * 100_000, -32700, None),
        (b"[]", -32600, None),
        (b"1", -32600, None),
        (b'{"id":7}', -32600, 7),
        (b'{"id":"a","method":3}', -32600, "a"),
        (b'{"id":true}', -32600, None),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"2.0","id":5,"method":"m","params":{"n":' + b"1" * 5_000 + b"}}", -32602, 5),
        (b'{"jsonrpc":"2.0","id":"a","method":"m","params":' + b"[" * 5_000 + b"]" * 5_000 + b"}", -32602, "a"),
        (b'{"jsonrpc":"1.0","id":1,"method":"m"}', -32600, 1),
    ],
)
def test_other_lines_are_answered(line: bytes | None, code: int, request_id: str | int | None) -> None:
    with pytest.raises(UnreadableLine) as caught:
        read_message(line)
    assert (caught.value.answer.error.code, caught.value.answer.id) == (code, request_id)
    assert write_message(caught.value.answer).endswith(b"}\n")


def test_an_answer_is_always_unicode() -> None:
    line = write_message(JSONRPCResponse(jsonrpc="2.0", id=1, result={"path": "a\udc80b", "nothing": None}))
    assert line == '{"jsonrpc":"2.0","id":1,"result":{"path":"a\ufffdb","nothing":null}}\n'.encode()


def test_a_deeply_nested_schema_is_served() -> None:
    nested = b'{"a":' * 300 + b"1" + b"}" * 300
    message = read_message(b'{"jsonrpc":"2.0","id":5,"method":"tools/call","params":' + nested + b"}")
    assert isinstance(message, JSONRPCRequest)
    assert message.id == 5


def test_a_notification_may_speak_of_ids() -> None:
    line = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"id":1}}'
    assert isinstance(read_message(line), JSONRPCNotification)
