"""What "auto" stands for, as far as the sizes of the data tell; trials (`planning`) tell more."""

from __future__ import annotations

import math

from .noise import NoiseModel

#: Where rows begin to be many.
MANY_ROWS = 2000
#: Networks that can share all rows among them, to hold out: fewer could not learn from the rest
#: what all rows tell.
FEWEST_SHARING = 5
#: Networks where nothing says that fewer suffice.
USUAL_MEMBERS = 16
#: Multiplications of a pass of all rows through all networks beyond which these are fewer: so many
#: took two cores 4 s, a fit minutes.
_MOST_WORK = 2.7e10
#: Units of a hidden layer for each root of the rows.
_UNITS = 1.25
#: Fewest units of a hidden layer,
_FEWEST_UNITS = 24
#: and most of them for few targets; more targets, which share the layers, fill more.
USUAL_UNITS = 48
#: Targets that are few.
FEW_TARGETS = 3
#: Share of the rows that all members together hold out, where `FEWEST_SHARING` or more share them:
#: each row once, a quarter twice.
_HELD_OUT_BY_ALL = 1.25
#: Share of the rows that each of fewer members holds out.
_HELD_OUT_BY_EACH = 0.1
#: Components of a network for one target, and of several if rows are enough, whatever they cost.
_COMPONENTS = 5
#: Fewest components for several targets,
_FEWEST_COMPONENTS = 3
#: and most of them,
_MOST_COMPONENTS = 12
#: where there are so many rows for each raw output, or more,
_ROWS_AN_OUTPUT = 3
#: and more than five take no more raw outputs than so many: steps would take long.
_MOST_OUTPUTS = 240


def usual_layers(n_rows: float, n_targets: int) -> tuple[int, ...]:
    """Return the widths of hidden layers: few rows fill few units, many fill a third layer."""
    most = USUAL_UNITS * math.sqrt(max(n_targets / FEW_TARGETS, 1.0))
    about = min(_UNITS * math.sqrt(n_rows), most)
    width = max(8 * math.ceil(about / 8), _FEWEST_UNITS)
    return (width,) * (2 if n_rows < MANY_ROWS else 3)


def usual_components(n_rows: float, n_targets: int, noise: NoiseModel) -> int:
    """Return how many components a network has: several targets vary together in more ways."""
    if n_targets == 1:
        return _COMPONENTS
    n_outputs = noise.n_outputs(n_targets)
    most = min(max(_MOST_OUTPUTS / n_outputs, _COMPONENTS), _MOST_COMPONENTS)
    return int(min(max(n_rows / (_ROWS_AN_OUTPUT * n_outputs), _FEWEST_COMPONENTS), most))


def usual_members(n_rows: float, n_parameters: int) -> int:
    """Return how many networks of so many parameters to train on so many rows: 5 to 16."""
    affordable = int(_MOST_WORK / (n_rows * n_parameters))
    return min(max(affordable, FEWEST_SHARING), USUAL_MEMBERS)


def usual_share_held_out(n_members: int) -> float:
    """Return the share of the rows that each member should hold out.

    Every row is held out by one member, and a quarter of the rows by a second one; these two tell
    how good a mixture is. A few members could not learn from the rest what all rows tell: they
    hold out less than all.
    """
    return _HELD_OUT_BY_ALL / n_members if n_members >= FEWEST_SHARING else _HELD_OUT_BY_EACH


def usual_batch_size(n_rows: int) -> int:
    """Return about how many rows a step takes: few rows need the noise of small batches."""
    return min(max(int(n_rows**0.5), 16), 1024)


def usual_patience(n_rows: int) -> int:
    """Return how many checks to wait for a better score: few rows tell less at each."""
    return max(2, round(50.0 / math.sqrt(n_rows)))
