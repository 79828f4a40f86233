"""Learn from more rows than fit in memory: `partial_fit` on the blocks of dask arrays.

Each pass reads every block once, and one block is in memory at a time. The first call is given
several blocks, as it decides how features and targets are scaled. What comes of it is compared
with `fit`, which holds all rows at once and reads them until new rows gain nothing. Predictions
are made by blocks as well. Needs the extra `dask`.
"""

import dask
import dask.array as da
import numpy as np
from scipy import stats

from skmdn import MDNRegressor

N_BLOCKS, N_ROWS, N_FEATURES = 20, 1000, 5
FIRST_BLOCKS = 4


def components(X):
    """Return weight, means and standard deviation of the two normal distributions of y."""
    weight = 1 / (1 + np.exp(-2 * X[:, 2]))
    middle, half = np.sin(2 * X[:, 0]) + 0.5 * X[:, 1], 0.5 + 0.5 * np.abs(X[:, 3])
    return weight, middle + half, middle - half, 0.1 * np.exp(0.5 * X[:, 4])


def simulate(n, seed):
    """Draw n rows."""
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, N_FEATURES))
    weight, upper, lower, sd = components(X)
    mean = np.where(rng.random(n) < weight, upper, lower)
    return X, mean + sd * rng.standard_normal(n)


def true_log_density(X, y):
    weight, upper, lower, sd = components(X)
    return np.log(
        weight * stats.norm.pdf(y, upper, sd) + (1 - weight) * stats.norm.pdf(y, lower, sd)
    )


def lazy_rows(seeds):
    """Return X and y as dask arrays, a block for each seed, drawn only when it is asked for."""
    parts = [dask.delayed(simulate, nout=2)(N_ROWS, seed) for seed in seeds]
    return (
        da.concatenate([da.from_delayed(X, (N_ROWS, N_FEATURES), float) for X, _ in parts]),
        da.concatenate([da.from_delayed(y, (N_ROWS,), float) for _, y in parts]),
    )


def row_blocks(X, y):
    """Yield the blocks of dask arrays, one at a time. Any iterable of (X, y) does as well."""
    for i in range(X.numblocks[0]):
        yield dask.compute(X.blocks[i], y.blocks[i])


def one_pass(model, X, y):
    """Take every block once, the first few as one where the model is new."""
    if not hasattr(model, "network_"):
        model.partial_fit(*dask.compute(X.blocks[:FIRST_BLOCKS], y.blocks[:FIRST_BLOCKS]))
        X, y = X.blocks[FIRST_BLOCKS:], y.blocks[FIRST_BLOCKS:]
    for X_block, y_block in row_blocks(X, y):
        model.partial_fit(X_block, y_block)


def lazy_quantiles(model, X, quantiles):
    """Return conditional quantiles (n, q) as a dask array, computed by the blocks of X."""
    return X.map_blocks(
        model.predict_quantiles,
        quantiles=quantiles,
        dtype=float,
        chunks=(X.chunks[0], (len(quantiles),)),
        meta=np.empty((0, 0)),
    )


def main():
    X, y = lazy_rows(range(N_BLOCKS))
    X_new, y_new = lazy_rows(range(N_BLOCKS, N_BLOCKS + 10))
    held_out = dask.compute(X_new, y_new)
    print(f"{N_BLOCKS} blocks of {N_ROWS} rows; log p(y | x) of new rows, in nats")
    print(f"  {'the simulator':<22} {true_log_density(*held_out).mean():.3f}")
    in_memory = MDNRegressor(n_estimators=2, random_state=0).fit(*dask.compute(X, y))
    passes = f"fit, {in_memory.n_iter_} passes"
    print(f"  {passes:<22} {in_memory.score(*held_out):.3f}")

    model = MDNRegressor(n_estimators=2, random_state=0)
    for n_passes in range(1, 6):
        one_pass(model, X, y)
        passes = f"partial_fit, {n_passes} pass" + "es" * (n_passes > 1)
        print(f"  {passes:<22} {model.score(*held_out):.3f}")

    low, high = lazy_quantiles(model, X_new, (0.05, 0.95)).T
    inside = ((low <= y_new) & (y_new <= high)).mean().compute()
    print(f"\n90 % intervals, predicted by blocks, hold {100 * inside:.1f} % of the new rows.")


if __name__ == "__main__":
    main()
