"""What watches the ledger's work from beside it: alerts on limits, and burn rates far above a user's own usual."""

from collections.abc import Iterable, Sequence
from functools import partial

import anyio.to_thread

from tokenward.alerts import GRACE_SECONDS, Alerts, Ledger
from tokenward.background import Background
from tokenward.engine.limits import Amounts, Subjects
from tokenward.engine.quota import Decision
from tokenward.engine.reports.anomalies import history_start_us, quarters_of, running_anomalies
from tokenward.engine.types import MINUTE_US, QUARTER_HOUR_US, Clock
from tokenward.engine.usage import UsageQuery
from tokenward.hooks import AlertHook

FRESH_US = 5 * MINUTE_US
"""How long what is known of a user's burn rate is used before the ledger is asked again."""

MOST_REMEMBERED = 1_000
"""Users whose burn rate is remembered, and who may wait for it: those that asked first are forgotten first."""


class BurnRates:
    """Warns of users who use far more than they usually do. Never waits: it knows what it read some minutes before.

    Args:
        ledger: The store, connected.
        clock: Now, microseconds UTC.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._known: dict[str, tuple[int, tuple[str, ...]]] = {}
        self._background: Background[str] = Background("Burn rates", self._read, most=MOST_REMEMBERED)

    def warnings(self, user: str) -> tuple[str, ...]:
        """What is unusual about a user, as it was read last; it is read again soon if that is some minutes ago."""
        read_us, found = self._known.get(user, (None, ()))
        if read_us is None or not 0 <= self._clock() - read_us < FRESH_US:
            self._background.submit(user)
        return found

    async def aclose(self) -> None:
        """End what is under way."""
        await self._background.aclose()

    async def _read(self, user: str) -> None:
        now_us = self._clock()
        # Until it is known, and if it fails, nobody asks again for a while.
        self._remember(user, now_us, self._known.get(user, (0, ()))[1])
        # Whole quarters of an hour are read from the rollup alone.
        end_us = (now_us // QUARTER_HOUR_US + 1) * QUARTER_HOUR_US
        query = UsageQuery(history_start_us(now_us), end_us, "quarter_hour", user)
        sums = await (await self._ledger()).usage(query)
        judged = await anyio.to_thread.run_sync(partial(running_anomalies, user, quarters_of(sums), now_us))
        self._remember(user, now_us, tuple(f"Unusual: {one.warning}." for one in judged))

    def _remember(self, user: str, read_us: int, found: tuple[str, ...]) -> None:
        self._known.pop(user, None)
        if len(self._known) >= MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[user] = (read_us, found)


class Watch:
    """Is told by the tracker what happens, and looks at it in its own time.

    Args:
        ledger: The store, connected.
        clock: Now, microseconds UTC.
        hooks: What is done at 80 and 100 percent of a limit.
        anomalies: Warn of unusual burn rates.
        grace_seconds: How long :meth:`aclose` waits for hooks.
    """

    def __init__(
        self,
        ledger: Ledger,
        clock: Clock,
        *,
        hooks: Sequence[AlertHook] = (),
        anomalies: bool = True,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._alerts = Alerts(hooks, ledger, clock, grace_seconds=grace_seconds) if hooks else None
        self._burn_rates = BurnRates(ledger, clock) if anomalies else None

    def checked(self, user: str, requested: Amounts, decision: Decision) -> tuple[str, ...]:
        """Work was asked about or held; returns what else the caller should know."""
        if self._alerts is not None:
            self._alerts.checked(user, requested, decision)
        return () if self._burn_rates is None else self._burn_rates.warnings(user)

    def recorded(self, subjects: Iterable[Subjects]) -> None:
        """Usage was recorded."""
        if self._alerts is not None:
            for one in subjects:
                self._alerts.recorded(one)

    async def aclose(self) -> None:
        """End what is under way; hooks have a moment for it."""
        try:
            if self._burn_rates is not None:
                await self._burn_rates.aclose()
        finally:
            if self._alerts is not None:
                await self._alerts.aclose()
