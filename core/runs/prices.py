"""What training cost, as far as it is known: an hour here at the user's price, a remote job at its service's.

The user's price lies in `data/prices.json`, for this user alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import orjson

from core import paths
from core.errors import FinetuiError
from core.events import Submitted
from core.runs.lineage import Deployment

HOUR_S = 3600.0
KEY = "hour_usd"
EXAMPLE = "Give USD for an hour of this machine, e.g. 2.40."


class PriceError(FinetuiError):
    """This is no price, or the prices can't be read."""


def hour_usd() -> float | None:
    """USD for an hour of this machine; None while nobody has set it.

    Raises:
        PriceError: the file is damaged.
    """
    path = paths.data_dir() / "prices.json"
    try:
        return _checked(orjson.loads(path.read_bytes())[KEY])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, PriceError) as error:
        raise PriceError(
            f"The prices in {path} can't be read.", str(error), "`finetui compare --hour-usd` sets them anew."
        ) from error


def read(text: str) -> float:
    """A price as people write it: `2.40`, `$2.40`.

    Raises:
        PriceError: it is none.
    """
    try:
        return _checked(float(text.strip().removeprefix("$")))
    except ValueError as error:
        raise PriceError(f"{text!r} is no price.", "", EXAMPLE) from error


def set_hour_usd(price: float) -> None:
    """Keep USD for an hour of this machine.

    Raises:
        PriceError: it is no price.
    """
    content = orjson.dumps({KEY: _checked(price)})
    paths.write_private(paths.make_private(paths.data_dir()) / "prices.json", content + b"\n")


def _checked(price: float) -> float:
    if not (math.isfinite(price) and price >= 0):
        raise PriceError(f"{price} is no price.", "", EXAMPLE)
    return float(price)


def of_work(
    seconds: float, machines: int, hour_usd: float | None, deployments: Iterable[Deployment]
) -> dict[str, float | None]:
    """What a run on machines like this one cost, and a million tokens of prompts and replies where it is served.

    Args:
        seconds: that the run has worked; 0 where that is not known.
        machines: that worked side by side.
        hour_usd: of one of them, None where that is not known.
        deployments: of the run; the first with prices decides.
    """
    priced = [item for item in deployments if item.price_in_usd or item.price_out_usd]
    return {
        "training_usd": None if hour_usd is None or not seconds else seconds / HOUR_S * hour_usd * machines,
        "price_in_usd": priced[0].price_in_usd if priced else None,
        "price_out_usd": priced[0].price_out_usd if priced else None,
    }


def of_job(job: Submitted | None) -> dict[str, float | None]:
    """The same of a remote job, by what its service's price list said when it was sent; None: none was sent."""
    return {
        "training_usd": job.cost_usd if job else None,
        "price_in_usd": job.price_in_usd if job else None,
        "price_out_usd": job.price_out_usd if job else None,
    }
