"""NumPy on one core, torch elsewhere: one formula serves both.

A step of training is some hundred small operations. On one core, NumPy's take half as long to call
as torch's, its waves are twice as fast, and so are its products of small matrices; several cores
or a GPU need torch. Both know what is used here by the same names (`matmul`, ``sum(axis)``, ...),
so formulae look it up in the `namespace` of what they are given, as scikit-learn's array API does.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from typing_extensions import Self

#: An ndarray or a Tensor; what both can do has no type of its own.
Array: TypeAlias = Any


def as_array(tensor: Tensor) -> Array:
    """Return a tensor's own memory as what computes fastest: NumPy on one CPU thread, else torch.

    Where several threads are worth it, that is torch: NumPy's products have threads of their own,
    which would fight with those of what torch still does.
    """
    alone = tensor.is_cpu and torch.get_num_threads() == 1
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


class ArrayParts:
    """A dataclass with fields that are arrays, or have such fields."""

    def like(self, array: Array) -> Self:
        """Return the same to compute with arrays like this."""
        parts = (getattr(self, part.name) for part in fields(cast(Any, self)))
        return type(self)(*(_like(part, array) for part in parts))


def _like(part: Any, array: Array) -> Any:
    """Return a part to compute with arrays like this; what has no arrays is what it is."""
    if isinstance(part, np.ndarray):
        return converted(part, array)
    return part.like(array) if hasattr(part, "like") else part


def transposed(array: Array) -> Array:
    """Return an array with the last two axes swapped, in one run of memory."""
    swapped = array.swapaxes(-1, -2)
    return np.ascontiguousarray(swapped) if namespace(array) is np else swapped.contiguous()


def waves(angle: Array) -> Array:
    """Return cosines and sines, one after the other along axis 2.

    In double precision, torch's are the fastest on the CPU, too.
    """
    if isinstance(angle, Tensor):
        return torch.cat([angle.cos(), angle.sin()], dim=2)
    half = angle.shape[2]
    wave = np.empty((*angle.shape[:2], 2 * half, *angle.shape[3:]), dtype=angle.dtype)
    cos, sin = wave[:, :, :half], wave[:, :, half:]
    if angle.dtype == np.float64:
        torch.cos(torch.from_numpy(angle), out=torch.from_numpy(cos))
        torch.sin(torch.from_numpy(angle), out=torch.from_numpy(sin))
    else:
        np.cos(angle, out=cos)
        np.sin(angle, out=sin)
    return wave


def logistic(x: Array) -> Array:
    """Return ``1 / (1 + exp(-x))``; in double precision, torch's is the fastest, too."""
    if isinstance(x, Tensor) or x.dtype == np.float64:
        y = torch.sigmoid(as_tensor(x))
        return y if isinstance(x, Tensor) else y.numpy()
    return 0.5 + 0.5 * np.tanh(0.5 * x)


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
