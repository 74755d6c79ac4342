"""``python -m tokenward``: the command line."""

from tokenward.server.cli import main

if __name__ == "__main__":
    main()
