"""Points at equal distances that all values of a target are on: grades, counts, years."""

from __future__ import annotations

import numpy as np

#: Most points of a lattice.
_MOST_POINTS = 200
#: Most distance of a value from its point, in steps: numbers of single precision are rounded.
_LARGEST_MISS = 0.02
#: Share of the points between the values that are values, if those that no row is at belong to it.
_LEAST_FULL = 0.25
#: Values from which on points beyond the ends belong to it: not of grades.
_MANY_VALUES = 10
#: Rows at an end beyond which there are none.
_ROWS_AT_AN_END = 3
#: How far it goes on beyond an end: so many times as far as the fourth row from it is from the
#: second, as the first may be an outlier. If the density falls exponentially, one in e^2.5 of the
#: rows beyond the end is beyond that, too.
_TIMES_BEYOND = 3
#: The same at most, as a share of the range.
_LARGEST_SHARE_BEYOND = 0.25


def lattice_points(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the points of the lattice that ascending values (V,) are on; none, if on none.

    Between the values they are all there, if a quarter of them are values. Beyond an end of many
    values there are more, unless several rows, of which each has ``counts`` (V,), are at it; but
    none on the other side of zero.
    """
    if len(values) < 2:
        return values
    gaps = np.diff(values)
    if values[-1] - values[0] >= (_MOST_POINTS - 0.5) * gaps.min():
        return values[:0]
    places = np.append(0, (gaps / gaps.min()).round().cumsum().astype(int))
    step = (values[-1] - values[0]) / places[-1]
    if (abs(values - values[0] - step * places) > _LARGEST_MISS * step).any():
        return values[:0]
    if len(values) < _LEAST_FULL * places[-1]:
        return values
    below, above = (
        _beyond(values, places, counts),
        _beyond(-values[::-1], -places[::-1], counts[::-1]),
    )
    points = values[0] + step * np.arange(-below, places[-1] + above + 1)
    points[below + places] = values
    return points


def _beyond(values: np.ndarray, places: np.ndarray, counts: np.ndarray) -> int:
    """Return how many points there may be below the first place (V,) of so many rows each."""
    n_below = np.cumsum(counts)
    if len(values) < _MANY_VALUES or n_below[-1] < 4 or n_below[0] >= _ROWS_AT_AN_END:
        return 0
    second, fourth = places[np.searchsorted(n_below, [2 - 1e-6, 4 - 1e-6])]
    n_places = places[-1] - places[0]
    found = min(_TIMES_BEYOND * (fourth - second), int(_LARGEST_SHARE_BEYOND * n_places))
    to_zero = values[0] * n_places / (values[-1] - values[0])
    return int(min(found, to_zero + 0.5) if to_zero >= 0 else found)
