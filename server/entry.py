"""The console script: a status line the short way, every other command with the whole command line."""

import sys


def main() -> None:
    """Run ``tokenward``."""
    arguments = sys.argv[1:]
    if arguments[-1:] == ["statusline"]:
        from tokenward.server.statusline import print_quickly  # noqa: PLC0415 - other commands do without

        if print_quickly(arguments):
            return
    from tokenward.server.cli import main as whole  # noqa: PLC0415 - heavy

    whole()
