"""The opt-in update of prices: checked, and put in place as a whole or not at all.

What was in force is kept beside the new file, and comes back by :meth:`PriceFile.revert`.
"""

import json
import os
import tempfile
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final

from tokenward.engine.datafiles import read_json, text_at
from tokenward.engine.errors import ConfigurationError, InvalidInput, PricesRefused, shown
from tokenward.engine.prices.check import LARGEST_FACTOR, PriceChanges, check_prices, compare_prices
from tokenward.engine.prices.data import (
    MAX_PRICE_FILE_BYTES,
    UNKNOWN_DATE,
    PriceData,
    age_days,
    bundled_prices,
    checksum,
    is_newer,
    price_data_of,
    prices_in_force,
    read_price_file,
)
from tokenward.engine.types import SECOND_US, Clock, JsonObject, JsonValue, system_clock

_LEFT_OVER_US: Final = 3_600 * SECOND_US
"""A temporary file of this age belongs to an update that was killed."""

_TEMPORARY: Final = ".prices-"


@dataclass(frozen=True, slots=True)
class PriceFileStatus:
    """Which prices are in force.

    Attributes:
        source: What they are.
        date: The day of their state (ISO 8601), or ``"unknown"``.
        age_days: Days since then; ``None`` when the day is not known.
        file: Where an update is kept.
        file_date: The day of the state of the file there; empty if there is none that can be used.
        previous_date: The day of the state of the file before, which a revert brings back; empty if there is none.
        fetched_from: Where the prices in force came from; empty for those that are bundled.
        warning: Why a file that is there is not in force; empty if all is well.
    """

    source: str
    date: str
    age_days: int | None
    file: Path
    file_date: str
    previous_date: str
    fetched_from: str
    warning: str


@dataclass(frozen=True, slots=True)
class PriceUpdate:
    """What an update changed, and what is in force since."""

    changes: PriceChanges
    status: PriceFileStatus


class PriceFile:
    """The file of updated prices. Processes may use it at the same time; none ever sees a part of a file.

    Args:
        file: Where it is.
        clock: Now, microseconds UTC.
    """

    def __init__(self, file: Path, *, clock: Clock = system_clock) -> None:
        self._file = Path(os.path.realpath(file))
        self._previous = self._file.with_name(f"{self._file.stem}.previous{self._file.suffix}")
        self._clock = clock

    def status(self) -> PriceFileStatus:
        """Which prices are in force."""
        data = prices_in_force(self._file)
        return PriceFileStatus(
            source=data.source,
            date=data.date,
            age_days=age_days(data.date, self._clock()),
            file=self._file,
            file_date=_head(self._file).get("date", ""),
            previous_date=_head(self._previous).get("date", ""),
            fetched_from=data.fetched_from,
            warning=data.warning,
        )

    def update(self, content: bytes, fetched_from: str, *, day: str | None = None, force: bool = False) -> PriceUpdate:
        """Check price data and put it in place of what is in force, which is kept beside it.

        Args:
            content: genai-prices' published array, or a whole price file of another machine.
            fetched_from: Where it is from, to be remembered.
            day: The day of its state (ISO 8601); today if not given. A price file has its own.
            force: Take prices of well-known models that change by more than a factor of 10.

        Raises:
            PricesRefused: The data is wrong, incomplete or not newer than what is in force, or cannot be written.
            InvalidInput: ``day`` is not a day, or one to come.
        """
        now = self._now()
        document = _document(content, fetched_from, _checked_day(day or now.date().isoformat()), now)
        before, after = prices_in_force(self._file), _parsed(document)
        _check_days(after.date, before.date, now.date())
        check_prices(after.providers, before.providers, now.date())
        if not is_newer(after, bundled_prices()):
            raise PricesRefused(f"The data of {after.date} is not newer than what is bundled with tokenward.")
        changes = compare_prices(before.providers, after.providers)
        if changes.drastic and not force:
            raise PricesRefused(_drastic(changes))
        self._put(document)
        return PriceUpdate(changes, self.status())

    def revert(self) -> PriceFileStatus:
        """Go back to the file before, or to what is bundled where there is none.

        Raises:
            PricesRefused: There is no updated price file, or it cannot be replaced.
        """
        try:
            if _head(self._previous):
                self._previous.replace(self._file)
            else:
                self._file.unlink()
            _sync_folder(self._file.parent)
        except FileNotFoundError:
            raise PricesRefused("There is no updated price file; the bundled prices are in force.") from None
        except OSError as error:
            raise _unwritable(error) from None
        return self.status()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock() / SECOND_US, UTC)

    def _put(self, document: JsonObject) -> None:
        """Write the file as a whole, the old one kept."""
        folder = self._file.parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._clear(folder)
            with _written(folder, json.dumps(document, separators=(",", ":")).encode()) as new:
                self._keep_old(folder, str(document["sha256"]))
                new.replace(self._file)
            _sync_folder(folder)
        except OSError as error:
            raise _unwritable(error) from None

    def _keep_old(self, folder: Path, digest: str) -> None:
        """Put the file in force beside it, if it can be used and holds other prices than those to come."""
        if _head(self._file).get("sha256", digest) != digest:
            with _written(folder, self._file.read_bytes()) as copy:
                copy.replace(self._previous)

    def _clear(self, folder: Path) -> None:
        """Remove what updates left behind that were killed; what one leaves that is under way is younger."""
        oldest_ns = (self._clock() - _LEFT_OVER_US) * 1_000
        for one in folder.glob(f"{_TEMPORARY}*"):
            with suppress(OSError):
                if one.stat().st_mtime_ns < oldest_ns:
                    one.unlink()


