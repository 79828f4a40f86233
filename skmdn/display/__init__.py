"""Pictures of predicted mixtures, in the manner of scikit-learn's Display objects.

`ConditionalDensityDisplay` shows what was learned, `PITDisplay` and `CoverageDisplay` whether it
is calibrated, `IntervalDisplay` the rows one by one. Each is made ``from_estimator``, of one that
has ``predict_mixture`` (or a pipeline or a search that ends in one) and rows it has not seen, or
``from_predictions``; ``plot`` draws it again. Matplotlib comes with ``skmdn[plot]``.
"""

from .calibration import CoverageDisplay, PITDisplay
from .conditional import ConditionalDensityDisplay
from .intervals import IntervalDisplay

__all__ = ["ConditionalDensityDisplay", "CoverageDisplay", "IntervalDisplay", "PITDisplay"]
