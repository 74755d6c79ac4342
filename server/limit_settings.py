"""Limits as they are written in the settings."""

from pydantic import BaseModel, ConfigDict, field_validator

from tokenward.engine.errors import InvalidInput
from tokenward.engine.limits import Metric, TokenLimit, counted_in
from tokenward.engine.money import nano
from tokenward.engine.windows import Mode, Window


class LimitSetting(BaseModel):
    """One limit as it is written: tokens and requests as integers, costs in USD as text (``"2.50"``)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: str
    metric: Metric = "tokens"
    window: Window
    limit: int | str
    mode: Mode | None = None
    timezone: str | None = None

    @field_validator("limit", mode="before")
    @classmethod
    def _no_binary_float(cls, value: object) -> object:
        if isinstance(value, bool) or not isinstance(value, int | str):
            # pydantic wants a ValueError here.
            raise ValueError("expected an integer, or for a cost a text such as '2.50'")  # noqa: TRY004
        return value

    def token_limit(self, timezone: str) -> TokenLimit:
        """The limit in the engine's units; ``timezone`` is the zone of a calendar window that names none."""
        mode, zone = counted_in(self.window, self.mode, self.timezone, timezone)
        return TokenLimit(
            subject=self.subject,
            metric=self.metric,
            window=self.window,
            limit=self._amount(),
            mode=mode,
            timezone=zone,
        )

    def _amount(self) -> int:
        if self.metric == "cost":
            return nano(str(self.limit))
        if isinstance(self.limit, int):
            return self.limit
        raise InvalidInput("limit", f"expected an integer for {self.metric}; only costs are written as text.")
