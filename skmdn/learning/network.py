"""The batched network: numeric features -> raw mixture parameters, for all members at once.

Each feature x enters as itself and as a few linear maps of waves with learned frequencies f,

    v(x) = [x, C (cos(f x), sin(f x))],

which lets a smooth network bend as sharply as the data ask (Gorishniy et al. 2022, "On embeddings
for numerical features in tabular deep learning"). The last features may be plain and enter as
themselves alone. Dense layers follow; the last one has no activation.

All parameters of all members lie in one flat vector, layer after layer and, within a layer, member
after member: one optimiser call moves everything, and one batched product serves all members.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor, nn

from .arrays import Array, as_array, as_tensor, namespace, transposed, waves

#: Batches of matrices: left, right, and where their product goes.
Products: TypeAlias = list[tuple[Array, Array, Array]]
_aten = torch.ops.aten


@dataclass(frozen=True)
class Activation:
    """An activation function and its derivative, both writing where they are told.

    Attributes
    ----------
    function : callable
        ``function(pre)``, a new tensor; autograd goes through it.
    write : callable
        ``write(pre, out)``.
    chain : callable
        ``chain(grad, pre, post)``: multiply ``grad`` by the derivative, in place.
    gain : float
        Variance of the weights times the layer's inputs that keeps the signal's size.
    """

    function: Callable[[Tensor], Tensor]
    write: Callable[[Tensor, Tensor], object]
    chain: Callable[[Tensor, Tensor, Tensor], object]
    gain: float


ACTIVATIONS = {
    "identity": Activation(
        lambda pre: pre,
        lambda pre, out: out.copy_(pre),
        lambda grad, pre, post: grad,
        gain=1.0,
    ),
    "logistic": Activation(
        torch.sigmoid,
        lambda pre, out: torch.sigmoid(pre, out=out),
        lambda grad, pre, post: _aten.sigmoid_backward.grad_input(grad, post, grad_input=grad),
        gain=1.0,
    ),
    "tanh": Activation(
        torch.tanh,
        lambda pre, out: torch.tanh(pre, out=out),
        lambda grad, pre, post: _aten.tanh_backward.grad_input(grad, post, grad_input=grad),
        gain=1.0,
    ),
    "relu": Activation(
        torch.relu,
        lambda pre, out: torch.clamp_min(pre, 0.0, out=out),
        lambda grad, pre, post: _aten.threshold_backward.grad_input(
            grad, pre, 0.0, grad_input=grad
        ),
        gain=2.0,
    ),
    "silu": Activation(
        nn.functional.silu,
        lambda pre, out: _aten.silu.out(pre, out=out),
        lambda grad, pre, post: _aten.silu_backward.grad_input(grad, pre, grad_input=grad),
        gain=2.0,
    ),
}


@dataclass(frozen=True)
class Architecture:
    """The sizes of a network; `raw_outputs` is what it computes.

    Attributes
    ----------
    n_members, n_features, n_outputs : int
    hidden_layer_sizes : tuple of int
    activation : str
        A key of ``ACTIVATIONS``.
    n_plain : int
        Features without waves.
    n_frequencies : int
        Cosines of each feature, and as many sines.
    embedding_size : int
        Linear maps of each feature's waves.
    frequency_scale : float
        Typical size of the frequencies at the start where rows are few, in radians per unit of the
        feature.
    """

    n_members: int
    n_features: int
    n_outputs: int
    hidden_layer_sizes: tuple[int, ...]
    activation: str
    n_plain: int = 0
    n_frequencies: int = 8
    embedding_size: int = 4
    frequency_scale: float = 3.0

    @property
    def n_waving(self) -> int:
        """Features with waves; they come first."""
        return self.n_features - self.n_plain

    @cached_property
    def layer_sizes(self) -> tuple[int, ...]:
        """Widths from the embedded features to the last hidden layer."""
        embedded = self.n_features + self.n_waving * self.embedding_size
        return (embedded, *self.hidden_layer_sizes)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every parameter, in the order of the flat vector."""
        e, f = self.n_members, self.n_waving
        m, c = self.n_frequencies, self.embedding_size
        shapes: dict[str, tuple[int, ...]] = {
            "frequency": (e, f, m, 1),
            "embedding": (e, f, c, 2 * m),
        }
        for i, (fan_in, fan_out) in enumerate(pairwise([*self.layer_sizes, self.n_outputs])):
            shapes[f"layer_{i}"] = (e, fan_out, fan_in + 1)
        return shapes

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Return a flat vector as the parameters (or gradients) it holds, without a copy."""
        shapes = self.shapes()
        parts = flat.split([math.prod(shape) for shape in shapes.values()])
        return {
            name: part.view(shape)
            for (name, shape), part in zip(shapes.items(), parts, strict=True)
        }

    @cached_property
    def n_parameters(self) -> int:
        """Length of the flat vector."""
        return sum(math.prod(shape) for shape in self.shapes().values())


def raw_outputs(architecture: Architecture, p: Mapping[str, Any], x: Array) -> Array:
    """Return raw outputs (E, P, B) for features (E, B, F), or (B, F) shared by all members.

    This is the plain form, for prediction and for autograd; `ClosedForm` trains.
    """
    xp, n_rows = namespace(x), x.shape[-2]
    x = transposed(x)
    wave = waves(x[..., : architecture.n_waving, None, :] * p["frequency"])
    embedded = (p["embedding"] @ wave).reshape(architecture.n_members, -1, n_rows)
    if x.ndim == 2:
        x = xp.broadcast_to(x, (architecture.n_members, *x.shape))
    h = xp.concatenate([x, embedded], axis=1)
    activation = ACTIVATIONS[architecture.activation].function
    *hidden, head = (p[f"layer_{i}"] for i in range(len(architecture.layer_sizes)))
    for layer in hidden:
        h = activation(as_tensor(affine(layer, h)))
        h = h.numpy() if xp is np else h
    return affine(head, h)


def affine(layer: Array, h: Array) -> Array:
    """Return ``W h + b``, the last column of a layer being its bias."""
    a = layer[..., :-1] @ h
    a += layer[..., -1:]
    return a


class MixtureNetwork(nn.Module):
    """Members of one architecture, side by side; maps features to raw mixture parameters.

    Parameters
    ----------
    architecture : Architecture
    flat : array of shape (architecture.n_parameters,)
        All parameters; they are copied.
    kept : sequence of (ndarray of int, array)
        Raw outputs that others of that architecture give instead, and the parameters of those; see
        `KeptOutputs`.
    """

    def __init__(
        self,
        architecture: Architecture,
        flat: Array,
        kept: Sequence[tuple[np.ndarray, Array]] = (),
    ):
        super().__init__()
        self.architecture = architecture
        # A copy: joblib maps arrays of large models into memory that cannot be written.
        flat = flat if isinstance(flat, Tensor) else torch.from_numpy(flat.copy())
        for name, value in architecture.views(flat).items():
            self.register_parameter(name, nn.Parameter(value.clone()))
        self.kept_outputs = [outputs for outputs, _ in kept]
        self.kept_networks = nn.ModuleList(MixtureNetwork(architecture, own) for _, own in kept)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be made anew from arrays: readable where torch's own pickles are not, as by skops."""
        kept = [(outputs, flat.cpu().numpy()) for outputs, flat in self.kept()]
        return type(self), (self.architecture, self.flat().cpu().numpy(), kept)

    def forward(self, x: Tensor) -> Tensor:
        """Return raw outputs (E, P, B) for features (E, B, F), or (B, F) shared by all members."""
        # Not named_parameters(), which takes as long as a row's pass.
        raw = raw_outputs(self.architecture, self._parameters, x)
        for outputs, network in zip(self.kept_outputs, self.kept_networks, strict=True):
            raw[:, outputs] = network(x)[:, outputs]
        return raw

    def answer(self, x: Tensor) -> np.ndarray:
        """Return the same without a graph, as fast as can be."""
        p = {
            name: as_array(part.detach())
            for name, part in self._parameters.items()
            if part is not None
        }
        raw = raw_outputs(self.architecture, p, as_array(x))
        raw = raw if isinstance(raw, np.ndarray) else raw.cpu().numpy()
        for outputs, network in zip(self.kept_outputs, self.kept_networks, strict=True):
            raw[:, outputs] = cast(MixtureNetwork, network).answer(x)[:, outputs]
        return raw

    def flat(self) -> Tensor:
        """Return a copy of its own parameters as one vector."""
        return nn.utils.parameters_to_vector(self.parameters(recurse=False)).detach().clone()

    def kept(self) -> list[tuple[np.ndarray, Tensor]]:
        """Return the outputs that others give, and copies of the parameters of those."""
        networks = (cast(MixtureNetwork, network) for network in self.kept_networks)
        flats = (network.flat() for network in networks)
        return list(zip(self.kept_outputs, flats, strict=True))


