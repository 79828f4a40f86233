"""Mixture density networks for scikit-learn."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skmdn._autoregressive import AutoregressiveMDNRegressor
    from skmdn._regressor import MDNRegressor
    from skmdn.distribution.mixture import NormalMixture

__all__ = ["AutoregressiveMDNRegressor", "MDNRegressor", "NormalMixture"]
__version__ = metadata.version("skmdn")

_SUBMODULES = ("display", "metrics")
_HOMES = {
    "AutoregressiveMDNRegressor": "skmdn._autoregressive",
    "MDNRegressor": "skmdn._regressor",
    "NormalMixture": "skmdn.distribution.mixture",
}


def __getattr__(name: str) -> object:
    # Only when asked for: a NormalMixture is used, and unpickled, without torch.
    if name in _SUBMODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_SUBMODULES})
