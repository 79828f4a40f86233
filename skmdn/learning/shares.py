"""A step of some of the members, by a thread of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeAlias

import numpy as np
from torch import Tensor

from .arrays import Array, as_array
from .loss import MixtureLoss
from .network import Architecture, ClosedForm, KeptOutputs

#: Features (E, B, F), targets (E, D, B) and weights (E, B) of rows of each member; None if all are
#: one.
Batch: TypeAlias = tuple[Array, Array, Array | None]


class Share:
    """The losses of some members, one after another, and their gradient.

    Members know nothing of each other while they learn, so that threads may have some each.

    Parameters
    ----------
    architecture : Architecture
        Of all members.
    loss : MixtureLoss
        For arrays as the step computes with.
    flat, gradient : Tensor
        The parameters of all members, and where their gradient is written.
    n_rows : int
        Rows of a member in each step.
    members : slice
        Those of the share.
    """

    def __init__(
        self,
        architecture: Architecture,
        loss: MixtureLoss,
        flat: Tensor,
        gradient: Tensor,
        n_rows: int,
        members: slice,
    ):
        self.members, self.loss = members, loss
        own = replace(architecture, n_members=members.stop - members.start)
        p, g = (
            {name: part[members] for name, part in architecture.views(of_all).items()}
            for of_all in (flat, gradient)
        )
        self.network = ClosedForm(own, p, g, n_rows)
        raw, self.d_raw = as_array(self.network.raw), as_array(self.network.d_raw)
        self.raw, self.kept = raw, list[KeptOutputs]()
        self.parts, self.d_parts = map(loss.split, (raw, self.d_raw))

    def step(self, batch: Batch) -> Array:
        """Write the gradient of these members for a batch; return the losses, weighted (E, B).

        What is given is the batch of all members.
        """
        x, y, weights = (None if part is None else part[self.members] for part in batch)
        self.network.forward(x)
        for kept in self.kept:
            kept.write(self.raw, x)
        losses = self.loss.gradient(self.parts, y, out=self.d_parts)
        for kept in self.kept:
            self.d_raw[:, kept.outputs] = 0.0
        if weights is not None:
            losses *= weights
            self.d_raw *= weights[:, None]
        self.network.backward()
        return losses

    def step_in_thread(self, batch: Batch) -> Array:
        """Step without warnings, as in `fit`: `np.errstate` holds in its own thread alone."""
        with np.errstate(all="ignore"):
            return self.step(batch)
