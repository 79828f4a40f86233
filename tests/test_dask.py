"""The example's grid search on a real cluster of worker processes: same bits, data sent once."""

from __future__ import annotations

import runpy
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
psutil = pytest.importorskip("psutil")  # distributed brings it along

EXAMPLE = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "dask_cluster.py"))
OPTIONS = {"grid": {"n_components": [1, 2], "alpha": [0.02]}, "max_iter": 2}


def children():
    """Return the processes started from here, without the one that multiprocessing keeps."""
    started = psutil.Process().children(recursive=True)
    return {child for child in started if "resource_tracker" not in " ".join(child.cmdline())}


@pytest.fixture(scope="module")
def data():
    return EXAMPLE["simulate"](400, np.random.default_rng(0))


@pytest.fixture(scope="module")
def on_cluster(data):
    """Return the search on the cluster, what was scattered and submitted, processes left over."""
    client, scattered, submitted, before = distributed.Client, [], [], children()
    scatter, submit = client.scatter, client.submit

    def spied_scatter(self, data, *args, **kwargs):
        scattered.extend(data if isinstance(data, list) else [data])
        return scatter(self, data, *args, **kwargs)

    def spied_submit(self, function, *args, tasks, **kwargs):
        submitted.extend(tasks)
        return submit(self, function, *args, tasks=tasks, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "scatter", spied_scatter)
        patch.setattr(client, "submit", spied_submit)
        found = EXAMPLE["search_on_cluster"](*data, **OPTIONS)
    return found, scattered, submitted, children() - before


def test_the_cluster_and_loky_find_the_same_bits(data, on_cluster):
    found = on_cluster[0]
    with joblib.parallel_config("loky"):
        local = EXAMPLE["search"](*data, **OPTIONS)
    get_reusable_executor().shutdown()
    for fold in range(found.n_splits_):
        name = f"split{fold}_test_score"
        np.testing.assert_array_equal(found.cv_results_[name], local.cv_results_[name])
    assert found.best_score_ == local.best_score_
    assert found.best_params_ == local.best_params_
    X = data[0][:50]
    np.testing.assert_array_equal(found.predict(X), local.predict(X))


def test_the_data_are_sent_once(data, on_cluster):
    found, scattered, submitted, _ = on_cluster
    for array in data:
        assert sum(sent is array for sent in scattered) == 1
    assert len(submitted) == len(found.cv_results_["params"]) * found.n_splits_
    for _, arguments, named in submitted:
        values = [*arguments, *named.values()]
        assert sum(isinstance(value, distributed.Future) for value in values) >= len(data)
        assert not any(value is array for value in values for array in data)


def test_no_process_is_left(on_cluster):
    assert not on_cluster[-1]
