"""How cost grows: a step's with the batch, a fit's with the rows and with the members."""

from __future__ import annotations

from pathlib import Path

import common
import numpy as np
from common import markdown, seconds_text, timed
from matplotlib import pyplot as plt
from plain_mdn import OneTrunk
from speed_rows import Options
from speed_training import STEPS, our_pass, plain_pass

from skmdn import MDNRegressor
from skmdn.learning.planning import USUAL

BATCHES = (16, 32, 64, 128, 256, 512, 1024)
MEMBERS = (1, 2, 4, 8, 16, 32)
PASSES = 3
#: Members of a default fit, unless mixing gains hardly anything.
USUAL_MEMBERS = 16


def steps_by_batch(options: Options) -> dict[str, list[float]]:
    """Seconds of a training step, 2×64 hidden units, 8 features, 5 components."""

    def autograd(batch: int):
        return plain_pass(OneTrunk(8, 5, (64, 64)), batch, 8, "cpu", fused=True)

    kinds = {
        f"ours, {USUAL_MEMBERS} members": lambda batch: our_pass(
            USUAL_MEMBERS, batch, (64, 64), 8, 5, "cpu"
        ),
        "ours, 1 member": lambda batch: our_pass(1, batch, (64, 64), 8, 5, "cpu"),
        "autograd, 1 network": autograd,
    }
    passes = {(kind, batch): make(batch) for kind, make in kinds.items() for batch in BATCHES}
    seconds = common.interleaved(passes, options.repeats)
    return {kind: [seconds[kind, b].min() / STEPS for b in BATCHES] for kind in kinds}


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows with something to learn: a bend, an interaction, noise that grows."""
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 8))
    noise = np.exp(0.5 * X[:, 3]) * rng.standard_normal(n)
    return X, np.sin(2 * X[:, 0]) + X[:, 1] * X[:, 2] + 0.3 * noise


def fit_seconds(n: int, **parameters) -> float:
    X, y = data(n)
    return timed(MDNRegressor(random_state=0, **parameters).fit, X, y)[1]


def sizes(most: int) -> list[int]:
    return [n for k in range(3, 7) for n in (10**k, 3 * 10**k) if n <= most]


def report(options: Options, most_rows: int, whole_rows: int, path: Path) -> None:
    fit_seconds(500, max_iter=1)  # the first fit loads
    steps = steps_by_batch(options)
    # The trials are part of whole fits alone.
    told = {"alpha": USUAL.weight_decay}
    passes = {n: fit_seconds(n, max_iter=PASSES, **told) / PASSES for n in sizes(most_rows)}
    whole = {n: fit_seconds(n) for n in sizes(whole_rows)}
    members = {e: fit_seconds(2000, n_estimators=e, max_iter=30, **told) / 30 for e in MEMBERS}
    print(f"\n{common.environment()}\n\nA training step by batch size\n")
    cells = [[name, *map(seconds_text, values)] for name, values in steps.items()]
    print(markdown(["", *map(str, BATCHES)], cells))
    print("\nDefault fit by rows, and a pass of 2,000 rows by members\n")
    for title, found in (("one pass", passes), ("whole fit", whole), ("members", members)):
        print(
            markdown(
                [title, *(f"{n:,}" for n in found)], [["", *map(seconds_text, found.values())]]
            ),
            end="\n\n",
        )
    draw(steps, passes, whole, members, path)


def draw(steps, passes, whole, members, path: Path) -> None:
    with plt.rc_context(common.STYLE):
        figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.4), layout="constrained")
        colours = [common.OURS, "#e58a96", common.COOL[0]]
        for (name, seconds), colour in zip(steps.items(), colours, strict=True):
            axes[0].plot(BATCHES, np.array(seconds) * 1e3, "o-", ms=4, color=colour, label=name)
        axes[0].set(title="A step", xlabel="batch size", ylabel="milliseconds")
        for found, colour, name in (
            (passes, common.OURS, "one pass"),
            (whole, common.COOL[0], "whole fit"),
        ):
            if found:
                axes[1].plot([*found], [*found.values()], "o-", ms=4, color=colour, label=name)
        proportional(axes[1], passes)
        axes[1].set(title="A default fit", xlabel="rows", ylabel="seconds")
        axes[2].plot(
            [*members],
            [*members.values()],
            "o-",
            ms=4,
            color=common.OURS,
            label="one pass of 2,000 rows",
        )
        proportional(axes[2], members)
        axes[2].set(title="More members", xlabel="members", ylabel="seconds")
        for axis in axes:
            axis.set(xscale="log", yscale="log")
            axis.legend(frameon=False, fontsize=8, loc="best")
            axis.set_ymargin(0.25)
            common.plain_log_ticks(axis.yaxis)
        decades = [10**k for k in range(3, 7) if 10**k <= max(passes)]
        axes[1].set_xticks(decades, [f"{n:,}" for n in decades])
        axes[1].set_xticks([], minor=True)
        for axis, ticks in ((axes[0], BATCHES), (axes[2], MEMBERS)):
            axis.set_xticks(ticks, [str(tick) for tick in ticks])
            axis.set_xticks([], minor=True)
        common.save(figure, path)


def proportional(axis, found: dict[int, float]) -> None:
    """Where the cost would be if it grew like its cause."""
    first, last = min(found), max(found)
    ends = found[first], found[first] * last / first
    axis.plot([first, last], ends, "--", lw=1, color="0.6", zorder=1, label="in proportion")
