"""Which code reads HTTP from connections."""

from asyncio import Protocol
from importlib.util import find_spec
from typing import Literal


def protocol_class(name: Literal["auto", "httptools", "h11"]) -> type[Protocol]:
    """What reads HTTP: ``httptools``, ``h11``, or the first of them that is installed.

    h11 knows a bound for heads; httptools takes heads, and trailers, of any length, and needs ours.
    """
    if name == "h11" or (name == "auto" and find_spec("httptools") is None):
        from uvicorn.protocols.http.h11_impl import H11Protocol  # noqa: PLC0415 - if it is the one

        return H11Protocol
    from tokenward.server.http.bounded import BoundedProtocol  # noqa: PLC0415 - an extra

    return BoundedProtocol
