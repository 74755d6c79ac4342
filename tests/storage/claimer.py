"""A process that claims alerts as fast as it can: ``claimer URL USERS``. Prints what it got, and the cursors' key.

It claims the alert of each user from as many tasks as there are users, all at once.
"""

import sys

import anyio

from tests.storage.processes import patient_store
from tokenward.storage.base import UsageStore


async def claim(store: UsageStore, user: int, found: list[int]) -> None:
    if await store.claim_alert(f"user:u{user}", "cost", "day", 0, 80):
        found.append(user)


async def main(url: str, users: int) -> None:
    found: list[int] = []
    async with patient_store(url) as store:
        async with anyio.create_task_group() as group:
            for user in range(users):
                group.start_soon(claim, store, user, found)
                group.start_soon(claim, store, users - 1 - user, found)
        key = await store.cursor_key()
    print(key.hex(), *found)


if __name__ == "__main__":
    anyio.run(main, sys.argv[1], int(sys.argv[2]))
