"""An authorization server for tests: real keys, real JWTs, and a key set at an address of this machine."""

import json
import warnings
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import TypeAlias

import anyio
import uvicorn
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWS
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from jwt.warnings import InsecureKeyLengthWarning
from starlette.types import ASGIApp

from tests.waiting import until

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

ISSUER = "http://127.0.0.1/issuer"
AUDIENCE = "http://127.0.0.1:8484/mcp"

RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SHORT_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.generate()


def public(key: PrivateKey, kid: str | None, **more: str | list[str]) -> dict[str, object]:
    """A key's public half as a JWK."""
    jwk: dict[str, object]
    if isinstance(key, rsa.RSAPrivateKey):
        jwk = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        jwk = ECAlgorithm.to_jwk(key.public_key(), as_dict=True)
    else:
        jwk = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return {**jwk, **({} if kid is None else {"kid": kid}), **more}


def key_set(*keys: dict[str, object]) -> bytes:
    return json.dumps({"keys": list(keys)}).encode()


@dataclass
class Issuer:
    """Signs tokens as of a moment.

    Attributes:
        now: Seconds since 1970.
    """

    now: int

    def token(
        self,
        *,
        key: PrivateKey = RSA_KEY,
        alg: str = "RS256",
        kid: str | None = "one",
        headers: Mapping[str, object] | None = None,
        without: tuple[str, ...] = (),
        more: Mapping[str, object] | None = None,
        **claims: object,
    ) -> str:
        """A token that is good, but for what is said."""
        whole: dict[str, object] = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "iat": self.now,
            "exp": self.now + 300,
            "scope": "use report",
            **claims,
            **(more or {}),
        }
        kept = {name: value for name, value in whole.items() if name not in without}
        header: dict[str, object] = {**({} if kid is None else {"kid": kid}), **(headers or {})}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", InsecureKeyLengthWarning)
            return PyJWS().encode(json.dumps(kept).encode(), key, algorithm=alg, headers=header)


@contextmanager
def serving(content: bytes) -> Generator[tuple[str, list[str]]]:
    """A real HTTP server that gives a content, its address, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/jwks", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@asynccontextmanager
async def listening(app: ASGIApp) -> AsyncGenerator[int]:
    """The port of an application on a real socket."""
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", timeout_graceful_shutdown=1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(server.serve)

        async def started() -> bool:
            return server.started

        await until(started)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
