"""A process that opens a store and says how many limits it has: ``starter URL``."""

import sys

import anyio

from tests.storage.processes import patient_store


async def main(url: str) -> None:
    async with patient_store(url) as store:
        print(len(await store.limits()))


if __name__ == "__main__":
    anyio.run(main, sys.argv[1])
