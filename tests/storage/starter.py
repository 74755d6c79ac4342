"""A process that opens a store and says how many limits it has: ``starter.py URL``."""

import sys

import anyio

from tokenward.storage.factory import open_store


async def main(url: str) -> None:
    async with open_store(url) as store:
        print(len(await store.limits()))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