class KeptOutputs:
    """Raw outputs that stay what networks made of them once, while others are learned.

    What a noisy target is told by is soon overfit in layers that others share, and these may have
    much to learn yet. So networks may be copied when they were best for one target, and the copies
    answer for it from then on.

    Parameters
    ----------
    architecture : Architecture
    outputs : ndarray of int
    flat : Tensor of shape (architecture.n_parameters,)
        The parameters then.
    """

    def __init__(self, architecture: Architecture, outputs: np.ndarray, flat: Tensor):
        self.architecture, self.outputs, self.flat = architecture, outputs, flat
        self.p = {name: as_array(part) for name, part in architecture.views(flat).items()}

    def of(self, members: slice) -> KeptOutputs:
        """Return those of some members."""
        few = copy.copy(self)
        few.p = {name: part[members] for name, part in self.p.items()}
        n_members = len(few.p["frequency"])
        few.architecture = replace(self.architecture, n_members=n_members)
        return few

    def write(self, raw: Array, x: Array) -> None:
        """Write them into the raw outputs (E, P, B) for features (E, B, F)."""
        raw[:, self.outputs] = raw_outputs(self.architecture, self.p, x)[:, self.outputs]


class ClosedForm:
    """Forward and backward pass of a network on buffers made once, without autograd.

    Columns are rows of data. With ``a_i = W_i [h_i; 1]``, where the last column of ``W_i`` is the
    bias, ``h_{i+1} = s(a_i)``, and ``G`` standing for the gradient of the loss with respect to
    what it is indexed by,

        G_{W_i} = G_{a_i} [h_i; 1]',   [G_{h_i}; .] = W_i' G_{a_i},
        G_{a_{i-1}} = G_{h_i} * s'(a_{i-1}),

    and at the bottom, with u = f x and w = (cos(u), sin(u)), the embedding v = C w of each feature
    gives

        G_C = G_v w',   G_w = C' G_v,   G_u = cos(u) * G_sin - sin(u) * G_cos,   G_f = G_u x'.

    Parameters
    ----------
    architecture : Architecture
    p, g : dict of Tensor
        The parameters, read at every call, and where `backward` writes their gradient; as
        `Architecture.views` has them.
    n_rows : int
        Rows a call is given for each member.
    """

    def __init__(
        self, architecture: Architecture, p: dict[str, Tensor], g: dict[str, Tensor], n_rows: int
    ):
        self.architecture = arch = architecture
        self.p, self.g = p, g
        self.activation = ACTIVATIONS[arch.activation]
        e, f = arch.n_members, arch.n_waving

        def empty(*shape: int) -> Tensor:
            """Return a buffer for all members."""
            return p["frequency"].new_empty(e, *shape)

        m = arch.n_frequencies
        self.angle = empty(f, m, n_rows)
        self.wave, self.d_wave = empty(f, 2 * m, n_rows), empty(f, 2 * m, n_rows)
        self.inputs = [empty(size + 1, n_rows).fill_(1.0) for size in arch.layer_sizes]
        self.d_h = [empty(size, n_rows) for size in arch.layer_sizes]
        self.a = [torch.empty_like(d_h) for d_h in self.d_h[1:]]
        self.raw = empty(arch.n_outputs, n_rows)
        self.d_raw = torch.empty_like(self.raw)
        self.xp = namespace(as_array(self.raw))
        self._make_views()

    def _make_views(self) -> None:
        """Make the views that every step needs, once: each takes as long as a small product."""
        p, g, arch = self.p, self.g, self.architecture
        self.h = [inputs[:, :-1] for inputs in self.inputs]
        self.x = as_array(self.h[0][:, : arch.n_features])
        waving = self.h[0][:, : arch.n_waving].unsqueeze(2)
        embedded = arch.n_waving, arch.embedding_size
        v, d_v = (h[:, arch.n_features :].unflatten(1, embedded) for h in (self.h[0], self.d_h[0]))
        self.cos, self.sin = self.wave.chunk(2, dim=2)
        self.d_cos, self.d_sin = self.d_wave.chunk(2, dim=2)
        self.to_angle = as_array(waving), as_array(p["frequency"]), as_array(self.angle)
        self.to_waves = as_array(self.cos), as_array(self.sin)
        c = p["embedding"]
        self.embed = products((c, self.wave, v))
        self.embed_back = products((d_v, self.wave.mT, g["embedding"]), (c.mT, d_v, self.d_wave))
        self.to_frequency = products((self.angle, waving.mT, g["frequency"]))
        outputs, d_outputs = [*self.a, self.raw], [*self.d_h[1:], self.d_raw]
        layers = [f"layer_{i}" for i in range(len(outputs))]
        self.layers = [
            products((p[layer], h, a))
            for layer, h, a in zip(layers, self.inputs, outputs, strict=True)
        ]
        self.layers_back = [
            products((d_a, h.mT, g[layer]), (p[layer][..., :-1].mT, d_a, d_h))
            for layer, h, d_a, d_h in zip(layers, self.inputs, d_outputs, self.d_h, strict=True)
        ]

    def multiply(self, operands: Products) -> None:
        """Take products."""
        for left, right, out in operands:
            self.xp.matmul(left, right, out=out)

    def forward(self, x: Array) -> Tensor:
        """Return raw outputs (E, P, B) for features (E, B, F); valid until the next call."""
        self.x[...] = x.swapaxes(1, 2)
        waving, frequency, angle = self.to_angle
        cos, sin = self.to_waves
        self.xp.multiply(waving, frequency, out=angle)
        self.xp.cos(angle, out=cos)
        self.xp.sin(angle, out=sin)
        self.multiply(self.embed)
        *hidden, head = self.layers
        for layer, a, h in zip(hidden, self.a, self.h[1:], strict=True):
            self.multiply(layer)
            self.activation.write(a, h)
        self.multiply(head)
        return self.raw

    def backward(self) -> None:
        """Turn ``d_raw``, the gradient at the raw outputs, into the parameters' gradient."""
        *hidden, head = self.layers_back
        self.multiply(head)
        for i in reversed(range(len(hidden))):
            self.activation.chain(self.d_h[i + 1], self.a[i], self.h[i + 1])
            self.multiply(hidden[i])
        self.multiply(self.embed_back)
        d_angle = torch.mul(self.cos, self.d_sin, out=self.angle)
        d_angle.addcmul_(self.sin, self.d_cos, value=-1.0)
        self.multiply(self.to_frequency)


def products(*operands: tuple[Tensor, Tensor, Tensor]) -> Products:
    """Return (left, right, out) of batched products as what multiplies them fastest."""
    return [(as_array(left), as_array(right), as_array(out)) for left, right, out in operands]
