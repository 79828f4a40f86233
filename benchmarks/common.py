"""What the benchmarks share: data, records that survive an interruption, times and tables."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import platform
import time
from functools import cache
from pathlib import Path

import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib import ticker

import skmdn

HERE = Path(__file__).parent
RESULTS = HERE / "results"  # what was measured, row by row; not in the repository
STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.92",
    "font.size": 9,
    "figure.dpi": 150,
}
OURS = "#c8102e"  # our own colour; peers share the cooler ones
COOL = ["#1f4e79", "#4a90c4", "#6b8e23", "#7a5195", "#b07d2b", "#4d4d4d", "#2a9d8f", "#9a9a9a"]


# --- data ------------------------------------------------------------------------------------


def uci_sets(data: Path) -> list[str]:
    """Names of the sets under DIR (or DIR/uci) in the layout of the standard UCI splits."""
    return sorted(path.parents[1].name for path in _uci_root(data).glob("*/data/data.txt"))


def n_uci_splits(data: Path, name: str) -> int:
    return int(np.loadtxt(_uci_root(data) / name / "data" / "n_splits.txt"))


def uci_split(data: Path, name: str, split: int):
    """Return X_train, y_train, X_test, y_test."""
    folder = _uci_root(data) / name / "data"
    table = np.loadtxt(folder / "data.txt")

    def index(what: str) -> np.ndarray:
        return np.atleast_1d(np.loadtxt(folder / f"index_{what}.txt")).astype(int)

    X, y = table[:, index("features")], table[:, index("target")[0]]
    train, test = index(f"train_{split}"), index(f"test_{split}")
    return X[train], y[train], X[test], y[test]


def _uci_root(data: Path) -> Path:
    return data / "uci" if (data / "uci").is_dir() else data


def counted(text: str) -> range:
    """Read "5" as the first five and "5:10" as the second five."""
    start, _, stop = text.rpartition(":")
    return range(int(start or 0), int(stop))


# --- records ---------------------------------------------------------------------------------


class Records:
    """JSON lines in a file, one a measurement; several processes may append to it at once.

    Parameters
    ----------
    path : Path
    keys : tuple of str
        The fields that tell measurements apart. What is there already need not be measured again;
        of equal ones the last counts.
    """

    def __init__(self, path: Path, keys: tuple[str, ...]):
        self.path, self.keys = path, keys
        self.rows = {}
        if path.exists():
            for line in path.read_text().splitlines():
                self._keep(json.loads(line))

    def _keep(self, row: dict) -> None:
        key = self._key(row)
        self.rows.pop(key, None)  # the latest comes last
        self.rows[key] = row

    def _key(self, row: dict) -> tuple:
        return tuple(row[key] for key in self.keys)

    def __contains__(self, row: dict) -> bool:
        return self._key(row) in self.rows

    def add(self, row: dict) -> None:
        self._keep(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")

    def newest(self, *names: str) -> dict[tuple, list[dict]]:
        """Group the rows by these fields; of each group, keep those of its latest settings."""
        groups: dict[tuple, list[dict]] = {}
        for row in self.rows.values():
            groups.setdefault(tuple(row[name] for name in names), []).append(row)
        return {
            key: [row for row in rows if row["settings"] == rows[-1]["settings"]]
            for key, rows in groups.items()
        }


@cache
def code_digest(*also: str) -> str:
    """Eight letters that change whenever the code that learns does, its comments aside."""
    root = Path(skmdn.__file__).parent
    digest = hashlib.sha1()
    parts = "regressor", "fitting", "residuals", "line", "targets", "grids", "scaling"
    own = [f"_{part}.py" for part in parts]
    names = [root / name for name in (*own, *also)]
    for path in [*names, *sorted((root / "learning").glob("*.py"))]:
        digest.update(ast.dump(_without_docstrings(ast.parse(path.read_text()))).encode())
    return digest.hexdigest()[:8]


def _without_docstrings(tree: ast.AST) -> ast.AST:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        first = body[0] if isinstance(body, list) and body else None
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
            del body[0]
    return tree


code_digest()  # now: the code that is imported, not what an editor makes of it later


# --- times -----------------------------------------------------------------------------------


def timed(function, *args):
    """Return what a function returns, its wall seconds and its processor seconds."""
    wall, processor = time.perf_counter(), time.process_time()
    value = function(*args)
    return value, time.perf_counter() - wall, time.process_time() - processor


def interleaved(
    functions: dict,
    repeats: int,
    calls: int = 1,
    least_seconds: float = 0.0,
    finish=lambda: None,
    warm_up: bool = True,
) -> dict:
    """Return the seconds of a call of each function, one a turn.

    A machine's speed drifts; taken in turns, all functions see the same drift. The order turns
    round each time. Quick functions take more turns than ``repeats``, until ``least_seconds`` are
    over; ``finish`` waits for work still under way (on a GPU).
    """
    seconds = {name: [] for name in functions}
    for function in functions.values() if warm_up else ():
        function()  # the first call allocates and loads
    order, began = list(functions), time.perf_counter()
    while len(seconds[order[0]]) < repeats or time.perf_counter() - began < least_seconds:
        for name in order:
            finish()
            start = time.perf_counter()
            for _ in range(calls):
                functions[name]()
            finish()
            seconds[name].append((time.perf_counter() - start) / calls)
        order.reverse()
    return {name: np.array(values) for name, values in seconds.items()}


def n_threads() -> int:
    return torch.get_num_threads()


def environment() -> str:
    """One line on what was measured on."""
    return (
        f"{platform.machine()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')} "
        f"({n_threads()} used), skmdn {skmdn.__version__} ({code_digest()})"
    )


# --- tables and pictures ---------------------------------------------------------------------


def mean_and_error(values) -> tuple[float, float]:
    """Mean and its standard error; NaN where there is nothing, or one value only."""
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return (values.mean() if len(values) else np.nan), error


def with_error(values, digits: int = 3) -> str:
    """Write the mean and standard error of some values; a dash where there are none."""
    values = [value for value in values if value is not None]
    if not values:
        return "–"
    mean, error = mean_and_error(values)
    spread = "" if np.isnan(error) else f" ± {error:.{digits}f}"
    return f"{mean:.{digits}f}{spread}".replace("-", "−")


def markdown(header: list[str], rows: list[list]) -> str:
    """Write a table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def seconds_text(seconds: float) -> str:
    """Write a duration with three digits in a unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def plain_log_ticks(axis, form: str = "{x:g}") -> None:
    """Label a logarithmic axis at 1 and 3 times the powers of ten, as plain numbers."""
    axis.set_major_locator(ticker.LogLocator(subs=(1.0, 3.0)))
    axis.set_major_formatter(form)
    axis.set_minor_formatter(ticker.NullFormatter())


def save(figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)
    print(f"\nPicture: {path}")