def update_url() -> str:
    """Where genai-prices publishes its data."""
    return text_at(read_json("prices.json"), "update_url")


# What is taken over ---------------------------------------------------------------------------------------------------


def _document(content: bytes, fetched_from: str, day: str, now: datetime) -> JsonObject:
    """The price file for what was fetched. What is a price file already keeps its name and day."""
    if len(content) > MAX_PRICE_FILE_BYTES:
        raise PricesRefused(f"It has more than {MAX_PRICE_FILE_BYTES:,} bytes.")
    try:
        found: JsonValue = json.loads(content)
        given: JsonObject = found if isinstance(found, dict) else {"providers": found, "date": day}
        providers, digest = given.get("providers"), checksum(given.get("providers"))
    except (ValueError, RecursionError):
        page = " but a web page" if content.lstrip()[:1] == b"<" else ", or not all of it"
        raise PricesRefused(f"It is not JSON{page}.") from None
    if not isinstance(providers, list) or given.get("sha256", digest) != digest:
        raise PricesRefused("It is not genai-prices' array of providers, nor an undamaged price file.")
    day = _checked_day(str(given.get("date")))
    return {
        "source": f"genai-prices update {day}",
        "from": fetched_from,
        "fetched": now.isoformat(timespec="seconds"),
        "date": day,
        "sha256": digest,
        "providers": providers,
    }


def _checked_day(day: str) -> str:
    try:
        return date.fromisoformat(day).isoformat()
    except ValueError:
        raise InvalidInput("date", f"{shown(day)} is not a day; give one such as 2026-11-22.") from None


def _parsed(document: JsonObject) -> PriceData:
    try:
        return price_data_of(document)
    except ValueError:
        raise PricesRefused(
            "It does not have the form of genai-prices' data, or has that of a version yet unknown."
        ) from None


def _check_days(day: str, in_force: str, today: date) -> None:
    if day > today.isoformat():
        raise InvalidInput("date", f"{day} is a day to come; give the day of the data's state.")
    if in_force != UNKNOWN_DATE and day < in_force:
        raise PricesRefused(f"The data is of {day}, and what is in force of {in_force}.")


def _drastic(changes: PriceChanges) -> str:
    one = changes.drastic[0]
    return (
        f"Prices of well-known models change by more than a factor of {LARGEST_FACTOR} ({len(changes.drastic)}), such "
        f"as {one.price} of {one.provider}/{one.model} from {one.before} to {one.after}. If that is right, force "
        "the update."
    )


# Files ----------------------------------------------------------------------------------------------------------------


def _head(file: Path) -> dict[str, str]:
    """What a price file says of itself; empty if there is none that can be used."""
    try:
        document = read_price_file(file)
    except ConfigurationError:
        return {}
    return {key: value for key, value in document.items() if isinstance(value, str)}


@contextmanager
def _written(folder: Path, content: bytes) -> Generator[Path]:
    """A new file with a content that is on the disk; gone at the end of the block, unless it is given a name."""
    descriptor, name = tempfile.mkstemp(prefix=_TEMPORARY, dir=folder)
    file = Path(name)
    try:
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor
            opened.write(content)
            opened.flush()
            os.fsync(descriptor)
        file.chmod(0o644)
        yield file
    finally:
        file.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    """Bring a change of names to the disk, where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(error: OSError) -> PricesRefused:
    return PricesRefused(f"The price file cannot be written ({error.strerror or type(error).__name__}).")
