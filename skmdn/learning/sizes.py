"""Sizes that follow from the data: layers, components and members of networks."""

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
