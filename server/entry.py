"""The console script: a status line the short way, every other command with the whole command line."""

import sys


def main() -> None:
    """Run ``tokenward``."""
    try:
        _run()
    except KeyboardInterrupt:
        sys.exit(130)


def _run() -> None:
    arguments = sys.argv[1:]
    if arguments[-1:] == ["statusline"]:
        from tokenward.server.statusline import print_quickly  # noqa: PLC0415 - other commands do without

        if print_quickly(arguments):
            return
    if _command(arguments) == "serve":
        from tokenward.server.ending import end_when_told  # noqa: PLC0415 - for a server alone

        end_when_told()
    from tokenward.server.cli import main as whole  # noqa: PLC0415 - heavy

    whole()


def _command(arguments: list[str]) -> str | None:
    """The first word that is neither an option nor its value."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return word
        if word.startswith("--") and "=" not in word:
            next(words, None)
    return None
