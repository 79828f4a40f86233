"""Mixture density networks for scikit-learn."""

from importlib.metadata import version

from skmdn._autoregressive import AutoregressiveMDNRegressor
from skmdn._regressor import MDNRegressor
from skmdn.distribution.mixture import NormalMixture

__all__ = ["AutoregressiveMDNRegressor", "MDNRegressor", "NormalMixture"]
__version__ = version("skmdn")
