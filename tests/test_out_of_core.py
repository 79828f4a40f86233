"""The example's training on blocks: as good as `fit`, whatever yields the blocks."""

from __future__ import annotations

import functools
import importlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from skmdn import MDNRegressor

dask = pytest.importorskip("dask", reason="needs the extra dask")
da = pytest.importorskip("dask.array", reason="needs the extra dask")

EXAMPLES = Path(__file__).parents[1] / "examples"
NETWORK = {"n_components": 2, "n_estimators": 1, "hidden_layer_sizes": (32,), "random_state": 0}


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        yield importlib.import_module("out_of_core")


@pytest.fixture(scope="module")
def blocks():
    """Return three blocks of unlike size, of two targets."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((120, 3))
    y = np.stack([X[:, 0] ** 2, X[:, 1]], axis=1) + 0.1 * rng.standard_normal((120, 2))
    cuts = [50, 75]
    return list(zip(np.split(X, cuts), np.split(y, cuts), strict=True))


def lazy(blocks):
    """Return dask arrays of these blocks."""
    parts = zip(*blocks, strict=True)
    return tuple(da.concatenate([da.from_array(block) for block in part]) for part in parts)


def test_passes_over_the_blocks_come_close_to_fit(example):
    X, y = example.lazy_rows(range(20))
    held_out = dask.compute(*example.lazy_rows(range(20, 30)))
    in_memory = MDNRegressor(**NETWORK).fit(*dask.compute(X, y))
    by_blocks, scores = MDNRegressor(**NETWORK), []
    for _ in range(4):
        example.one_pass(by_blocks, X, y)
        scores.append(by_blocks.score(*held_out))
    assert scores[-1] > in_memory.score(*held_out) - 0.05
    assert scores == sorted(scores)


def test_the_networks_come_to_rest(blocks):
    """With a constant step they would go on moving as far (1.08 times, here)."""
    model, path = MDNRegressor(**NETWORK), []
    for _ in range(100):
        for block in blocks:
            model.partial_fit(*block)
        path.append(model.network_.flat())
    early, late = (float((path[i + 20] - path[i]).norm()) for i in (20, 79))
    assert late < 0.85 * early


def test_new_blocks_do_not_undo_fit(example):
    """With steps as large as at the start of `fit`, the next block would cost 0.03 nats."""
    X, y = dask.compute(*example.lazy_rows(range(5)))
    held_out = dask.compute(*example.lazy_rows(range(20, 25)))
    model = MDNRegressor(**NETWORK, alpha=0.02, max_iter=40).fit(X[:4000], y[:4000])
    score = model.score(*held_out)
    model.partial_fit(X[4000:], y[4000:])
    assert model.score(*held_out) > score - 0.005


def test_blocks_of_dask_arrays_and_any_others_teach_the_same(example, blocks):
    lazily, eagerly = MDNRegressor(**NETWORK), MDNRegressor(**NETWORK)
    for X_block, y_block in example.row_blocks(*lazy(blocks)):
        lazily.partial_fit(X_block, y_block)
    for X_block, y_block in iter(blocks):
        eagerly.partial_fit(X_block, y_block)
    assert lazily.network_.flat().equal(eagerly.network_.flat())


def test_training_goes_on_where_a_pickle_left_off(blocks):
    whole, resumed = MDNRegressor(**NETWORK), MDNRegressor(**NETWORK)
    for block in blocks:
        whole.partial_fit(*block)
        resumed = pickle.loads(pickle.dumps(resumed)).partial_fit(*block)
    assert whole.network_.flat().equal(resumed.network_.flat())


@pytest.mark.parametrize("targets", [0, slice(2)], ids=["one target", "two targets"])
def test_predictions_by_blocks_are_those_of_all_rows(blocks, targets):
    X, y = (np.concatenate(part) for part in zip(*blocks, strict=True))
    model = MDNRegressor(**NETWORK).partial_fit(X, y[:, targets])
    rows = lazy(blocks)[0]
    shape = {"drop_axis": 1} if targets == 0 else {"chunks": (rows.chunks[0], (2,))}
    points = rows.map_blocks(model.predict, dtype=float, meta=np.empty(0), **shape)
    by_blocks = points.compute(scheduler="threads")
    np.testing.assert_allclose(by_blocks, model.predict(X), rtol=1e-12, atol=1e-12)


def test_quantiles_by_blocks_are_those_of_all_rows(example, blocks):
    X, y = (np.concatenate(part) for part in zip(*blocks, strict=True))
    model, levels = MDNRegressor(**NETWORK).partial_fit(X, y[:, 0]), (0.1, 0.5, 0.9)
    quantiles = example.lazy_quantiles(model, lazy(blocks)[0], levels)
    assert quantiles.chunks == ((50, 25, 45), (3,))
    by_blocks = quantiles.compute(scheduler="threads")
    np.testing.assert_allclose(
        by_blocks, model.predict_quantiles(X, levels), rtol=1e-12, atol=1e-12
    )


def test_the_example_runs(example, monkeypatch, capsys):
    monkeypatch.setattr(example, "N_BLOCKS", 6)
    monkeypatch.setattr(example, "N_ROWS", 50)
    monkeypatch.setattr(example, "MDNRegressor", functools.partial(MDNRegressor, max_iter=2))
    example.main()
    scores = re.findall(r"^  .* (\S+)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert len(scores) == 7
    assert np.isfinite([float(score) for score in scores]).all()
