"""What comes before an estimator learns or answers: checks, and a copy that may fail to learn."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from sklearn.preprocessing import LabelEncoder
from sklearn.utils import (
    check_array,
    check_consistent_length,
    check_random_state,
    column_or_1d,
)
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from skmdn.distribution.batch import check_probability

#: Kinds of numbers that rows are predicted in; others become the first.
_PRECISIONS = (np.float64, np.float32)


def shallow_copy(estimator):
    """Return a copy that shares all attributes; `copy.copy` leaves out what a pickle may."""
    twin = object.__new__(type(estimator))
    twin.__dict__.update(estimator.__dict__)
    return twin


def replaced(estimator, learn: Callable):
    """Let a copy learn, and become it once it has: an error leaves the old model whole."""
    model = shallow_copy(estimator)
    learn(model)
    estimator.__dict__.clear()
    estimator.__dict__.update(model.__dict__)
    return estimator


def own_random_state(random_state):
    """Return the model's own random state; one that is given is advanced by a draw."""
    if random_state is None:
        return np.random.RandomState()  # afresh: the global state is the caller's
    if isinstance(random_state, np.random.RandomState):
        return np.random.RandomState(random_state.randint(2**31))
    return check_random_state(random_state)


@contextmanager
def naming(argument: str) -> Iterator[None]:
    """Put its name before errors that do not name it, scikit-learn's about shapes, say."""
    try:
        # To find NaN, scikit-learn sums the cells; infinite sums of both signs may meet.
        with np.errstate(invalid="ignore"):
            yield
    except (TypeError, ValueError) as error:
        if re.search(rf"\b{argument}\b", str(error)):
            raise
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"{argument}: {error}") from None


def refuse_dates(argument: str, data) -> None:
    """Raise for dates and durations: as integers they depend on a unit, and NaT is one."""
    dtypes = getattr(data, "dtypes", getattr(data, "dtype", None))  # of frames, and of arrays
    if any(map(_is_temporal, np.array(dtypes, dtype=object).ravel())):
        raise ValueError(f"{argument} must be numbers; got dates or durations: convert them first")


def _is_temporal(dtype) -> bool:
    """Say whether values are dates or durations: NumPy and pandas have kinds, polars a method."""
    return getattr(dtype, "kind", "") in {*"mM"} or getattr(dtype, "is_temporal", bool)()


def check_targets(y) -> np.ndarray:
    """Return finite targets (n,) or (n, D) in float64, or an error that names them."""
    refuse_dates("y", y)
    kinds = {"ensure_2d": False, "dtype": np.float64, "ensure_min_samples": 0}
    with naming("y"):
        checked = None if y is None else check_array(y, **kinds, input_name="y")
    if checked is None:
        raise ValueError("this requires y to be passed, but the target y is None")
    if checked.ndim == 0:
        raise ValueError(f"y must have one or two axes; got the single value {y!r}")
    return checked


def check_training_rows(estimator, X, y, reset: bool = True):
    """Return X and float64 targets (n,) or (n, D) to learn from, or an error that names them."""
    y = check_targets(y)
    if len(y) == 0:  # which scikit-learn would say of X
        with naming("y"):
            check_consistent_length(X, y)
    refuse_dates("X", X)
    with naming("X"):
        return validate_data(
            estimator,
            X,
            y,
            accept_sparse="csr",
            multi_output=True,
            dtype=list(_PRECISIONS),
            ensure_min_samples=2,
            reset=reset,
        )


def check_weights(sample_weight, rows) -> np.ndarray:
    """Return weights (n,) of rows, or an error that names them."""
    with naming("sample_weight"):
        weights = _check_sample_weight(
            sample_weight, rows, dtype=np.float64, ensure_non_negative=True
        )
    if not weights.any():
        raise ValueError("sample_weight is zero for every row; at least one must be positive")
    return weights


def check_groups(groups, n_rows: int) -> np.ndarray | None:
    """Return labels (n,) that can be sorted, or an error that names them."""
    if groups is None:
        return None
    with naming("groups"):
        shape = np.shape(groups)
        if len(shape) != 1 and shape[1:] != (1,):
            raise ValueError(f"groups must be one label a row; got an array of shape {shape}")
        labels = column_or_1d(groups)
        if len(labels) != n_rows:
            raise ValueError(f"groups has {len(labels)} labels for {n_rows} rows")
        return LabelEncoder().fit_transform(labels)


def quantile_levels(quantiles) -> np.ndarray:
    """Return probabilities (q, 1), or an error that names them."""
    levels = np.atleast_1d(check_probability("quantiles", quantiles))
    if levels.ndim > 1:
        raise ValueError(f"quantiles must be one number or a list of them; got {quantiles!r}")
    return levels[:, None]


class RowChecks:
    """Checks of the rows and targets that a fitted estimator is asked about."""

    n_features_in_: int
    n_outputs_: int
    _y_ndim: int

    def __sklearn_is_fitted__(self) -> bool:
        """Say whether `fit` has been called, without scikit-learn's look at every attribute."""
        return hasattr(self, "n_outputs_")

    def _check_rows(self, X):
        check_is_fitted(self)
        if self._is_as_wanted(X):
            return X
        refuse_dates("X", X)
        kinds = {"accept_sparse": "csr", "dtype": list(_PRECISIONS)}
        with naming("X"):
            return validate_data(self, X, **kinds, reset=False)

    def _is_as_wanted(self, X) -> bool:
        """Say whether X needs no conversion nor warning.

        Scikit-learn's validation returns it as it is then, in half the time a row's answer takes.
        """
        if type(X) is not np.ndarray or X.dtype not in _PRECISIONS or X.ndim != 2 or len(X) == 0:
            return False
        if X.shape[1] != self.n_features_in_ or hasattr(self, "feature_names_in_"):
            return False
        with np.errstate(over="ignore", invalid="ignore"):
            return bool(np.isfinite(X.sum()))

    def _check_targets(self, X, y):
        """Return y with the number of axes it had in `fit`."""
        y = check_targets(y)
        with naming("y"):
            check_consistent_length(X, y)
        width = 1 if y.ndim == 1 else y.shape[1]
        if width != self.n_outputs_:
            raise ValueError(
                f"y has {width} targets, but {type(self).__name__} was fitted with "
                f"{self.n_outputs_}"
            )
        return y.reshape(len(y), -1) if self._y_ndim == 2 else y.ravel()
