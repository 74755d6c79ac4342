"""``python -m tokenward``: the command line."""

from tokenward.server.entry import main

if __name__ == "__main__":
    main()
