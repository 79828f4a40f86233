"""Choose parameters on a cluster: GridSearchCV under joblib's dask backend.

The cluster here is two worker processes on this machine. For a real one give `Client` its
scheduler's address; nothing else changes. `scatter` sends the data to each worker once, before
the fits, which then only refer to them. Needs the extra `dask`.
"""

import time

import joblib
import numpy as np
from dask.distributed import Client, LocalCluster
from sklearn.model_selection import GridSearchCV

from skmdn import MDNRegressor

N_WORKERS, N_ROWS, MAX_ITER = 2, 1000, 60
GRID = {"n_components": [1, 2, 4], "alpha": [0.02, 0.2]}


def simulate(n, rng):
    """Draw n rows with two answers each, x and -x; their noise grows with the second feature."""
    X = rng.uniform(-1, 1, size=(n, 2))
    sign = rng.choice([-1.0, 1.0], size=n)
    return X, sign * X[:, 0] + 0.1 * np.exp(X[:, 1]) * rng.standard_normal(n)


def search(X, y):
    """Fit and score every candidate, two folds each, on whichever joblib backend is active."""
    model = MDNRegressor(n_estimators=2, max_iter=MAX_ITER, random_state=0)
    return GridSearchCV(model, GRID, cv=2, n_jobs=N_WORKERS).fit(X, y)


def search_on_cluster(X, y):
    """Search on a cluster of worker processes of its own, each of one thread."""
    with (
        LocalCluster(
            n_workers=N_WORKERS,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",  # whichever port is free
        ) as cluster,
        Client(cluster) as client,
        joblib.parallel_config("dask", client=client, scatter=[X, y]),
    ):
        return search(X, y)


def main():
    X, y = simulate(N_ROWS, np.random.default_rng(0))
    start = time.perf_counter()
    found = search_on_cluster(X, y)
    results = found.cv_results_
    print("mean log p(y | x) of held-out rows, in nats")
    for parameters, score in zip(results["params"], results["mean_test_score"], strict=True):
        print(f"  {score:7.3f}  {parameters}")
    n_fits = len(results["params"]) * found.n_splits_
    print(f"  best: {found.best_params_}")
    seconds = time.perf_counter() - start
    print(f"{n_fits} fits by {N_WORKERS} worker processes, {seconds:.0f} s with their start")


if __name__ == "__main__":
    main()
