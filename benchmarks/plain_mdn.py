"""Mixture density networks as most scripts write them: modules, autograd, Adam. A baseline.

Two kinds: the well-known recipe of two networks, one for the weights and one for the means and
standard deviations, and one trunk with one head. Neither knows anything of skmdn's training.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from skmdn import NormalMixture

MOST_ROWS_A_STEP = 8192


def perceptron(n_in: int, hidden: tuple[int, ...], n_out: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(n_in, width), nn.ReLU()]
        n_in = width
    return nn.Sequential(*layers, nn.Linear(n_in, n_out))


class TwoNetworks(nn.Module):
    """One network for the weights, one for means and standard deviations."""

    def __init__(self, n_features: int, n_components: int, hidden: tuple[int, ...]):
        super().__init__()
        self.weights = perceptron(n_features, hidden, n_components)
        self.normals = perceptron(n_features, hidden, 2 * n_components)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        means, log_sds = self.normals(x).chunk(2, dim=-1)
        return self.weights(x).log_softmax(-1), means, log_sds


class OneTrunk(nn.Module):
    """One network for all."""

    def __init__(self, n_features: int, n_components: int, hidden: tuple[int, ...]):
        super().__init__()
        self.network = perceptron(n_features, hidden, 3 * n_components)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        logits, means, log_sds = self.network(x).chunk(3, dim=-1)
        return logits.log_softmax(-1), means, log_sds


def negative_log_likelihood(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    log_weights, means, log_sds = model(x)
    z = (y.unsqueeze(-1) - means) * torch.exp(-log_sds)
    log_normal = -0.5 * z.square() - log_sds - 0.5 * math.log(2 * math.pi)
    return -torch.logsumexp(log_weights + log_normal, dim=-1).mean()


def one_step(model: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor) -> Tensor:
    optimizer.zero_grad()
    loss = negative_log_likelihood(model, x, y)
    loss.backward()
    optimizer.step()
    return loss


def fit_two_networks(
    X: np.ndarray, y: np.ndarray, n_components: int, seed: int, n_steps: int = 2000
) -> TwoNetworks:
    """Train on all rows at once: two ReLU networks of 50 + 50, Adam 0.005 with a cosine to zero.

    Beyond 8,192 rows a step takes that many at random. As in such scripts, nothing is scaled.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TwoNetworks(X.shape[1], n_components, (50, 50))
        optimizer = torch.optim.Adam(model.parameters(), lr=0.005)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, n_steps)
        x, targets = torch.from_numpy(X).float(), torch.from_numpy(y).float()
        for _ in range(n_steps):
            rows = slice(None)
            if len(x) > MOST_ROWS_A_STEP:
                rows = torch.randint(len(x), (MOST_ROWS_A_STEP,))
            one_step(model, optimizer, x[rows], targets[rows])
            schedule.step()
    return model


@torch.no_grad()
def predicted_mixture(model: nn.Module, X: np.ndarray) -> NormalMixture:
    log_weights, means, log_sds = (part.double() for part in model(torch.from_numpy(X).float()))
    return NormalMixture(log_weights.exp(), means, (2 * log_sds.clamp(-20, 20)).exp())
