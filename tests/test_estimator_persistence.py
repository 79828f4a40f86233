"""Equal bits after any round trip, in any process; nothing of the caller's is touched."""

from __future__ import annotations

import copy
import io
import pickle
import random
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

import cloudpickle
import joblib
import numpy as np
import pytest
import skops.io
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone

from skmdn import AutoregressiveMDNRegressor, MDNRegressor
from skmdn.learning.training import Training

rng = np.random.default_rng(0)
X = rng.normal(size=(50, 2))
Y = np.column_stack([X[:, 0] + rng.normal(size=50), 1e3 * rng.normal(size=50)])


def small(**parameters):
    defaults = {"n_components": 2, "n_estimators": 2, "max_iter": 5, "hidden_layer_sizes": (8,)}
    return MDNRegressor(**defaults | {"random_state": 0} | parameters)


def with_networks_kept(model):
    """Fit; the first target is told by networks as they were on the way."""

    def keep_first(self):
        is_first_time = not self.objective.kept
        if is_first_time:
            self.objective.keep({0: self.objective.flat.clone()})
        return is_first_time

    with mock.patch.object(Training, "keep_parts", keep_first):
        model.fit(X, Y)
    assert model.network_.kept()
    return model


FITTED = {
    "one target": lambda: small().fit(X, Y[:, 0]),
    "full": lambda: small(noise_type="full", early_stopping=False).fit(X, Y),
    "fixed": lambda: small(noise_type="fixed", n_estimators=1).fit(X, Y),
    "partial": lambda: small().partial_fit(X, Y).partial_fit(X, Y),
    "kept": lambda: with_networks_kept(small(max_iter=300, n_iter_no_change=1)),
}


def bits(model):
    mixture = model.predict_mixture(X)
    arrays = mixture.weights, mixture.means, mixture.covariances, model.sample(X, random_state=1)
    return [array.tobytes() for array in arrays]


def through_joblib(model):
    buffer = io.BytesIO()
    joblib.dump(model, buffer)
    buffer.seek(0)
    return joblib.load(buffer)


def through_skops(model):
    """Nothing is run but what is of these classes, which are ours."""
    data = skops.io.dumps(model)
    trusted = skops.io.get_untrusted_types(data=data)
    for name in trusted:
        module, _, cls = name.rpartition(".")
        assert getattr(sys.modules[module], cls).__module__ == module, name
        assert module.startswith("skmdn."), name
    return skops.io.loads(data, trusted=trusted)


ROUND_TRIPS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "oldest pickle": lambda model: pickle.loads(pickle.dumps(model, protocol=2)),
    "cloudpickle": lambda model: cloudpickle.loads(cloudpickle.dumps(model)),
    "joblib": through_joblib,
    "skops": through_skops,
    "deepcopy": copy.deepcopy,
}


@pytest.mark.parametrize("round_trip", ROUND_TRIPS.values(), ids=ROUND_TRIPS)
@pytest.mark.parametrize("fitted", FITTED.values(), ids=FITTED)
def test_round_trip_keeps_every_bit(fitted, round_trip):
    model = fitted()
    copied = round_trip(model)
    assert bits(copied) == bits(model)
    # What is learned from here on is the same, too: chance and the optimiser travel along.
    y = Y if model.n_outputs_ == 2 else Y[:, 0]
    assert bits(copied.partial_fit(X, y)) == bits(model.partial_fit(X, y))
    assert bits(clone(copied).fit(X, y)) == bits(clone(model).fit(X, y))


def zeros_and_more(size):
    return np.where(rng.random(size) < 0.5, 0.0, rng.normal(size=size))


@pytest.mark.parametrize("mode", ["r", "c"])
def test_arrays_mapped_from_a_file_are_copied(tmp_path, mode):
    """As joblib hands large models to its workers: memory that cannot be written."""
    model = FITTED["partial"]()
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode=mode)
    assert bits(mapped) == bits(model)
    assert bits(mapped.partial_fit(X, Y)) == bits(model.partial_fit(X, Y))


