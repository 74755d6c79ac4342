"""The settings of authentication, table ``[auth]``. Tokens themselves are never written here, only their hashes."""

from typing import Annotated, Literal, TypeAlias

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import check_name
from tokenward.providers.urls import check_address
from tokenward.tools.principal import Scope

Algorithm: TypeAlias = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
"""Signatures with a public key only: with a shared key, whoever can check a token could make one."""

_CLAIM = Field(min_length=1, max_length=200)


class TokenSetting(BaseModel):
    """One bearer token, as ``tokenward token create`` prints it.

    Attributes:
        hash: ``sha256:`` and the token's SHA-256 in hexadecimal digits.
        subject: Whose token it is: the user of quotas and reports.
        scopes: What it allows.
        groups: The groups that the user may name.
        expires: When it ends to be valid.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    hash: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", repr=False)]
    subject: str
    scopes: tuple[Scope, ...] = ("use", "report")
    groups: tuple[str, ...] = ()
    expires: AwareDatetime | None = None

    def check(self) -> None:
        """Raises InvalidInput for names that cannot be."""
        check_name("subject", self.subject)
        for name in self.groups:
            check_name("groups", name)
        if not self.scopes:
            raise InvalidInput("scopes", "a token without a scope allows nothing; give use, report or admin.")


class JwtSetting(BaseModel):
    """Tokens of an OAuth authorization server: signed JWTs, checked with its public keys.

    Attributes:
        issuer: The claim ``iss`` that is accepted.
        audience: The claim ``aud`` that is accepted: the name that the authorization server has for this server.
        jwks_url: Where its keys are; ``https``, or ``http`` on this machine.
        resource_url: The address of ``/mcp`` as clients know it, for the OAuth metadata; empty is the audience.
        algorithms: The signatures that are accepted.
        scopes_claim: The claim that holds the scopes, as a list or as a text with spaces.
        scopes: What the authorization server's scopes are called here; others allow nothing.
        subject_claim: The claim that holds the user.
        groups_claim: The claim that holds the groups, as a list or as a text with spaces.
        subject_prefix: Is put before every subject, so that it is nobody that another issuer or a token names.
        leeway_seconds: How far the clocks may differ.
        keys_seconds: How long fetched keys are used.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    issuer: Annotated[str, Field(min_length=1, max_length=2000)]
    audience: Annotated[str, Field(min_length=1, max_length=2000)]
    jwks_url: str
    resource_url: str = ""
    algorithms: Annotated[tuple[Algorithm, ...], Field(min_length=1)] = ("RS256", "ES256")
    scopes_claim: Annotated[str, _CLAIM] = "scope"
    scopes: dict[str, Scope] = {"use": "use", "report": "report", "admin": "admin"}
    subject_claim: Annotated[str, _CLAIM] = "sub"
    groups_claim: Annotated[str, _CLAIM] = "groups"
    subject_prefix: Annotated[str, Field(max_length=100)] = ""
    leeway_seconds: Annotated[int, Field(ge=0, le=600)] = 30
    keys_seconds: Annotated[int, Field(ge=60, le=86_400)] = 600

    @property
    def resource(self) -> str:
        """The address of ``/mcp`` as clients know it; empty where nothing says it."""
        if self.resource_url:
            return self.resource_url
        return self.audience if self.audience.startswith(("https://", "http://")) else ""

    def check(self) -> None:
        """Raises InvalidInput for addresses over which others could slip in their keys, or that cannot be told."""
        from tokenward.server.auth.addresses import check_told  # noqa: PLC0415 - for a URL's model, which few need

        check_address("jwks_url", self.jwks_url, query=True)
        check_told("issuer", self.issuer)
        if self.resource_url:
            check_told("resource_url", self.resource_url)
        elif self.resource:
            try:
                check_told("audience", self.resource)
            except InvalidInput as error:
                problem = f"{error.problem} If that is its name all the same, set resource_url as well."
                raise InvalidInput(error.field, problem) from None


class AuthSettings(BaseModel):
    """Who may ask.

    Attributes:
        tokens: The tokens that are accepted.
        jwt: The authorization server whose tokens are accepted.
        requests_per_minute: How many requests each subject has a minute; all of them may come at once. 0 is no bound.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    tokens: tuple[TokenSetting, ...] = ()
    jwt: JwtSetting | None = None
    requests_per_minute: Annotated[int, Field(ge=0, le=100_000_000)] = 60_000

    @property
    def enabled(self) -> bool:
        """Whether anybody can authenticate. Where nobody can, nobody has to."""
        return bool(self.tokens) or self.jwt is not None

    def check(self, *, written: bool = False) -> None:
        """Raises InvalidInput for what cannot be used; the field begins with its place, ``auth.tokens[0].subject``.

        Args:
            written: The table is there. Whoever writes one means that not everybody may come in.
        """
        if written and not self.enabled:
            raise InvalidInput(
                "auth",
                "names nobody who may come in; add what 'tokenward token create NAME' prints ([[auth.tokens]]) or an "
                "authorization server ([auth.jwt]), or take [auth] out.",
            )
        seen: set[str] = set()
        for index, one in enumerate(self.tokens):
            place = f"auth.tokens[{index}]"
            try:
                one.check()
            except InvalidInput as error:
                raise InvalidInput(f"{place}.{error.field}", error.problem) from None
            if one.hash in seen:
                raise InvalidInput(f"{place}.hash", "the token is listed a second time; keep one of them.")
            seen.add(one.hash)
        if self.jwt is not None:
            try:
                self.jwt.check()
            except InvalidInput as error:
                raise InvalidInput(f"auth.jwt.{error.field}", error.problem) from None
