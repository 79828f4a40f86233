"""Rows of the speed table on memory, each measured in a process of its own, as Linux counts it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from speed_rows import Options, Result, Row, row

ROWS: dict[str, Row] = {}
WORKING_MEMORY = 128  # MiB, far less than the answers' mixtures would take
MIB = 2**20


# --- in the parent -----------------------------------------------------------------------------


def in_child(*arguments) -> dict:
    command = [sys.executable, __file__, *map(str, arguments)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def held_working_memory(question: str, options: Options) -> Result:
    found = in_child("predict", question, options.rows(1_000_000))
    used = found["peak"] - found["before"] - found["output"]
    note = f"answers {found['output']:.0f} MiB, not counted"
    return Result(
        f"{used:.0f} MiB", f"{WORKING_MEMORY} MiB", used / WORKING_MEMORY, f"peak RSS; {note}"
    )


for _question in ("predict_quantiles", "score_samples", "predict"):
    row(
        ROWS,
        f"memory-{_question}",
        f"peak memory of {_question} on 1e6 rows, 16 members, beside its answers",
        f"scikit-learn's working_memory, here {WORKING_MEMORY} MiB",
        1.0,
    )(lambda options, question=_question: held_working_memory(question, options))


@row(
    ROWS,
    "memory-fit",
    "peak memory of fit on a float32 memory map, beside the pages read",
    "one float32 copy",
    1.3,
)
def memory_fit(options: Options) -> Result:
    with tempfile.TemporaryDirectory() as folder:
        found = in_child("fit", folder, options.gigabytes)
    used = found["anonymous"] - found["before"]
    note = f"anonymous pages; with the map's own {found['peak'] - found['before']:.0f} MiB"
    return Result(
        f"{used:.0f} MiB",
        f"{found['copy']:.0f} MiB",
        used / found["copy"],
        f"{note}; {found['seconds']:.0f} s for one pass of one member",
    )


# --- in the child ------------------------------------------------------------------------------


def status(name: str) -> float:
    """A line of /proc/self/status, in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew


def predict(question: str, n: int) -> dict:
    import numpy as np
    import sklearn

    from skmdn import MDNRegressor

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((n, 10)), rng.standard_normal(n)
    model = MDNRegressor(n_estimators=16, max_iter=2, random_state=0).fit(X[:500], y[:500])
    arguments = (X, y) if question == "score_samples" else (X,)
    sklearn.set_config(working_memory=WORKING_MEMORY)
    getattr(model, question)(*(a[:2000] for a in arguments))  # what is loaded once
    forget_peak()
    before = status("VmRSS")
    answer = getattr(model, question)(*arguments)
    return {"before": before, "peak": status("VmHWM"), "output": answer.nbytes / MIB}


def fit(folder: str, gigabytes: float) -> dict:
    import time

    import numpy as np

    from skmdn import MDNRegressor

    n, rng = int(gigabytes * 2**30 / 400), np.random.default_rng(0)
    X = np.memmap(f"{folder}/X.f32", np.float32, "w+", shape=(n, 100))
    for start in range(0, n, 50_000):
        X[start : start + 50_000] = rng.standard_normal((len(X[start : start + 50_000]), 100))
    X.flush()
    X = np.memmap(f"{folder}/X.f32", np.float32, "r", shape=(n, 100))
    y = np.array(X[:, 0]) + rng.standard_normal(n, np.float32)
    model = MDNRegressor(n_estimators=1, max_iter=1, random_state=0)
    model.fit(X[:500], y[:500])
    forget_peak()
    before, most, done = status("RssAnon"), [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            most[0] = max(most[0], status("RssAnon"))

    watcher, start = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    model.fit(X, y)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    sizes = {"copy": X.nbytes / MIB, "peak": status("VmHWM"), "anonymous": most[0]}
    return {"before": before, "seconds": seconds} | sizes


if __name__ == "__main__":
    what, first, second = sys.argv[1:]
    print(
        json.dumps(predict(first, int(second)) if what == "predict" else fit(first, float(second)))
    )
