"""A process that holds a SQLite file's write lock until its input ends: ``locker.py FILE``."""

import sqlite3
import sys
from contextlib import closing

if __name__ == "__main__":
    with closing(sqlite3.connect(sys.argv[1], isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        print("locked", flush=True)
        sys.stdin.read()
        connection.execute("ROLLBACK")
