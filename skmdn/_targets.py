"""What is settled about the targets before a network learns: their units, atoms and curves."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from skmdn._grids import atoms_of_others, in_no_sum, on_grids, separable_grids
from skmdn._scaling import (
    TargetScaling,
    fixed_variance,
    floors,
    target_scaling,
)
from skmdn.learning.atoms import (
    Pins,
    StillComponents,
    at_atoms,
    atoms_beside,
    elsewhere,
)
from skmdn.learning.bounds import Bounds
from skmdn.learning.curve import JohnsonCurve
from skmdn.learning.grades import GradedComponents, Grades
from skmdn.learning.initialization import WIDEST_LOG_ODDS, atom_log_odds
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.noise import NoiseModel
from skmdn.learning.rounding import FARTHEST_SCORE, Rounding
from skmdn.learning.rows import effective_number, sample_of

#: Grades of each network, at most: with five, a fit to many rows took a quarter longer.
_MOST_GRADES = 3
#: Standard deviations of all targets that the wide component has at least.
_WIDEST = 3.0
#: Farthest that targets may be when training goes on: squares are in single precision.
_FARTHEST = 1e15
#: Largest share of what a line leaves of a target that the floor may be, where others are coupled
#: to it: they would be explained by noise that is not there.
_MOSTLY_FLOOR = 0.1
#: Least unit of residuals, in units of the targets themselves: smaller numbers are rounding.
_LEAST_LEFT = 1e-3


@dataclass(frozen=True)
class TargetModel:
    """The units, atoms and curves of D targets.

    Attributes
    ----------
    scaling : TargetScaling
    atoms : ndarray of shape (A, D)
        Values that many rows share, in units of y, NaN where open.
    pins : Pins or None
        What of the components is not learned, if some atoms are open.
    grids : list of ndarray
        For each of several targets the values that it has, in units of y, if these are a grid, or
        none.
    rounding : Rounding or None
        What is learned of these.
    curve : JohnsonCurve or None
        The curves that means are learned along, if each has a variance of its own.
    has_widest : bool
        Whether there are atoms or outliers, and so components that stay where they are.
    coupling_unit : float
        See `skmdn.learning.noise.NoiseModel.coupling_unit`.
    grades : Grades or None
        What is learned of many atoms of one target.
    extent : ndarray of shape (2, D)
        The least and greatest of the standardised targets.
    widest : ndarray of shape (D,)
        Variance of the component that is there for what no other reaches.
    whole_unit : ndarray of shape (D,)
        Unit of the targets themselves, also where it is their residuals that are learned.
    finest_unit : ndarray of shape (D,)
        Units of y in whose squares ``reg_covar`` is the floor on variances.
    """

    scaling: TargetScaling
    atoms: np.ndarray
    pins: Pins | None
    grids: list[np.ndarray]
    rounding: Rounding | None
    curve: JohnsonCurve | None
    has_widest: bool
    coupling_unit: float
    grades: Grades | None
    extent: np.ndarray
    widest: np.ndarray
    whole_unit: np.ndarray
    finest_unit: np.ndarray

    @property
    def has_values(self) -> np.ndarray:
        """Of which targets many rows share some of the values, (D,)."""
        return on_grids(self.grids) | ~np.isnan(self.atoms).all(axis=0)

    @property
    def values(self) -> np.ndarray:
        """The atoms, and behind them the values of grids, where all else is open: (A, D)."""
        rows = [self.atoms]
        for d, grid in enumerate(self.grids):
            of_one = np.full((len(grid), len(self.grids)), np.nan)
            of_one[:, d] = grid
            rows.append(of_one)
        return np.concatenate(rows)

    @property
    def floor(self) -> np.ndarray:
        """How many times as large as ``reg_covar`` the floor on variances is, (D,)."""
        return (self.finest_unit / self.scaling.unit) ** 2

    @property
    def unit_ratio(self) -> np.ndarray:
        """How many units of what is learned the targets' own is, (D,): 1 but for residuals."""
        return self.whole_unit / self.scaling.unit

    @classmethod
    def of(
        cls,
        y: np.ndarray,
        weights: np.ndarray,
        noise: NoiseModel,
        n_components: int,
        n_features: int,
        reg_covar: float,
        are_all: bool,
    ) -> TargetModel:
        """Look at the distinct targets y (n, D) of weights (n,), in their canonical order.

        Blocks of rows, which are not ``are_all``, do not say how many there will be, nor whether
        all are alike.
        """
        scaling = target_scaling(y, weights, not noise.per_target)
        sampled = sample_of(len(y))
        sample, own = y[sampled], weights[sampled]
        finest = scaling.unit
        if noise.per_target:
            finest = finest * np.sqrt(floors(scaling.in_units(sample)))
        grids = separable_grids(sample, own, noise, n_features, np.sqrt(reg_covar) * finest)
        if noise.coupled and are_all:
            grids = in_no_sum(grids, scaling, sample, own)
        atoms = atoms_of_others(grids, sample, own, noise, n_features)
        if noise.coupled and are_all:
            # Of those with atoms, a value that many rows share must stay one.
            plain = ~on_grids(grids)
            without_atoms = plain & np.isnan(atoms).all(axis=0)
            scaling = scaling.untied(sample, own, without_atoms, by=plain)
        n_expected = effective_number(weights) if are_all else math.inf
        return cls._learned_in(
            scaling,
            atoms,
            grids,
            y,
            weights,
            noise,
            n_components,
            n_expected,
            whole_unit=scaling.unit,
            finest_unit=finest,
        )

    @classmethod
    def of_residuals(
        cls,
        residuals: np.ndarray,
        weights: np.ndarray,
        noise: NoiseModel,
        n_components: int,
        whole: TargetModel,
        which: np.ndarray,
        reg_covar: float,
    ) -> TargetModel:
        """Look at targets (n, D) of which ``whole`` is the model, or what a line leaves of them.

        What is left, of those of ``which`` (D,), has no atoms. The floor on variances is that of
        the targets themselves.
        """
        unit, finest = whole.scaling.unit, whole.finest_unit
        least = _LEAST_LEFT * finest * which
        scaling = target_scaling(residuals, weights, not noise.per_target, least)
        grids = [
            grid[:0] if is_left else grid for grid, is_left in zip(whole.grids, which, strict=True)
        ]
        atoms = residuals[:0]
        if which.all() and noise.coupled:
            is_more = reg_covar * (finest / scaling.unit) ** 2 <= _MOSTLY_FLOOR
            scaling = scaling.decorrelated(residuals, weights, is_more)
        if not which.all() and noise.per_component:
            sampled = sample_of(len(residuals))
            atoms = atoms_beside(which | on_grids(grids), residuals[sampled], weights[sampled])
        n_expected = effective_number(weights)
        return cls._learned_in(
            scaling,
            atoms,
            grids,
            residuals,
            weights,
            noise,
            n_components,
            n_expected,
            whole_unit=unit,
            finest_unit=finest,
        )

    @classmethod
    def _learned_in(
        cls,
        scaling: TargetScaling,
        atoms: np.ndarray,
        grids: list[np.ndarray],
        y: np.ndarray,
        weights: np.ndarray,
        noise: NoiseModel,
        n_components: int,
        n_expected: float,
        whole_unit: np.ndarray,
        finest_unit: np.ndarray,
    ) -> TargetModel:
        """Return what is to be learned in such units, and of such atoms and grids."""
        sampled = sample_of(len(y))
        sample, own, standardised = y[sampled], weights[sampled], scaling.standardised(y)
        at = at_atoms(sample, atoms)
        free = [elsewhere(at[:, said]) for said in ~np.isnan(atoms.T)]  # target by target
        curve = JohnsonCurve.fit(standardised[sampled], own[:, None] * np.transpose(free))
        n_targets, n_plain = len(grids), _n_plain(grids)
        noise = noise.of_correlated(n_plain)
        rounding = _rounding(scaling, grids, sample, own)
        has_values = len(atoms) > 0 or rounding is not None
        has_widest = has_values or curve.has_outliers(standardised)
        return cls(
            scaling,
            atoms,
            pins=_pins_at(atoms, own @ at / own.sum(), scaling, noise, n_components),
            grids=grids,
            rounding=rounding,
            curve=curve if n_plain and noise.all_free(n_components, n_targets) else None,
            has_widest=noise.per_component and has_widest,
            coupling_unit=noise.coupling_unit(n_expected, n_components, n_plain),
            grades=_grades(scaling.in_units(atoms), at, own, n_components),
            extent=_extent_of(standardised),
            widest=_widest(standardised),
            whole_unit=whole_unit,
            finest_unit=finest_unit,
        )

    def extended(self, y: np.ndarray) -> TargetModel:
        """Return the same for targets that lie where these (n, D) are, too."""
        with np.errstate(over="ignore", invalid="ignore"):
            is_near = np.abs(self.scaling.in_units(y)).max() <= _FARTHEST
        if not is_near:  # or no number
            raise ValueError(
                f"y is more than {_FARTHEST:.0e} standard deviations from the rows of the first "
                "fit, on which this model is scaled; fit a new one"
            )
        both = np.concatenate([self.extent, self.scaling.standardised(y)])
        return replace(self, extent=_extent_of(both))

    def loss(
        self, noise: NoiseModel, n_components: int, reg_covar: float, fixed_noise_level: float
    ) -> MixtureLoss:
        """Return what networks are to learn by; the noise level is in units of y."""
        atoms = self.scaling.in_units(self.atoms)
        lowest = self._floor(reg_covar, noise)
        may_be = ~on_grids(self.grids) & (self._share_of_floor(reg_covar) <= _MOSTLY_FLOOR)
        noise = noise.of_correlated(_n_plain(self.grids))
        units = self.coupling_unit * _couplings_of(may_be)
        n_pinned = 0 if self.pins is None else sum(self.pins.counts)
        return MixtureLoss(
            n_components=n_components + n_pinned,
            n_targets=self.atoms.shape[1],
            noise=noise,
            reg_covar=lowest,
            curve=self.curve,
            still=self._still(atoms, lowest) if self.has_widest else None,
            pins=self.pins,
            rounding=self.rounding,
            coupling_units=units if noise.coupled and (units != 1.0).any() else None,
            bounds=Bounds.around(self._extent_of_locations(), noise.per_target),
            fixed_variance=1.0
            if noise.learned
            else fixed_variance(fixed_noise_level, self.scaling.unit[0]),
        )

    def _extent_of_locations(self) -> np.ndarray:
        """Return the least and greatest (2, D) that locations are: normal scores on grids."""
        if self.rounding is None:
            return self.extent
        return np.where(self.rounding.free.T, self.extent, [[-FARTHEST_SCORE], [FARTHEST_SCORE]])

    def _still(self, atoms: np.ndarray, lowest: float | np.ndarray) -> StillComponents:
        """Return what stays at atoms (A, D) that leave nothing open, and the widest component."""
        closed = atoms[~np.isnan(atoms).any(axis=1)]
        still = StillComponents.at(closed, np.ravel(lowest), self.widest)
        if self.grades is None:
            return still
        return GradedComponents(still.means, still.variances, self.grades)

    def _share_of_floor(self, reg_covar: float) -> np.ndarray:
        """Return which part of what a line leaves of each target (D,) may be the floor alone."""
        return reg_covar * self.floor * (self.unit_ratio != 1.0)

    def _floor(self, reg_covar: float, noise: NoiseModel) -> float | np.ndarray:
        """Return the floor of all targets, or each one's (D, 1)."""
        if (self.floor == 1.0).all():
            return reg_covar
        of_targets = reg_covar * self.floor[:, None]
        return of_targets if noise.per_target else of_targets[:1]  # they have one unit


