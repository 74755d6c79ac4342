"""Alerts at 80 and 100 percent of a limit, each once per window over all processes, told beside the requests."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeAlias

import anyio

from tokenward.background import Background, end_tasks
from tokenward.delivery import HookError, deliver
from tokenward.engine.alerting import Alert, alert_json, alerts_of
from tokenward.engine.limits import NOTHING, Amounts, Subjects
from tokenward.engine.quota import Decision
from tokenward.engine.types import Clock, JsonObject
from tokenward.hooks import AlertHook
from tokenward.storage.base import UsageStore

_LOG = logging.getLogger(__name__)

GRACE_SECONDS = 2.0
"""How long the service's end waits for hooks if nothing else is said; then they are killed."""

AT_ONCE = 8
"""Alerts that are told at the same time; others wait, not yet claimed."""

MOST_WAITING = 1_000
"""Alerts and subjects that wait; further ones are left for the next check or recording."""

_MOST_TOLD = 10_000

Ledger: TypeAlias = Callable[[], Awaitable[UsageStore]]


class Alerts:
    """Tells hooks of limits that are nearly or wholly used up. For one event loop.

    An alert is claimed in the ledger before it is told, so that one process tells it once; a hook that fails is not
    tried again.

    Args:
        hooks: What is done; each is told every alert.
        ledger: The store, connected.
        clock: Now, microseconds UTC.
        grace_seconds: How long :meth:`aclose` waits for hooks before they are killed.
    """

    def __init__(
        self, hooks: Sequence[AlertHook], ledger: Ledger, clock: Clock, *, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._hooks = tuple(hooks)
        self._ledger = ledger
        self._clock = clock
        self._grace_seconds = grace_seconds
        self._told: set[tuple[str, str, str, int, int]] = set()
        self._free = asyncio.Semaphore(AT_ONCE)
        self._telling: set[asyncio.Task[None]] = set()
        self._background: Background[Alert | Subjects] = Background("Alerts", self._look, most=MOST_WAITING)

    def checked(self, user: str, requested: Amounts, decision: Decision) -> None:
        """Work was asked about or held: these are its limits now."""
        refused = NOTHING if decision.allowed else requested
        for alert in alerts_of(user, decision.limits, self._clock(), refused=refused):
            if _key(alert) not in self._told:
                self._background.submit(alert)

    def recorded(self, subjects: Subjects) -> None:
        """Usage was recorded: its limits have to be looked at."""
        self._background.submit(subjects)

    async def aclose(self) -> None:
        """Let alerts that are under way be told for a moment; then end their hooks."""
        deadline = anyio.current_time() + self._grace_seconds
        try:
            await self._background.aclose(self._grace_seconds)
        finally:
            await end_tasks(list(self._telling), max(0.0, deadline - anyio.current_time()))

    async def _look(self, one: Alert | Subjects) -> None:
        """Claim an alert, or those that are due for subjects, and have them told."""
        store = await self._ledger()
        if isinstance(one, Alert):
            await self._claim(store, one)
            return
        # The moment is taken first: what a window held at its end is not told of the next one.
        now_us = self._clock()
        for alert in alerts_of(one.user, await store.status(one), now_us):
            await self._claim(store, alert)

    async def _claim(self, store: UsageStore, alert: Alert) -> None:
        key = _key(alert)
        if key in self._told:
            return
        # First a free place, then the claim: what is claimed is told at once.
        await self._free.acquire()
        claimed = False
        try:
            claimed = await store.claim_alert(*key)
        except asyncio.CancelledError:
            _LOG.warning("Alert at %s: the service ended while it was claimed; it may never be told.", _name(alert))
            raise
        finally:
            if not claimed:
                self._free.release()
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told.add(key)
        if claimed:
            telling = self._tell(alert_json(alert, self._clock()))
            task = asyncio.get_running_loop().create_task(telling, name=_name(alert))
            self._telling.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._telling.discard(task)
        self._free.release()
        if task.cancelled():
            _LOG.warning("Alert at %s: ended with the service; it is not told again.", task.get_name())
        elif (error := task.exception()) is not None:
            _LOG.warning("An alert failed (%s).", type(error).__name__)

    async def _tell(self, told: JsonObject) -> None:
        async with anyio.create_task_group() as hooks:
            for hook in self._hooks:
                hooks.start_soon(_tell_one, hook, told)


async def _tell_one(hook: AlertHook, told: JsonObject) -> None:
    try:
        await deliver(hook, told)
    except HookError as error:
        _LOG.warning("Alert hook (%s): %s.", hook.label, error)


def _name(alert: Alert) -> str:
    """How the log calls it."""
    return f"{alert.threshold}% of {alert.limit.label}"


def _key(alert: Alert) -> tuple[str, str, str, int, int]:
    """What is claimed in the ledger."""
    return alert.subject, alert.limit.metric, alert.window, alert.window_start_us, alert.threshold
