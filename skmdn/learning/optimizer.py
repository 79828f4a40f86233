"""Adam with decoupled weight decay, and the average of its path."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Weight of the newest parameters in the average, after the first steps.
_AVERAGING_RATE = 0.005
#: Steps over which the step size rises from zero.
_WARM_UP = 20


class AveragedAdamW:
    """Adam with decoupled weight decay on one flat vector, and the average of its path.

    A step whose gradient, or its squared length, is not finite is not taken.
    """

    def __init__(self, flat: Tensor, weight_decay: float):
        self.flat, self.average = flat, flat.clone()
        self.weight_decay = weight_decay
        self.restart()

    def restart(self) -> None:
        """Go back to the average, and forget the gradients seen."""
        self.flat.copy_(self.average)
        self.first_moment, self.second_moment = (
            torch.zeros_like(self.flat),
            torch.zeros_like(self.flat),
        )
        self.count, self.n_steps = 0, self.flat.new_zeros(())

    def on(self, device: torch.device | str) -> AveragedAdamW:
        """Return a copy on a device."""
        twin = object.__new__(type(self))
        twin.__dict__.update(
            (name, value.to(device, copy=True) if isinstance(value, Tensor) else value)
            for name, value in vars(self).items()
        )
        return twin

    def __getstate__(self) -> dict[str, Any]:
        """Return all there is with arrays for tensors, as `MixtureNetwork` has them in a file."""
        found = self.on("cpu")
        return {
            name: value.numpy() if isinstance(value, Tensor) else value
            for name, value in vars(found).items()
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(
            (name, torch.from_numpy(value.copy()) if isinstance(value, np.ndarray) else value)
            for name, value in state.items()
        )

    def step(self, gradient: Tensor, learning_rate: float) -> None:
        """Take one step."""
        self.count += 1
        size = torch.dot(gradient, gradient)
        not_finite = (size - size).nan_to_num_(nan=1.0)  # inf - inf is NaN
        torch._fused_adamw_(
            [self.flat],
            [gradient],
            [self.first_moment],
            [self.second_moment],
            [],
            [self.n_steps.fill_(self.count)],
            lr=learning_rate * min(1.0, self.count / _WARM_UP),
            beta1=0.9,
            beta2=0.99,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
            found_inf=not_finite,
        )
        self.average.lerp_(self.flat, max(_AVERAGING_RATE, 1.0 / (self.count + 1.0)))