#: What a model may have besides networks, and whether it has it.
MORE = {
    "atoms": (lambda: small().fit(X, zeros_and_more(50)), lambda m: m.atoms_ == [0.0]),
    "open atoms": (
        lambda: small().fit(X, zeros_and_more((50, 2))),
        lambda m: np.isnan(m.atoms_).any(),
    ),
    "grids": (
        lambda: small().fit(X, np.column_stack([np.arange(50) % 3, X[:, 1]])),
        lambda m: len(m.atoms_) == 3 and "rounded" in repr(m.predict_mixture(X)),
    ),
    "a line": (
        lambda: MDNRegressor(random_state=0).fit(X, X @ [1.0, 2.0] + 0.01 * rng.normal(size=50)),
        lambda m: m.line_ is not None,
    ),
    "prediction sets": (
        lambda: small(n_estimators=5).fit(X, Y).calibrate(X, Y),
        lambda m: hasattr(m, "conformity_scores_"),
    ),
    "a chain": (
        lambda: AutoregressiveMDNRegressor(small()).fit(X, Y),
        lambda m: isinstance(m, AutoregressiveMDNRegressor),
    ),
}


@pytest.mark.parametrize(("fitted", "has_it"), MORE.values(), ids=MORE)
def test_skops_keeps_all_that_a_model_may_have(fitted, has_it):
    model = fitted()
    assert has_it(model)
    copied = through_skops(model)
    assert has_it(copied)
    assert_array_equal(copied.predict(X), model.predict(X))
    assert_array_equal(copied.sample(X, 2, random_state=0), model.sample(X, 2, random_state=0))


CHILD = """
import pickle, sys
payload = pickle.load(sys.stdin.buffer)
assert not {"skmdn", "torch"} & set(sys.modules)
answers = []
for data, X, Y in payload:
    model = pickle.loads(data)
    mixture = model.predict_mixture(X)
    again = type(model)(**model.get_params()).fit(X, Y).predict_mixture(X)
    answers.append([a.tobytes() for m in (mixture, again) for a in (m.weights, m.means)])
pickle.dump(answers, sys.stdout.buffer)
"""


def test_a_process_that_never_saw_the_class_finds_the_same_bits(tmp_path):
    models = [fitted() for name, fitted in FITTED.items() if name not in ("partial", "kept")]
    targets = [Y if model.n_outputs_ == 2 else Y[:, 0] for model in models]
    payload = [
        (dump(model), X, y)
        for model, y in zip(models, targets, strict=True)
        for dump in (pickle.dumps, cloudpickle.dumps)
    ]
    child = subprocess.run(
        [sys.executable, "-W", "error", "-c", CHILD],
        input=pickle.dumps(payload),
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        check=True,
    )
    mixtures = [model.predict_mixture(X) for model in models]
    expected = [[m.weights.tobytes(), m.means.tobytes()] * 2 for m in mixtures for _ in range(2)]
    assert pickle.loads(child.stdout) == expected


def test_equal_random_states_give_equal_bits_and_others_do_not():
    first, again, other = (small(random_state=seed).fit(X, Y) for seed in (3, 3, 4))
    assert bits(first) == bits(again) == bits(first.fit(X, Y))
    assert (first.predict(X) != other.predict(X)).all()
    instances = (np.random.RandomState(3) for _ in range(2))
    first, again = (small(random_state=instance).fit(X, Y) for instance in instances)
    assert bits(first) == bits(again)


def test_threads_of_one_process_find_the_same_bits():
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: bits(small().fit(X, Y)), range(4)))
    assert all(other == bits(small().fit(X, Y)) for other in found)


@pytest.mark.parametrize("seed", [0, np.random.RandomState(0), np.random.default_rng(0)])
def test_draws_are_reproducible(seed):
    model = FITTED["full"]()
    draws = [model.sample(X, 3, random_state=copy.deepcopy(seed)) for _ in range(2)]
    assert_array_equal(*draws)
    assert draws[0].shape == (3, 50, 2)
    fresh = [model.sample(X) for _ in range(2)]
    assert (fresh[0] != fresh[1]).all()


