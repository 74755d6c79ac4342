"""Alert hooks as they are written in the settings: ``[[alerts]]``."""

from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from tokenward.engine.errors import InvalidInput
from tokenward.hooks import DEFAULT_TIMEOUT_SECONDS, MAX_TIMEOUT_SECONDS, AlertHook


class AlertSetting(BaseModel):
    """One hook: a command or a url. The values of secrets are never written here, only a variable's name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: tuple[str, ...] = Field(default=(), repr=False)
    url: str = Field(default="", repr=False)
    header: str = "Authorization"
    secret_variable: str = ""
    timeout_seconds: float = Field(default=DEFAULT_TIMEOUT_SECONDS, gt=0, le=MAX_TIMEOUT_SECONDS)

    def hook(self) -> AlertHook:
        """The hook. Raises InvalidInput."""
        return AlertHook(
            command=self.command,
            url=self.url,
            header=self.header,
            secret_variable=self.secret_variable,
            timeout_seconds=self.timeout_seconds,
        )


def alert_hooks(settings: Iterable[AlertSetting]) -> tuple[AlertHook, ...]:
    """The hooks.

    Raises:
        InvalidInput: One that cannot be; the field begins with its place, ``alerts[0].url``.
    """
    hooks: list[AlertHook] = []
    for index, one in enumerate(settings):
        try:
            hooks.append(one.hook())
        except InvalidInput as error:
            raise InvalidInput(f"alerts[{index}].{error.field}", error.problem) from None
    return tuple(hooks)
