"""Operations that ask to be the first: what is given to one is refused to all others, over all processes."""

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class ClaimAlert:
    """Ask to be the one who tells that a subject's metric has reached ``percent`` of its limit in this window."""

    subject: str
    metric: str
    window: str
    window_start_us: int
    percent: int


@dataclass(frozen=True, slots=True)
class ClaimSession:
    """Ask whether a session is the user's: the first user who claims it has it, and whoever has its budget."""

    user: str
    session: str


Claim: TypeAlias = ClaimAlert | ClaimSession
