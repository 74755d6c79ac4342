"""The command line. Commands are imported when they are asked for, so that ``tokenward serve`` starts fast.

Exit codes: 0 done, 1 error, 2 wrong usage, 3 quota exceeded, 130 interrupted.
"""

import errno
import logging
import sys
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

import click

from tokenward.engine.errors import TokenwardError
from tokenward.server.commands.output import guarded_output
from tokenward.server.commands.session import Refused, Session, refusal

_LOG = logging.getLogger(__name__)

_LOG_LEVELS = ("debug", "info", "warning", "error", "critical")

_MODULES = {
    "serve": "serve",
    "count": "count",
    "cost": "cost",
    "models": "models",
    "prices": "prices",
    "quota": "quota",
    "budget": "budget",
    "report": "report",
    "predict": "predict",
    "what-if": "judgements",
    "replay": "judgements",
    "record": "record",
    "statusline": "statusline",
    "db": "db",
    "token": "token",
    "doctor": "doctor",
}
"""Which module of tokenward.server.commands holds a command."""


class Commands(click.Group):
    """The group: finds commands lazily, and is the one place where errors become exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the help."""
        return [*super().list_commands(ctx), *_MODULES]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name, imported now."""
        if cmd_name not in _MODULES:
            return super().get_command(ctx, cmd_name)
        command = getattr(import_module(f"tokenward.server.commands.{_MODULES[cmd_name]}"), cmd_name.replace("-", "_"))
        return command if isinstance(command, click.Command) else None

    def invoke(self, ctx: click.Context) -> object:
        """Run the command; say what went wrong in one or two lines on standard error, without a traceback."""
        try:
            return super().invoke(ctx)
        except TokenwardError as error:
            raise refusal(error) from error
        except KeyboardInterrupt:
            click.echo(err=True)
            raise click.exceptions.Exit(130) from None
        except (click.exceptions.Exit, click.exceptions.Abort, click.ClickException):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            _LOG.debug("Unexpected error", exc_info=True)
            message = f"Internal error ({type(error).__name__}). Run with --log-level debug to see where."
            raise Refused(message) from error


def _print_version(ctx: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from tokenward.server.version import package_version  # noqa: PLC0415 - only for this

        click.echo(f"tokenward {package_version()}")
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings file (TOML).")
@click.option("--store", metavar="URL", help="The ledger: sqlite:///FILE, postgresql://… or memory://.")
@click.option("--user", metavar="NAME", help="Who the tokens belong to.")
@click.option("--log-level", type=click.Choice(_LOG_LEVELS, case_sensitive=False))
@click.pass_context
def cli(ctx: click.Context, config: Path | None, store: str | None, user: str | None, log_level: str | None) -> None:
    """Count, price, budget and report the tokens of AI agents.

    Settings come from the options here, else from TOKENWARD_… variables, else from the settings file.
    """
    ctx.obj = Session(config=config, store=store, user=user, log_level=log_level)


def main() -> None:
    """The console script."""
    for stream in (sys.stdout, sys.stderr):
        # A code page without a character shows a substitute instead of failing.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")
    output: TextIO | None = sys.stdout
    if output is None:
        click.echo("Error: The output cannot be written (standard output is closed).", err=True)
        sys.exit(1)
    sys.stdout = guarded_output(output)
    cli(prog_name="tokenward")
