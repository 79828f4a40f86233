"""NumPy on one core, torch elsewhere: one formula serves both.

A step of training is some hundred small operations. On one core, NumPy's take half as long to call
as torch's, its waves are twice as fast, and so are its products of small matrices; several cores
or a GPU need torch. Both know what is used here by the same names (`matmul`, ``sum(axis)``, ...),
so formulae look it up in the `namespace` of what they are given, as scikit-learn's array API does.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

#: An ndarray or a Tensor; what both can do has no type of its own.
Array: TypeAlias = Any


def as_array(tensor: Tensor) -> Array:
    """Return a tensor's own memory as what computes fastest with it.

    Where several threads are worth it, that is torch: NumPy's products have threads of their own,
    which would fight with those of what torch still does.
    """
    alone = tensor.device.type == "cpu" and torch.get_num_threads() == 1
    return tensor.numpy() if alone else tensor


def as_tensor(array: Array) -> Tensor:
    """Return an array as a tensor over its own memory, whatever torch's default device is."""
    return array if isinstance(array, Tensor) else torch.from_numpy(np.asarray(array))


def namespace(array: Array) -> Any:
    """Return the module whose functions an array is for."""
    return np if isinstance(array, np.ndarray) else torch


def converted(values: np.ndarray, array: Array) -> Array:
    """Return values in the dtype of an array, for the same module and device."""
    if isinstance(array, np.ndarray):
        return values.astype(array.dtype)
    return torch.from_numpy(values).to(array)


def waves(angle: Array) -> tuple[Array, Array]:
    """Return cosines and sines; in double precision, torch's are the fastest on the CPU, too."""
    if angle.dtype == np.float64:
        angle = torch.from_numpy(angle)
        return angle.cos().numpy(), angle.sin().numpy()
    xp = namespace(angle)
    return xp.cos(angle), xp.sin(angle)


def softmax(logits: Array, least: float | None = None) -> tuple[Array, Array]:
    """Return the softmax along axis 1, and the logarithm of the sum of exponentials there.

    With ``least``, no share is below its exponential, relative to the largest.
    """
    xp = namespace(logits)
    largest = xp.amax(logits, axis=1, keepdims=True)
    below = logits - largest
    powers = xp.exp(below if least is None else below.clip(least))
    total = powers.sum(1, keepdims=True)
    return powers / total, (largest + xp.log(total))[:, 0]
