"""What a row of the speed table is, and how two ways to the same end are timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from common import interleaved, seconds_text

LEAST_SECONDS = 3.0  # of turns: short ones are repeated until their fastest is steady


@dataclass(frozen=True)
class Options:
    """How much to measure, and where.

    Attributes
    ----------
    scale : float
        Factor on the numbers of rows.
    repeats : int
        Turns of the short measurements.
    device : str
        Where training steps are taken.
    gigabytes : float
        Size of the memory map that is fitted.
    """

    scale: float
    repeats: int
    device: str
    gigabytes: float

    def rows(self, full: int) -> int:
        return max(1, int(full * self.scale))


@dataclass(frozen=True)
class Result:
    ours: str
    theirs: str
    ratio: float
    note: str = ""


@dataclass(frozen=True)
class Row:
    what: str
    against: str
    goal: float
    measure: Callable[[Options], Result]


def row(table: dict[str, Row], name: str, what: str, against: str, goal: float):
    """Put the function that measures it into a table."""

    def put(measure: Callable[[Options], Result]) -> Callable[[Options], Result]:
        table[name] = Row(what, against, goal, measure)
        return measure

    return put


def compare(
    ours: Callable, theirs: dict[str, Callable], options: Options, per: int = 1, **how
) -> Result:
    """Time both in turns: our fastest over the fastest of theirs, of all the ways they have.

    ``per`` is how many steps a call takes; ``how`` goes to `interleaved`.
    """
    finish = torch.cuda.synchronize if options.device != "cpu" else lambda: None
    how = {"repeats": options.repeats, "least_seconds": LEAST_SECONDS} | how
    seconds = interleaved({"ours": ours} | theirs, finish=finish, **how)
    fastest = {name: values.min() / per for name, values in seconds.items()}
    mine = fastest.pop("ours")
    name = min(fastest, key=fastest.__getitem__)
    turns = seconds["ours"] / seconds[name]
    note = f"turns {turns.min():.2f} to {turns.max():.2f}"
    if len(fastest) > 1:
        note += "; " + ", ".join(f"{n} {seconds_text(s)}" for n, s in fastest.items())
    ratio = mine / fastest[name]
    return Result(seconds_text(mine), seconds_text(fastest[name]), ratio, note)
