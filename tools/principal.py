"""Who is asking, and what that allows: nobody reads or spends as somebody else."""

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from tokenward.engine.errors import Forbidden, InvalidInput, shown

Scope: TypeAlias = Literal["use", "report", "admin"]
"""``use`` counts, checks and records; ``report`` reads one's own reports; ``admin`` does all, for everybody."""

SCOPES: tuple[Scope, ...] = get_args(Scope)


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who has shown a token.

    Attributes:
        subject: The user whose quota it is.
        scopes: What the token allows; ``admin`` implies the others.
        groups: The groups that the user may name.
    """

    subject: str
    scopes: frozenset[Scope]
    groups: frozenset[str] = frozenset()

    def has(self, scope: Scope) -> bool:
        """Whether the token allows it."""
        return scope in self.scopes or "admin" in self.scopes

    def require(self, scope: Scope, what: str = "this") -> None:
        """Let pass whoever has the scope; ``what`` was asked for. Raises Forbidden."""
        if not self.has(scope):
            raise Forbidden(what, scope)

    @property
    def owner(self) -> str | None:
        """Whose reservations may be ended: the subject's; ``None``, with ``admin``, is anybody's."""
        return None if self.has("admin") else self.subject

    def user(self, named: str | None) -> str:
        """Whose tokens they are: the subject's, or with ``admin`` anybody's. Raises Forbidden."""
        if named is None or named == self.subject:
            return self.subject
        self.require("admin", "naming another user")
        return named

    def group(self, named: str | None) -> str | None:
        """The group that counts: one of the subject's own, or with ``admin`` any.

        Whoever belongs to one group need not name it, and cannot leave its limits by not naming it.

        Raises:
            Forbidden: It is a group of others.
            InvalidInput: The subject belongs to several and names none.
        """
        if named:
            if named not in self.groups:
                self.require("admin", "naming a group that is not the token's")
            return named
        if len(self.groups) > 1 and not self.has("admin"):
            names = ", ".join(shown(one) for one in sorted(self.groups))
            raise InvalidInput("group", f"this token belongs to several groups; name one of {names}.")
        return next(iter(self.groups)) if len(self.groups) == 1 else None
