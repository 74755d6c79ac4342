"""``tokenward token``: bearer tokens for the HTTP door."""

import json
from datetime import UTC, datetime, timedelta

import click

from tokenward.engine.errors import InvalidInput, shown
from tokenward.engine.limits import check_name
from tokenward.server.auth.settings import TokenSetting
from tokenward.server.commands.session import Session, json_option, pass_session
from tokenward.tools.principal import SCOPES, Scope

_MOST_DAYS = 36_500


@click.group()
def token() -> None:
    """Make bearer tokens for callers over HTTP. The settings hold their hashes only."""


@token.command("create")
@click.argument("subject", required=False)
@click.option(
    "--scope", "scopes", type=click.Choice(SCOPES), multiple=True, help="What it allows; by default use and report."
)
@click.option("--group", "groups", multiple=True, metavar="NAME", help="A group whose limits bind the subject.")
@click.option("--days", type=click.IntRange(1, _MOST_DAYS), help="How long it is valid; by default without an end.")
@json_option
@pass_session
def create(
    session: Session,
    *,
    subject: str | None,
    scopes: tuple[Scope, ...],
    groups: tuple[str, ...],
    days: int | None,
    as_json: bool,
) -> None:
    """Make a token for SUBJECT, the user of quotas and reports; by default for the user of the settings.

    The token is shown this once. What is to be added to the settings file is printed with it.

    \b
    Examples:
      tokenward token create alice
      tokenward token create orchestrator --scope admin --days 90
    """  # noqa: D301 - click reads the character
    from tokenward.server.auth.tokens import hash_of, new_token  # noqa: PLC0415 - only for this

    clear = new_token()
    setting = TokenSetting(
        hash=hash_of(clear),
        subject=_subject(session.settings().user if subject is None else subject),
        scopes=scopes or ("use", "report"),
        groups=tuple(check_name("--group", one) for one in groups),
        expires=None if days is None else datetime.now(UTC).replace(microsecond=0) + timedelta(days=days),
    )
    lines = config_lines(setting)
    if as_json:
        made = {"token": clear, "hash": setting.hash, "subject": setting.subject, "config": lines}
        click.echo(json.dumps(made, separators=(",", ":")))
        return
    click.echo(f"Token, shown this once; whoever has it is {shown(setting.subject)}:\n\n{clear}\n")
    click.echo(f"For the settings file:\n\n{lines}", nl=False)


def config_lines(setting: TokenSetting) -> str:
    """A token as the settings file holds it."""

    def text(value: object) -> str:
        return json.dumps(value, ensure_ascii=False)  # what can be printed is written in TOML as in JSON

    lines = [
        "[[auth.tokens]]",
        f"hash = {text(setting.hash)}",
        f"subject = {text(setting.subject)}",
        f"scopes = {text(list(setting.scopes))}",
    ]
    if setting.groups:
        lines.append(f"groups = {text(list(setting.groups))}")
    if setting.expires is not None:
        lines.append(f"expires = {setting.expires.isoformat()}")
    return "\n".join(lines) + "\n"


def _subject(name: str) -> str:
    try:
        return check_name("SUBJECT", name)
    except InvalidInput as error:
        raise click.UsageError(str(error)) from None
