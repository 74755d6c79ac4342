"""SyncTokenward: the one asynchronous service for synchronous callers, run by one thread behind a portal."""

import asyncio
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import CancelledError
from contextlib import AbstractAsyncContextManager, AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

from anyio.from_thread import BlockingPortal, start_blocking_portal

from tokenward.reports import Reports
from tokenward.service import Tokenward

_P = ParamSpec("_P")
_T = TypeVar("_T")


def _opening(
    open_service: Callable[_P, AbstractAsyncContextManager[Tokenward]],
) -> "Callable[_P, AbstractContextManager[SyncTokenward]]":
    """The service's own opening, with a thread that runs it."""

    @contextmanager
    @wraps(open_service)
    def opened(*args: _P.args, **kwargs: _P.kwargs) -> "Generator[SyncTokenward]":
        _refuse_to_block_a_loop()
        with (
            start_blocking_portal() as portal,
            portal.wrap_async_context_manager(open_service(*args, **kwargs)) as service,
        ):
            facade = SyncTokenward(service, portal)
            try:
                yield facade
            finally:
                facade.closed = True

    return opened


def _waiting(
    method: Callable[Concatenate[Tokenward, _P], Awaitable[_T]],
) -> "Callable[Concatenate[SyncTokenward, _P], _T]":
    """A method of the service that the calling thread waits for."""

    @wraps(method)
    def call(facade: "SyncTokenward", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return facade.wait_for(partial(method, facade.service, *args, **kwargs))

    return call


def _direct(method: Callable[Concatenate[Tokenward, _P], _T]) -> "Callable[Concatenate[SyncTokenward, _P], _T]":
    """A method of the service that needs no store: it runs in the calling thread."""

    @wraps(method)
    def call(facade: "SyncTokenward", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        return method(facade.service, *args, **kwargs)

    return call


def _reporting(
    method: Callable[Concatenate[Reports, _P], Awaitable[_T]],
) -> "Callable[Concatenate[SyncReports, _P], _T]":
    """A method of the service's reports that the calling thread waits for."""

    @wraps(method)
    def call(reports: "SyncReports", /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        facade = reports.facade
        return facade.wait_for(partial(method, facade.service.reports, *args, **kwargs))

    return call


class SyncReports:
    """:class:`Reports` without ``await``; the attribute ``reports`` of the façade."""

    def __init__(self, facade: "SyncTokenward") -> None:
        self.facade = facade

    usage_report = _reporting(Reports.usage_report)
    breakdown = _reporting(Reports.breakdown)
    predict_cost = _reporting(Reports.predict_cost)
    what_if = _reporting(Reports.what_if)
    replay = _reporting(Reports.replay)


class SyncTokenward:
    """:class:`Tokenward` without ``await``: the same methods, arguments, answers and errors. Threads may share it.

    Made by :meth:`open`, which takes what ``Tokenward.open`` takes: ``with SyncTokenward.open(url) as service: …``.

    Attributes:
        service: What does the work, in a thread of its own. Its ``counter``, ``calculator``, ``optimizer`` and
            ``clock`` can be used from any thread.
        reports: Reports and predictions.
        closed: The ``with`` block has ended.

    Raises (every method that asks the ledger):
        RuntimeError: It is closed, or the calling thread runs an event loop, which waiting would stop.
    """

    def __init__(self, service: Tokenward, portal: BlockingPortal) -> None:
        self.service = service
        self.reports = SyncReports(self)
        self.closed = False
        self._portal = portal

    def wait_for(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Run ``work`` in the service's thread and wait for it."""
        _refuse_to_block_a_loop()
        if self.closed:
            raise RuntimeError(_CLOSED)
        try:
            return self._portal.call(work)
        except CancelledError:
            raise RuntimeError(_CLOSED) from None

    open = staticmethod(_opening(Tokenward.open))
    count_messages = _direct(Tokenward.count_messages)
    estimate_cost = _direct(Tokenward.estimate_cost)
    get_performance_metrics = _direct(Tokenward.get_performance_metrics)
    count_texts = _waiting(Tokenward.count_texts)
    count_request = _waiting(Tokenward.count_request)
    compress_messages = _waiting(Tokenward.compress_messages)
    plan_context = _waiting(Tokenward.plan_context)
    check_quota = _waiting(Tokenward.check_quota)
    quota_status = _waiting(Tokenward.quota_status)
    record_usage = _waiting(Tokenward.record_usage)
    record_many = _waiting(Tokenward.record_many)
    learned = _waiting(Tokenward.learned)
    release_quota = _waiting(Tokenward.release_quota)
    extend_quota = _waiting(Tokenward.extend_quota)
    open_budget = _waiting(Tokenward.open_budget)
    close_budget = _waiting(Tokenward.close_budget)
    budget = _waiting(Tokenward.budget)
    usage_report = _waiting(Tokenward.usage_report)
    set_limit = _waiting(Tokenward.set_limit)
    delete_limit = _waiting(Tokenward.delete_limit)
    limits = _waiting(Tokenward.limits)


_CLOSED = "This service is closed: its with block has ended. Open a new one."


def _refuse_to_block_a_loop() -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    raise RuntimeError(
        "SyncTokenward would block the event loop that runs in this thread. Use Tokenward and await it, or call from "
        "another thread."
    )
