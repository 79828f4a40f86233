"""The example's grid search on a real cluster of worker processes: same bits, data sent once."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from pathlib import Path

import joblib
import numpy as np
import pytest
from joblib.externals.loky import get_reusable_executor

distributed = pytest.importorskip("distributed", reason="needs the extra dask")
psutil = pytest.importorskip("psutil")  # distributed brings it along

EXAMPLES = Path(__file__).parents[1] / "examples"
SMALL = {"N_ROWS": 400, "MAX_ITER": 2, "GRID": {"n_components": [1, 2], "alpha": [0.02]}}


def children():
    """Return the processes started from here, without the one that multiprocessing keeps."""
    started = psutil.Process().children(recursive=True)
    return {child for child in started if "resource_tracker" not in " ".join(child.cmdline())}


@pytest.fixture(scope="module")
def example():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(EXAMPLES)
        module = importlib.import_module("dask_cluster")
        for name, value in SMALL.items():
            patch.setattr(module, name, value)
        yield module


@dataclass
class Run:
    """What a run of the example did."""

    data: tuple = ()
    found: object = None
    scattered: list = field(default_factory=list)
    submitted: list = field(default_factory=list)
    left: set = field(default_factory=set)


@pytest.fixture(scope="module")
def run(example):
    """Run the example, and watch the client of its cluster."""
    run, client, before = Run(), distributed.Client, children()
    search, scatter, submit = example.search, client.scatter, client.submit

    def spied_search(X, y):
        run.data, run.found = (X, y), search(X, y)
        return run.found

    def spied_scatter(self, data, *args, **kwargs):
        run.scattered.extend(data if isinstance(data, list) else [data])
        return scatter(self, data, *args, **kwargs)

    def spied_submit(self, function, *args, tasks, **kwargs):
        run.submitted.extend(tasks)
        return submit(self, function, *args, tasks=tasks, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(example, "search", spied_search)
        patch.setattr(client, "scatter", spied_scatter)
        patch.setattr(client, "submit", spied_submit)
        example.main()
    run.left = children() - before
    return run


def test_the_cluster_and_loky_find_the_same_bits(example, run):
    with joblib.parallel_config("loky"):
        local = example.search(*run.data)
    get_reusable_executor().shutdown()
    for fold in range(local.n_splits_):
        name = f"split{fold}_test_score"
        np.testing.assert_array_equal(run.found.cv_results_[name], local.cv_results_[name])
    assert run.found.best_score_ == local.best_score_
    assert run.found.best_params_ == local.best_params_
    X = run.data[0][:50]
    np.testing.assert_array_equal(run.found.predict(X), local.predict(X))


def test_the_data_are_sent_once(run):
    for array in run.data:
        assert sum(sent is array for sent in run.scattered) == 1
    assert len(run.submitted) == len(run.found.cv_results_["params"]) * run.found.n_splits_
    for _, arguments, named in run.submitted:
        values = [*arguments, *named.values()]
        assert sum(isinstance(value, distributed.Future) for value in values) >= len(run.data)
        assert not any(value is array for value in values for array in run.data)


def test_no_process_is_left(run):
    assert not run.left