def surroundings():
    """Everything of the caller's that a library might leave changed."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    return {
        "numpy": (kind, keys.tobytes(), *rest),
        "torch": torch.get_rng_state().numpy().tobytes(),
        "random": random.getstate(),
        "threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "dtype": torch.get_default_dtype(),
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warnings": list(warnings.filters),
        "floating point errors": np.geterr(),
    }


def everything(model, y):
    model.fit(X, y).partial_fit(X, y).set_params(warm_start=True).fit(X, y)
    model.predict(X, return_std=True)
    model.predict_quantiles(X)
    model.predict_interval(X)
    model.sample(X)
    model.sample(X, 2, random_state=0)
    model.score(X, y)
    model.score_samples(X)
    pickle.loads(pickle.dumps(model)).predict(X)
    for bad in (lambda: model.fit(X, y * np.nan), lambda: model.predict(X[:, :1])):
        with pytest.raises(ValueError):
            bad()


@pytest.mark.parametrize("random_state", [None, 0])
@pytest.mark.parametrize("early_stopping", [True, False])
def test_nothing_of_the_callers_is_touched(random_state, early_stopping):
    before = surroundings()
    everything(small(random_state=random_state, early_stopping=early_stopping), Y)
    assert surroundings() == before


def test_an_error_in_training_leaves_the_surroundings_alone(monkeypatch):
    before = surroundings()
    model = small().fit(X, Y)
    expected = bits(model)

    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("skmdn._fitting.Training", interrupted)
    monkeypatch.setattr("skmdn._fitting.one_pass", interrupted)
    for learn in (model.fit, model.partial_fit):
        with pytest.raises(KeyboardInterrupt):
            learn(X, Y)
    assert surroundings() == before
    assert bits(model) == expected


@pytest.fixture(params=[torch.float64, torch.float16], ids=str)
def default_dtype(request):
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(torch.float32)


def test_the_callers_default_dtype_changes_nothing(default_dtype):
    found = bits(small(noise_type="full").fit(X, Y))
    everything(small(), Y)
    assert torch.get_default_dtype() == default_dtype
    torch.set_default_dtype(torch.float32)
    assert found == bits(small(noise_type="full").fit(X, Y))


class Noting(MDNRegressor):
    """Keeps notes that its pickles leave out."""

    def __getstate__(self):
        return {k: v for k, v in super().__getstate__().items() if k != "notes"}


def test_fit_keeps_what_pickles_leave_out():
    model = Noting(n_estimators=1, max_iter=1)
    model.notes = ["mine"]
    assert model.fit(X, Y).notes == ["mine"]
    assert model.partial_fit(X, Y).notes == ["mine"]
    assert not hasattr(pickle.loads(pickle.dumps(model)), "notes")


@pytest.mark.parametrize("n_estimators", [1, 8])
def test_the_callers_default_device_changes_nothing(n_estimators):
    """Tensors made on "meta" have no values: none of ours may land there by default."""
    model = small(noise_type="full", n_estimators=n_estimators)
    expected = bits(model.fit(X, Y))
    with torch.device("meta"):
        found = bits(model.fit(X, Y))
        everything(small(n_estimators=n_estimators), Y)
    assert found == expected


def test_the_callers_threads_stay_as_they_are():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        small(max_iter=1).fit(X, Y).predict(X)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("mode", [torch.enable_grad, torch.no_grad, torch.inference_mode])
def test_the_callers_gradient_mode_changes_nothing(mode):
    expected = bits(small().fit(X, Y))
    with mode():
        model = small().fit(X, Y)
        assert bits(model) == expected
    assert bits(pickle.loads(pickle.dumps(model))) == expected
    assert bits(model.partial_fit(X, Y)) == bits(small().fit(X, Y).partial_fit(X, Y))


def test_data_are_read_never_written():
    weights = np.arange(50.0)
    arrays = X.copy(), Y.copy(), weights.copy()
    for array in arrays:
        array.setflags(write=False)
    model = small().fit(*arrays).partial_fit(*arrays)
    model.predict(arrays[0])
    model.score(*arrays)
    for array, original in zip(arrays, (X, Y, weights), strict=True):
        assert_array_equal(array, original)
