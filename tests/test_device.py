"""Where networks train and predict: the same answers wherever that is, and clear errors.

Tests that need a GPU skip where torch sees none; that all tensors of a training step stay on one
device is tested on torch's "meta" device, which computes nothing and lets no other device mix in.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from skmdn import MDNRegressor
from skmdn.learning import network, objective, shares
from skmdn.learning.curve import JohnsonCurve
from skmdn.learning.judging import predicted
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import ACTIVATIONS, Architecture
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.objective import MixtureObjective
from skmdn.learning.optimizer import AveragedAdamW

needs_cuda = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="torch sees no CUDA device here"
)
without_cuda = pytest.mark.skipif(
    torch.cuda.is_available(), reason="torch sees a CUDA device here"
)

RNG = np.random.default_rng(0)
X = RNG.standard_normal((200, 3))
Y = np.stack([X[:, 0] ** 2, X[:, 1]], axis=1) + 0.1 * RNG.standard_normal((200, 2))


def small(**parameters):
    sizes = {"n_components": 2, "n_estimators": 2, "hidden_layer_sizes": (8,), "max_iter": 2}
    return MDNRegressor(**{**sizes, "random_state": 0, **parameters})


@without_cuda
def test_auto_is_the_cpu_where_there_is_no_gpu():
    models = [small(device=device).fit(X, Y).partial_fit(X, Y) for device in ("cpu", "auto")]
    flats = [model.network_.flat() for model in models]
    assert flats[0].equal(flats[1])
    np.testing.assert_array_equal(*(model.predict(X) for model in models))


@pytest.mark.parametrize("device", ["cdua", "", "cuda:x", "cuda:99", "vulkan", "hpu", "meta"])
def test_an_unknown_device_is_named_in_one_line(device):
    fitted = small().fit(X, Y)
    before = fitted.network_.flat()
    fitted.set_params(device=device)
    message = rf"^device '{device}' is none that torch has here: [^\n]+$"
    for act in (fitted.fit, fitted.partial_fit, lambda X, Y: fitted.predict(X)):
        with pytest.raises(ValueError, match=message):
            act(X, Y)
    assert fitted.network_.flat().equal(before)
    with pytest.raises(ValueError, match=message):
        small(device=device).fit(X, Y)


@pytest.mark.parametrize("device", [None, 0, torch.device("cpu")])
def test_a_device_is_named_by_a_string(device):
    with pytest.raises(ValueError, match=r"'device' parameter .* must be an instance of 'str'"):
        small(device=device).fit(X, Y)


def tensors(thing):
    """Yield the tensors among the attributes of an object, in lists and tables as well."""
    if isinstance(thing, torch.Tensor):
        yield thing
    elif isinstance(thing, (list, tuple)):
        for part in thing:
            yield from tensors(part)
    elif isinstance(thing, dict):
        yield from tensors(list(thing.values()))


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("noise_type", NOISE_MODELS)
def test_a_step_stays_on_its_device_in_single_precision(noise_type, activation):
    noise = NOISE_MODELS[noise_type]
    curve = JohnsonCurve.fit(Y, np.ones(len(Y))) if noise.all_free(3, 2) else None
    loss = MixtureLoss(3, 2, noise, reg_covar=1e-6, curve=curve)
    architecture = Architecture(2, 4, loss.n_outputs, (8, 8), activation)
    flat = torch.empty(architecture.n_parameters, dtype=torch.float32, device="meta")
    table = torch.empty(40, 4 + 2 + 1, dtype=torch.float32, device="meta")
    work = MixtureObjective(architecture, loss, flat, table, n_held_out=4, batch_size=6)
    work.is_weighted = True  # which is not told by a table without values
    optimizer = AveragedAdamW(flat, weight_decay=0.1)
    losses = work.step(next(work.batches(torch.Generator())))
    optimizer.step(work.gradient, 0.01)
    held_out = work.held_out_rows(torch.arange(4, device="meta"))
    seen = predicted(work, flat, held_out)
    judged = seen.log_densities([1.0, 1.2]), seen.weights, *seen.errors(1.2)
    (share,) = work.shares
    state = [vars(part) for part in (work, share, share.network, optimizer)]
    for tensor in tensors([losses, judged, state]):
        assert tensor.device.type == "meta"
        assert tensor.dtype == torch.float32 or not tensor.is_floating_point()


def close(cuda_model, cpu_model):
    """Assert that two models with one network answer alike, in units of the targets' spread."""
    for rows in (X, X.astype(np.float32)):
        there, here = cuda_model.predict_mixture(rows), cpu_model.predict_mixture(rows)
        np.testing.assert_allclose(there.weights, here.weights, atol=1e-4)
        np.testing.assert_allclose(there.means, here.means, atol=1e-4)
        np.testing.assert_allclose(there.covariances, here.covariances, atol=1e-4)