def _n_plain(grids: list[np.ndarray]) -> int:
    """Return how many targets are on no grid."""
    return int((~on_grids(grids)).sum())


def _couplings_of(may_be: np.ndarray) -> np.ndarray:
    """Return one for each coupling of two targets that may be correlated (D,), (D (D-1)/2, 1)."""
    i, j = np.tril_indices(len(may_be), -1)
    return (may_be[i] & may_be[j])[:, None] * 1.0


def _rounding(
    scaling: TargetScaling,
    grids: list[np.ndarray],
    y: np.ndarray,
    weights: np.ndarray,
) -> Rounding | None:
    """Return what is learned of grids, given targets (n, D) of such weights."""
    rows = effective_number(weights) * weights / weights.sum()
    counts = [rows @ (column[:, None] == grid) for column, grid in zip(y.T, grids, strict=True)]
    standardised = [
        (grid - mean) / unit
        for grid, mean, unit in zip(grids, scaling.mean, scaling.unit, strict=True)
    ]
    return Rounding.to(standardised, counts)


def _extent_of(standardised: np.ndarray) -> np.ndarray:
    """Return the least and greatest (2, D) of targets (n, D)."""
    return np.stack([standardised.min(axis=0), standardised.max(axis=0)])


def _widest(standardised: np.ndarray) -> np.ndarray:
    """Return the variance (D,) of a component that is there for what no other reaches."""
    # Three deviations, or the geometric mean of these and the farthest target: beyond a long
    # tail there may be as much again, but what is so wide is most of a mixture's variance.
    return np.maximum(_WIDEST * np.abs(standardised).max(axis=0), _WIDEST**2)


def _grades(
    atoms: np.ndarray, at: np.ndarray, weights: np.ndarray, n_components: int
) -> Grades | None:
    """Return what is learned of many atoms (A, D) of one target, given which rows are at them."""
    if atoms.shape[1] > 1:
        return None
    log_odds = np.append(atom_log_odds(at, weights, n_components), WIDEST_LOG_ODDS)
    counts = weights @ at * (effective_number(weights) / weights.sum())
    return Grades.of(atoms[:, 0], counts, log_odds, min(n_components, _MOST_GRADES))


def _pins_at(
    atoms: np.ndarray,
    shares: np.ndarray,
    scaling: TargetScaling,
    noise: NoiseModel,
    n_components: int,
) -> Pins | None:
    """Return the pins of atoms that leave targets open, if there are any.

    One that all rows are at has as many components as there are free ones, others fewer.
    """
    is_open = np.isnan(atoms).any(axis=1)
    if not is_open.any():
        return None
    # Shares are sums: one of a fifth may be a little more.
    counts = np.ceil(n_components * shares[is_open] - 1e-6).clip(min=1).astype(int)
    return Pins.at(scaling.in_units(atoms[is_open]), counts.tolist(), n_components, noise.coupled)
