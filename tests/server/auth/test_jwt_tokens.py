"""Tokens of an authorization server, with real keys: what is good, and every way in which one can be bad."""

import base64
import hmac
import json
from collections.abc import Callable

import anyio
import pytest

from tests.conftest import FakeClock
from tests.server.auth.issuer import (
    AUDIENCE,
    EC_KEY,
    ED_KEY,
    ISSUER,
    OTHER_RSA_KEY,
    RSA_KEY,
    SHORT_RSA_KEY,
    Issuer,
    PrivateKey,
    key_set,
    public,
    serving,
)
from tests.waiting import NET_SECONDS, settled
from tokenward.engine.types import JsonObject
from tokenward.server.auth import jwks
from tokenward.server.auth.jwks import KeySet, KeysUnavailable, PublicKey, fetch, read_keys
from tokenward.server.auth.jwt_tokens import JwtVerifier
from tokenward.server.auth.settings import AuthSettings, JwtSetting
from tokenward.server.auth.verifier import Verifier

pytestmark = pytest.mark.anyio

KEYS = key_set(public(RSA_KEY, "one"), public(EC_KEY, "ec"), public(ED_KEY, "ed"), public(SHORT_RSA_KEY, "short"))


@pytest.fixture
def issuer(clock: FakeClock) -> Issuer:
    return Issuer(clock() // 1_000_000)


class Source:
    """Key sets in place of an address."""

    def __init__(self, content: bytes = KEYS) -> None:
        self.content: bytes | None = content
        self.asked = 0

    async def __call__(self, url: str) -> bytes:
        self.asked += 1
        if self.content is None:
            raise OSError(url)
        return self.content


def setting(**more: object) -> JwtSetting:
    return JwtSetting.model_validate(
        {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "https://issuer.example/jwks", **more}
    )


def verifier(clock: FakeClock, source: Source | None = None, **more: object) -> JwtVerifier:
    return JwtVerifier(setting(**more), clock, source or Source())


async def test_a_good_token(clock: FakeClock, issuer: Issuer) -> None:
    verified = await verifier(clock).verify(issuer.token(groups=["red", "blue"], azp="cli"))
    assert verified is not None
    assert (verified.principal.subject, verified.client_id) == ("alice", "cli")
    assert verified.principal.scopes == {"use", "report"}
    assert verified.principal.groups == {"red", "blue"}
    assert verified.expires == issuer.now + 300


@pytest.mark.parametrize(
    ("key", "alg", "kid"), [(EC_KEY, "ES256", "ec"), (ED_KEY, "EdDSA", "ed"), (RSA_KEY, "PS256", "one")]
)
async def test_other_signatures(clock: FakeClock, issuer: Issuer, key: PrivateKey, alg: str, kid: str) -> None:
    token = issuer.token(key=key, alg=alg, kid=kid)
    assert await verifier(clock, algorithms=[alg]).verify(token)
    others = [one for one in ("RS256", "ES384") if one != alg]
    assert await verifier(clock, algorithms=others).verify(token) is None


def part(value: JsonObject) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def resigned(token: str, header: JsonObject, secret: bytes | None) -> str:
    """A token with another header, signed with a secret that everybody knows, or not at all."""
    signed = f"{part(header)}.{token.split('.')[1]}"
    if secret is None:
        return f"{signed}."
    signature = hmac.digest(secret, signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def _pem() -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


BAD: dict[str, Callable[[Issuer], str]] = {
    "another issuer": lambda one: one.token(iss="http://127.0.0.1/issue"),
    "an issuer that begins the same": lambda one: one.token(iss=ISSUER + "2"),
    "a list of issuers": lambda one: one.token(iss=[ISSUER]),
    "another audience": lambda one: one.token(aud="http://127.0.0.1:8484"),
    "a part of the audience": lambda one: one.token(aud=AUDIENCE[:-1]),
    "other audiences": lambda one: one.token(aud=["a", "b"]),
    "expired": lambda one: one.token(exp=one.now - 30),
    "not yet valid": lambda one: one.token(nbf=one.now + 31),
    "made in the future": lambda one: one.token(iat=one.now + 31),
    "never expires": lambda one: one.token(without=("exp",)),
    "expires as a text": lambda one: one.token(exp=str(one.now + 300)),
    "expires at no time": lambda one: one.token(exp=float("nan")),
    "expires at infinity": lambda one: one.token(exp=float("inf")),
    "expires as true": lambda one: one.token(exp=True),
    "begins as true": lambda one: one.token(nbf=True),
    "begins as a text": lambda one: one.token(nbf="0"),
    "no issuer": lambda one: one.token(without=("iss",)),
    "no audience": lambda one: one.token(without=("aud",)),
    "no subject": lambda one: one.token(without=("sub",)),
    "an empty subject": lambda one: one.token(sub=""),
    "a subject of two lines": lambda one: one.token(sub="alice\nbob"),
    "a subject that is too long": lambda one: one.token(sub="a" * 201),
    "bound to a key of its holder": lambda one: one.token(cnf={"jkt": "x"}),
    "another key with the same name": lambda one: one.token(key=OTHER_RSA_KEY),
    "a short key": lambda one: one.token(key=SHORT_RSA_KEY, kid="short"),
    "an unknown key": lambda one: one.token(key=OTHER_RSA_KEY, kid="two"),
    "a key of another kind": lambda one: one.token(kid="ec"),
    "no signature": lambda one: resigned(one.token(), {"alg": "none", "kid": "one"}, None),
    "None": lambda one: resigned(one.token(), {"alg": "None", "kid": "one"}, None),
    "a signature of none": lambda one: resigned(one.token(), {"alg": "RS256", "kid": "one"}, None),
    "the public key as a secret": lambda one: resigned(one.token(), {"alg": "HS256", "kid": "one"}, _pem()),
    "the key as JWK as a secret": lambda one: resigned(
        one.token(), {"alg": "HS256", "kid": "one"}, json.dumps(public(RSA_KEY, "one")).encode()
    ),
    "a key in the header": lambda one: one.token(
        key=OTHER_RSA_KEY,
        kid="mine",
        headers={"jwk": public(OTHER_RSA_KEY, "mine")},
    ),
    "an address of keys in the header": lambda one: one.token(
        key=OTHER_RSA_KEY, kid="mine", headers={"jku": "https://evil.example/jwks"}
    ),
    "must be understood": lambda one: one.token(headers={"crit": ["b64"], "b64": True}),
    "a proof and no token": lambda one: one.token(headers={"typ": "dpop+jwt"}),
    "a logout": lambda one: one.token(headers={"typ": "logout+jwt"}),
    "cut": lambda one: one.token()[:-2],
    "changed": lambda one: ".".join((one.token().split(".")[0], part({"sub": "root"}), one.token().split(".")[2])),
    "no JSON": lambda one: "a.b.c",
    "nested deeply": lambda one: f"{base64.urlsafe_b64encode(b'[' * 3000).decode()}.e30.",
    "the name of a key is a number": lambda one: resigned(one.token(), {"alg": "RS256", "kid": 1}, b""),
    "the signature's name is a list": lambda one: resigned(one.token(), {"alg": ["RS256"], "kid": "one"}, b""),
}


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_token(clock: FakeClock, issuer: Issuer, name: str) -> None:
    algorithms = ["RS256", "ES256", "PS256", "EdDSA"]
    tried = verifier(clock, algorithms=algorithms)
    assert await tried.verify(BAD[name](issuer)) is None
    assert await tried.verify(issuer.token()) is not None


async def test_what_cannot_be_good_asks_for_no_keys(clock: FakeClock, issuer: Issuer) -> None:
    source = Source()
    tried = verifier(clock, source, algorithms=["ES256"])
    for token in (issuer.token(), BAD["no signature"](issuer), BAD["the public key as a secret"](issuer), "a.b.c"):
        assert await tried.verify(token) is None
    assert source.asked == 0


async def test_clocks_may_differ_a_little(clock: FakeClock, issuer: Issuer) -> None:
    tried = verifier(clock)
    assert await tried.verify(issuer.token(exp=issuer.now - 29, nbf=issuer.now + 30))
    exact = verifier(clock, leeway_seconds=0)
    assert await exact.verify(issuer.token(exp=issuer.now)) is None


async def test_a_token_ends(clock: FakeClock, issuer: Issuer) -> None:
    tried, token = verifier(clock), issuer.token()
    assert await tried.verify(token)
    clock.advance(331)
    assert await tried.verify(token) is None


@pytest.mark.parametrize(
    ("given", "scopes"),
    [
        ("t.use other admin", {"use"}),
        (["t.use", "t.all"], {"use", "admin"}),
        ({"t.use": True}, set[str]()),
        (7, set[str]()),
        ("T.USE", set[str]()),
        (None, set[str]()),
    ],
)
async def test_scopes_are_mapped(clock: FakeClock, issuer: Issuer, given: object, scopes: set[str]) -> None:
    tried = verifier(clock, scopes={"t.use": "use", "t.all": "admin"})
    verified = await tried.verify(issuer.token(scope=given))
    assert verified is not None
    assert verified.principal.scopes == scopes


async def test_claims_have_the_names_that_are_set(clock: FakeClock, issuer: Issuer) -> None:
    tried = verifier(
        clock,
        subject_claim="https://example.com/user",
        scopes_claim="realm_access.roles",
        groups_claim="teams",
        subject_prefix="login:",
    )
    named: dict[str, object] = {"https://example.com/user": "ann"}
    verified = await tried.verify(issuer.token(realm_access={"roles": ["use"]}, teams="red blue", more=named))
    assert verified is not None
    assert verified.principal.subject == "login:ann"
    assert verified.principal.scopes == {"use"}
    assert verified.principal.groups == {"red", "blue"}


async def test_a_key_that_names_its_signature_is_for_no_other(clock: FakeClock, issuer: Issuer) -> None:
    source = Source(key_set(public(RSA_KEY, "one", alg="RS512")))
    assert await verifier(clock, source, algorithms=["RS256", "RS512"]).verify(issuer.token()) is None
    assert await verifier(clock, source, algorithms=["RS256", "RS512"]).verify(issuer.token(alg="RS512"))


@pytest.mark.parametrize(
    "key",
    [
        public(RSA_KEY, "one", use="enc"),
        public(RSA_KEY, "one", key_ops=["encrypt"]),
        {"kty": "oct", "kid": "one", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "one"},
        {"kty": "RSA", "kid": "one", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": 1, "n": "", "e": ""},
        public(SHORT_RSA_KEY, "one"),
        {**public(RSA_KEY, "one"), "d": "AQAB"},
    ],
)
def test_keys_that_are_passed_over(key: dict[str, object]) -> None:
    kept = read_keys(key_set(key, public(EC_KEY, "ec")), ["RS256", "ES256"])
    assert [one.kid for one in kept] == ["ec"]
    with pytest.raises(ValueError, match="no key can be used"):
        read_keys(key_set(key), ["RS256", "ES256"])


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'{"keys": {}}', b'{"keys": [1]}', b"[" * 100_000, b"\xff"])
def test_what_is_no_key_set(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whatever json says
        read_keys(content, ["RS256"])


async def test_a_token_without_a_key_name_means_the_only_key(clock: FakeClock, issuer: Issuer) -> None:
    one = Source(key_set(public(RSA_KEY, None)))
    assert await verifier(clock, one).verify(issuer.token(kid=None))
    two = Source(key_set(public(RSA_KEY, None), public(OTHER_RSA_KEY, "two")))
    assert await verifier(clock, two).verify(issuer.token(kid=None)) is None


async def test_a_flood_of_unknown_keys_asks_once(clock: FakeClock, issuer: Issuer) -> None:
    source = Source()
    tried = verifier(clock, source)
    assert await tried.verify(issuer.token())
    clock.advance(31)
    for number in range(50):
        assert await tried.verify(issuer.token(kid=f"unknown {number}")) is None
    assert source.asked == 2
    clock.advance(30)
    assert await tried.verify(issuer.token(kid="unknown")) is None
    assert source.asked == 3


async def test_a_new_key_is_found_and_an_old_one_forgotten(clock: FakeClock, issuer: Issuer) -> None:
    source = Source()
    tried = verifier(clock, source)
    assert await tried.verify(issuer.token())
    source.content = key_set(public(OTHER_RSA_KEY, "two"))
    assert await tried.verify(issuer.token(key=OTHER_RSA_KEY, kid="two")) is None
    clock.advance(30)
    assert await tried.verify(issuer.token(key=OTHER_RSA_KEY, kid="two"))
    assert await tried.verify(issuer.token()) is None


async def test_keys_are_fetched_again_when_they_are_old(clock: FakeClock, issuer: Issuer) -> None:
    source = Source()
    tried = verifier(clock, source, keys_seconds=60)
    assert await tried.verify(issuer.token())
    clock.advance(59)
    assert await tried.verify(issuer.token())
    assert source.asked == 1
    clock.advance(1)
    source.content = key_set(public(OTHER_RSA_KEY, "one"))
    assert await tried.verify(issuer.token()) is None


async def test_keys_outlive_a_failure_but_not_for_ever(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    source = Source()
    tried = verifier(clock, source)
    assert await tried.verify(Issuer(clock() // 1_000_000).token())
    source.content = None
    clock.advance(3_600)
    assert await tried.verify(Issuer(clock() // 1_000_000).token())
    assert caplog.messages == ["The authorization server's keys could not be fetched (OSError)."]
    clock.advance(86_400)
    with pytest.raises(KeysUnavailable):
        await tried.verify(Issuer(clock() // 1_000_000).token())


async def test_without_keys_nobody_knows(clock: FakeClock, issuer: Issuer) -> None:
    source = Source()
    source.content = None
    tried = verifier(clock, source)
    for _ in range(5):
        with pytest.raises(KeysUnavailable):
            await tried.verify(issuer.token())
    assert source.asked == 1


async def test_many_at_once_ask_once(clock: FakeClock) -> None:
    source = Source()
    keys = KeySet("", algorithms=["RS256"], keys_seconds=600, clock=clock, fetch=source)
    async with anyio.create_task_group() as tasks:
        for _ in range(20):
            tasks.start_soon(keys.find, "one", "RS256")
    assert source.asked == 1


class SlowSource(Source):
    """Gives its keys when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go = anyio.Event(), anyio.Event()

    async def __call__(self, url: str) -> bytes:
        self.begun.set()
        await self.go.wait()
        return await super().__call__(url)


async def test_keys_are_fetched_to_the_end_though_nobody_waits_any_more(clock: FakeClock) -> None:
    source = SlowSource()
    keys = KeySet("", algorithms=["RS256"], keys_seconds=600, clock=clock, fetch=source)
    async with anyio.create_task_group() as callers:
        for _ in range(3):
            callers.start_soon(keys.find, "one", "RS256")
        await source.begun.wait()
        callers.cancel_scope.cancel()  # ends here, while the fetch goes on
    source.go.set()
    assert await keys.find("one", "RS256")
    assert source.asked == 1


async def test_who_leaves_takes_the_keys_from_nobody(clock: FakeClock) -> None:
    source = SlowSource()
    keys = KeySet("", algorithms=["RS256"], keys_seconds=600, clock=clock, fetch=source)
    found: list[PublicKey | None] = []

    async def find() -> None:
        found.append(await keys.find("one", "RS256"))

    async with anyio.create_task_group() as staying, anyio.create_task_group() as leaving:
        leaving.start_soon(keys.find, "one", "RS256")
        await source.begun.wait()
        staying.start_soon(find)
        await settled()
        leaving.cancel_scope.cancel()
        source.go.set()
    assert [one.kid for one in found if one] == ["one"]
    assert source.asked == 1


async def test_keys_come_over_http(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "TIMEOUT_SECONDS", NET_SECONDS)
    with serving(KEYS) as (url, asked):
        assert await fetch(url) == KEYS
    assert asked == ["/jwks"]
    with serving(b" " * 2_000_000) as (url, _), pytest.raises(ValueError, match="too long"):
        await fetch(url)


async def test_a_token_that_is_too_long_is_not_looked_at(clock: FakeClock, issuer: Issuer) -> None:
    source = Source()
    whole = Verifier(AuthSettings(jwt=setting()), clock, source)
    assert await whole.caller(issuer.token(padding="x" * 8_000)) is None
    assert await whole.caller("é.e.e") is None
    assert await whole.caller("") is None
    assert source.asked == 0
    caller = await whole.caller(issuer.token())
    assert caller is not None
    # The token itself is not kept.
    assert caller.access_token.token == "***"
