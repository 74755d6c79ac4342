"""An orchestrator that gives each of its agents a limit, watches them, and takes the limits back.

    tokenward --config auth.toml serve --transport http
    TOKENWARD_TOKEN=… python orchestrator.py

The agents work meanwhile over /mcp, each with a token of its own: check_quota, record_usage.
"""

import os
from collections.abc import Generator, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx2

URL = os.environ.get("TOKENWARD_URL", "http://127.0.0.1:8484")
TOKEN = os.environ["TOKENWARD_TOKEN"]
AGENTS = {"researcher": 200_000, "writer": 50_000}
"""Tokens that each agent may use a day."""


class Limits:
    """The admin API, as far as an orchestrator needs it."""

    def __init__(self, client: httpx2.Client) -> None:
        self._client = client

    def _ask(self, method: str, path: str, **given: Any) -> dict[str, Any]:
        response = self._client.request(method, path, **given)
        if response.is_error:
            # problem+json says what is wrong and which field is to blame.
            raise RuntimeError(response.json()["detail"])
        return dict(response.json())

    @contextmanager
    def limit(self, subject: str, metric: str, window: str, amount: int | str) -> Generator[None]:
        """A limit that stands until the end of the block. Setting one again is no error: PUT replaces."""
        name = {"subject": subject, "metric": metric, "window": window}
        self._ask("PUT", "/admin/limits", json={**name, "limit": amount})
        try:
            yield
        finally:
            self._ask("DELETE", "/admin/limits", params=name)

    def left(self, user: str) -> Mapping[str, int | str]:
        """What is left of each limit that applies to a user."""
        limits = self._ask("GET", "/admin/quota", params={"user": user})["limits"]
        return {f"{one['scope']} {one['metric']} per {one['window']}": one["remaining"] for one in limits}

    def used(self, period: str) -> Iterator[tuple[str, int, str]]:
        """User, tokens and cost in USD of everybody, page by page."""
        cursor: dict[str, str] = {}
        while True:
            page = self._ask("GET", "/admin/usage", params={"period": period, "rows": "500", **cursor})
            yield from ((row["key"], row["total_tokens"], row["cost"]) for row in page["rows"])
            if page["next_cursor"] is None:
                return
            cursor = {"cursor": page["next_cursor"]}


def main() -> None:
    with httpx2.Client(base_url=URL, headers={"Authorization": f"Bearer {TOKEN}"}) as client, ExitStack() as standing:
        limits = Limits(client)
        standing.enter_context(limits.limit("global", "cost", "month", "500.00"))
        for agent, tokens in AGENTS.items():
            standing.enter_context(limits.limit(f"user:{agent}", "tokens", "day", tokens))
        for agent in AGENTS:
            print(agent, "may use", dict(limits.left(agent)))

        # ... start the agents here, and wait for them.
        for user, tokens, cost in limits.used("today"):
            print(user, "used", tokens, "tokens for", cost, "USD")


if __name__ == "__main__":
    main()