@needs_cuda
@pytest.mark.parametrize("noise_type", NOISE_MODELS)
def test_one_network_answers_the_same_on_both_devices(noise_type):
    model = small(noise_type=noise_type, device="cuda").fit(X, Y).partial_fit(X, Y)
    twin = pickle.loads(pickle.dumps(model)).set_params(device="cpu")
    close(model, twin)
    auto = pickle.loads(pickle.dumps(model)).set_params(device="auto")
    np.testing.assert_array_equal(auto.predict(X), model.predict(X))


@pytest.mark.parametrize("noise_type", NOISE_MODELS)
def test_what_a_gpu_computes_with_learns_the_same_on_the_cpu(noise_type, monkeypatch):
    """One step in torch is one in NumPy but for rounding, and so are a few passes."""
    plain = small(noise_type=noise_type, max_iter=3).fit(X, Y)
    for module in (network, objective, shares):
        monkeypatch.setattr(module, "as_array", lambda tensor: tensor)
    twin = small(noise_type=noise_type, max_iter=3).fit(X, Y)
    assert twin.score(X, Y) == pytest.approx(plain.score(X, Y), abs=1e-3)
    np.testing.assert_allclose(twin.predict(X), plain.predict(X), atol=1e-2)


@needs_cuda
def test_both_devices_learn_as_much():
    there, here = (small(device=device, max_iter=50).fit(X, Y) for device in ("cuda", "cpu"))
    assert there.score(X, Y) == pytest.approx(here.score(X, Y), abs=0.1)
    again = small(device="cuda", max_iter=50).fit(X, Y)
    assert again.score(X, Y) == pytest.approx(there.score(X, Y), abs=1e-3)


WITHOUT_GPU = """
import pickle, sys
import torch
assert not torch.cuda.is_available()
model, X, Y = pickle.load(sys.stdin.buffer)
try:
    model.predict(X)
except ValueError as error:
    assert str(error).startswith("device 'cuda'"), error
else:
    raise AssertionError("predicted on a device that is not there")
model.set_params(device="cpu")
sys.stdout.buffer.write(model.predict(X).tobytes())
model.partial_fit(X, Y)
"""


def test_a_model_from_the_gpu_loads_where_there_is_none():
    """It is fitted on a GPU where there is one; else it only says so."""
    model = small(device="auto").fit(X, Y).partial_fit(X, Y)
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_GPU],
        input=pickle.dumps((model.set_params(device="cuda"), X, Y)),
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        stdout=subprocess.PIPE,
        check=True,
    )
    answer = np.frombuffer(process.stdout).reshape(Y.shape)
    np.testing.assert_allclose(answer, model.set_params(device="auto").predict(X), atol=1e-4)


@needs_cuda
def test_partial_fit_moves_with_the_device():
    model = small(device="cuda").partial_fit(X, Y)
    model.set_params(device="cpu").partial_fit(X, Y)
    model.set_params(device="cuda").partial_fit(X, Y)
    assert np.isfinite(model.score(X, Y))
