"""The standard UCI regression splits: MDNRegressor beside its peers, same splits, same run.

    python benchmarks/uci.py --data DIR --peers
    python benchmarks/uci.py --data DIR --sets yacht concrete --splits 5 --models skmdn ngboost
    python benchmarks/uci.py --data DIR --ablate
    python benchmarks/uci.py --data DIR --report

Each measurement is one line in a file; what is there under the same settings is not measured
again, so a run may be stopped, continued, or shared between processes. State OMP_NUM_THREADS.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from unittest import mock

import common
import numpy as np
from common import STYLE, Records, markdown, timed, with_error
from matplotlib import pyplot as plt
from peers import COVERAGES, PEERS, Contender, scores

from skmdn import MDNRegressor
from skmdn.learning.network import Architecture

# Test NLL reported by others on the same splits (airfoil: on other splits): the best trained from
# scratch, and the best of a pretrained tabular foundation model.
PUBLISHED = {
    "yacht": (0.16, -0.73),
    "concrete": (2.83, 2.21),
    "power-plant": (2.58, 2.28),
    "kin8nm": (-1.32, -1.27),
    "airfoil": (None, 1.04),
}


# --- our own rows ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Variant:
    """MDNRegressor with other parameters, and with other constants while it is fitted."""

    parameters: dict = field(default_factory=dict)
    patches: dict = field(default_factory=dict)

    def contender(self) -> Contender:
        settings = (self.parameters | self.patches).items()
        told = ", ".join(f"{name}={getattr(v, '__name__', v)}" for name, v in settings)
        return Contender(self._fit, f"{told or 'defaults'}; code {common.code_digest()}")

    def _fit(self, X, y, seed):
        with ExitStack() as stack:
            for target, value in self.patches.items():
                stack.enter_context(mock.patch(target, value))
            model = MDNRegressor(**self.parameters, random_state=seed).fit(X, y)
        return model.predict_mixture


OWN = {"skmdn": Variant(), "skmdn-single": Variant({"n_estimators": 1})}


def members_own_factor(objective, flat, factor):
    return factor


def no_gain(pair, mixed, n_members):
    return 0.0 * mixed


_ARCHITECTURE = "skmdn._fitting.Architecture"
_TRAINING = "skmdn.learning.training"
# Each ingredient off, weaker or stronger, one at a time.
ABLATIONS = {
    "members 1": Variant({"n_estimators": 1}),
    "members 8": Variant({"n_estimators": 8}),
    "members 32": Variant({"n_estimators": 32}),
    "components 1": Variant({"n_components": 1}),
    "components 3": Variant({"n_components": 3}),
    "components 10": Variant({"n_components": 10}),
    "alpha 0": Variant({"alpha": 0.0}),
    "alpha 0.1": Variant({"alpha": 0.1}),
    "activation relu": Variant({"activation": "relu"}),
    "activation tanh": Variant({"activation": "tanh"}),
    "hidden 128, 128": Variant({"hidden_layer_sizes": (128, 128)}),
    "hidden 64, 64": Variant({"hidden_layer_sizes": (64, 64)}),
    "hidden 64": Variant({"hidden_layer_sizes": (64,)}),
    "batch 16": Variant({"batch_size": 16}),
    "batch 128": Variant({"batch_size": 128}),
    "step 0.003": Variant({"learning_rate_init": 0.003}),
    "held out 0.05": Variant({"validation_fraction": 0.05}),
    "no early stopping": Variant({"early_stopping": False, "max_iter": 200}),
    "no averaging of weights": Variant(patches={f"{_TRAINING}._AVERAGING_RATE": 1.0}),
    "no falling steps": Variant(
        patches={f"{_TRAINING}._FALL_SHARE": 0.0, f"{_TRAINING}._LEAST_FALL": 1}
    ),
    "members judged alone": Variant(patches={"skmdn.learning.judging._gains_of_mixing": no_gain}),
    "no mending of variances": Variant(
        patches={
            "skmdn.learning.judging._SEARCHED": (1.0,) * 5,
            "skmdn.learning.calibration.pooled_factors": members_own_factor,
        }
    ),
    "no tails": Variant(patches={"skmdn.learning.calibration._TAIL_STEPS": (0,)}),
    "no curve of targets": Variant(patches={"skmdn.learning.curve._MOST_MISFIT": 0.0}),
    "frequencies near 0": Variant(
        patches={_ARCHITECTURE: partial(Architecture, frequency_scale=0.01)}
    ),
}


def tables() -> dict[str, Contender]:
    own = {name: variant.contender() for name, variant in (OWN | ABLATIONS).items()}
    return own | PEERS


# --- measuring -------------------------------------------------------------------------------


def measure(contender: Contender, data, seed: int) -> dict:
    X_train, y_train, X_test, y_test = data
    predict, fit_seconds, fit_processor = timed(contender.fit, X_train, y_train, seed)
    forecast, predict_seconds, _ = timed(predict, X_test)
    found = scores(forecast, y_test)
    return found | {
        "n_train": len(y_train),
        "fit_s": fit_seconds,
        "fit_cpu_s": fit_processor,
        "predict_s": predict_seconds,
        "threads": common.n_threads(),
    }


def run(arguments, records: Records, contenders: dict[str, Contender]) -> None:
    for name in arguments.sets:
        n_splits = common.n_uci_splits(arguments.data, name)
        for split in (split for split in arguments.splits if split < n_splits):
            data = common.uci_split(arguments.data, name, split)
            for model, contender in contenders.items():
                row = {
                    "set": name,
                    "split": split,
                    "model": model,
                    "settings": contender.settings,
                }
                if row in records or len(data[1]) > contender.most_rows:
                    continue
                records.add(row | measure(contender, data, seed=split))
                print(time.strftime("%H:%M:%S"), summary(records.rows[records._key(row)]))


def summary(row: dict) -> str:
    told = (f"{name} {row[name]:.4g}" for name in ("nll", "crps", "rmse", "fit_s") if name in row)
    return f"{row['set']} {row['split']} {row['model']}: " + ", ".join(told)


# --- telling ---------------------------------------------------------------------------------


def column(rows: list[dict], name: str) -> list:
    return [row[name] for row in rows if name in row]


def result_table(groups: dict[str, list[dict]]) -> str:
    """One line a model, best NLL first; models without a density last."""
    header = ["model", "splits", "NLL", "CRPS", "RMSE"]
    header += [f"{level:.0%} covers" for level in COVERAGES] + ["fit s", "predict s"]

    def line(model: str) -> list[str]:
        rows = groups[model]
        found = [with_error(column(rows, name)) for name in ("nll", "crps", "rmse")]
        covers = (column(rows, f"cover_{level}") for level in COVERAGES)
        found += [f"{100 * np.mean(c):.1f}" if c else "–" for c in covers]
        found += [f"{np.mean(column(rows, name)):.3g}" for name in ("fit_s", "predict_s")]
        return [model, str(len(rows)), *found]

    order = sorted(groups, key=lambda model: np.mean(column(groups[model], "nll") or [np.inf]))
    return markdown(header, [line(model) for model in order])


def goal_table(found: dict[str, dict[str, list[dict]]]) -> str:
    """Over all sets: our NLL beside what others published, our time beside NGBoost's."""
    header = ["set", "skmdn", "one network", "marginal", "best from scratch, published"]
    header += ["foundation model, reported", "fit time / NGBoost's (processor)"]
    lines = []
    for name, groups in found.items():
        nll = [with_error(column(groups.get(model, []), "nll")) for model in (*OWN, "marginal")]
        published = [
            f"{value:.2f}".replace("-", "−") if value is not None else "–"
            for value in PUBLISHED.get(name, (None, None))
        ]
        lines.append([name, *nll, *published, time_ratio(groups, "skmdn", "ngboost")])
    return markdown(header, lines)


def time_ratio(groups: dict[str, list[dict]], model: str, other: str) -> str:
    """Over the splits that both were fitted on: wall time, and processor time in brackets."""
    ours, theirs = ({row["split"]: row for row in groups.get(m, [])} for m in (model, other))
    both = ours.keys() & theirs.keys()
    if not both:
        return "–"
    wall, processor = (
        sum(ours[split][name] for split in both) / sum(theirs[split][name] for split in both)
        for name in ("fit_s", "fit_cpu_s")
    )
    return f"{wall:.2f} ({processor:.2f})"


def coverage_table(found: dict[str, dict[str, list[dict]]]) -> str:
    """How far the mean coverage of the central intervals is off, in points: mean over sets."""
    lines = []
    for model in dict.fromkeys(model for groups in found.values() for model in groups):
        off = []
        for level in COVERAGES:
            covers = [column(groups.get(model, []), f"cover_{level}") for groups in found.values()]
            off.append(100 * np.mean([np.mean(c) - level for c in covers if c] or [np.nan]))
        if np.isfinite(off).all():
            lines.append([model, *(f"{value:+.1f}" for value in off)])
    return markdown(["model", *(f"{level:.0%}" for level in COVERAGES)], lines)


def ablation_table(found: dict[str, dict[str, list[dict]]]) -> str:
    """NLL above the defaults' on the same splits (positive: worse); time as a share of theirs."""

    def cell(groups: dict[str, list[dict]], variant: str) -> str:
        pair = [groups.get(model, []) for model in ("skmdn", variant)]
        if all(pair) and len({rows[-1]["settings"].rpartition("code ")[2] for rows in pair}) > 1:
            return "of other code than the defaults"
        base, other = ({row["split"]: row["nll"] for row in rows} for rows in pair)
        both = sorted(base.keys() & other.keys())
        if not both:
            return "–"
        change = with_error([other[split] - base[split] for split in both])
        return f"{change}; {time_ratio(groups, variant, 'skmdn')}"

    lines = [[name, *(cell(groups, name) for groups in found.values())] for name in ABLATIONS]
    lines = [line for line in lines if set(line[1:]) != {"–"}]
    return markdown(["instead of the defaults", *found], lines)


def report(records: Records, sets: list[str], picture: Path) -> None:
    found: dict[str, dict[str, list[dict]]] = {}
    for (name, model), rows in records.newest("set", "model").items():
        if name in sets:
            found.setdefault(name, {})[model] = rows
    main = {
        name: {m: rows for m, rows in groups.items() if m not in ABLATIONS}
        for name, groups in found.items()
    }
    print(f"\n{common.environment()}\n\n{goal_table(main)}")
    print(f"\nCoverage less its level, points, mean over sets\n\n{coverage_table(main)}")
    for name, groups in main.items():
        print(f"\n### {name} (train rows: {groups[next(iter(groups))][0]['n_train']})\n")
        print(result_table(groups))
    if any(groups.keys() & ABLATIONS.keys() for groups in found.values()):
        print("\n### Ablation: change of NLL; fit time as a share of the defaults' (processor)\n")
        print(ablation_table(found))
    told = {
        row["model"]: row["settings"]
        for groups in main.values()
        for rows in groups.values()
        for row in rows[-1:]
    }
    print("\n" + "\n".join(f"- {model}: {settings}" for model, settings in told.items()))
    draw(main, picture)


def draw(found: dict[str, dict[str, list[dict]]], path: Path) -> None:
    """Quality against fit time, a panel a set."""
    names = [name for name in (*OWN, *PEERS) if name != "marginal"]
    looks = dict(
        zip(names, zip([common.OURS] * 2 + common.COOL, "*osD^vP<X", strict=False), strict=False)
    )
    n_columns = min(3, len(found))
    n_rows = -(-len(found) // n_columns)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            n_rows,
            n_columns,
            figsize=(3.4 * n_columns, 2.7 * n_rows + 0.9),
            squeeze=False,
            layout="constrained",
        )
        for axis in axes.flat[len(found) :]:
            axis.remove()
        for axis, (name, groups) in zip(axes.flat, found.items(), strict=False):
            draw_panel(axis, name, groups, looks)
        shown = [n for n in looks if any(column(g.get(n, []), "nll") for g in found.values())]
        handles = [
            plt.Line2D([], [], ls="", color=looks[n][0], marker=looks[n][1], label=n)
            for n in shown
        ]
        n_columns = {1: 3, 2: 5}.get(n_columns, len(handles))
        figure.legend(handles=handles, loc="outside lower center", ncols=n_columns, frameon=False)
        figure.suptitle("Test negative log-likelihood against fit time: lower left is better")
        common.save(figure, path)


def draw_panel(axis, name: str, groups: dict[str, list[dict]], looks: dict) -> None:
    points = {
        model: (np.mean(column(groups[model], "fit_s")), *common.mean_and_error(nll))
        for model in looks
        if (nll := column(groups.get(model, []), "nll"))
    }
    levels = [point[1] for point in points.values()] or [0.0]
    best = min(levels)
    # A model that fails must not hide the differences between the others.
    top = min(best + 2.2, max(levels) + 0.2)
    for model, (seconds, nll, error) in points.items():
        colour, marker = looks[model]
        if nll > top:
            axis.plot(seconds, top, color=colour, marker=marker, ms=5, clip_on=False)
            text = f"{nll:.1f} ↑"
            axis.annotate(
                text, (seconds, top), (6, -3), textcoords="offset points", size=7, color=colour
            )
            continue
        size = 11 if model == "skmdn" else 6
        style = {"color": colour, "marker": marker, "ms": size, "mec": "white", "mew": 0.6}
        axis.errorbar(seconds, nll, error, lw=1, zorder=4 if model in OWN else 3, **style)
    draw_frontier(axis, [point[:2] for point in points.values()], top)
    # At the two ends, as the lines may be close.
    labels = (("from scratch", 1, "right"), ("foundation", 0, "left"))
    for value, (text, end, side) in zip(PUBLISHED.get(name, ()), labels, strict=False):
        if value is not None and value < top:
            axis.axhline(value, color="0.6", lw=0.8, ls=":")
            axis.annotate(
                f"published, {text}",
                (end, value),
                (3 - 6 * end, 2),
                ha=side,
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                size=6.5,
                color="0.45",
            )
    axis.set(title=name, xscale="log", xlabel="fit, seconds", ylabel="NLL, nats")
    axis.set_ylim(top=top)
    axis.set_ylim(bottom=min(axis.get_ylim()[0], best - 0.15))
    common.plain_log_ticks(axis.xaxis)


def draw_frontier(axis, points: list[tuple[float, float]], top: float) -> None:
    """Join the models that none beats in both time and quality."""
    best, steps = np.inf, []
    for seconds, nll in sorted(points):
        if nll < min(best, top):
            best = nll
            steps.append((seconds, nll))
    if steps:
        axis.step(*zip(*steps, strict=True), where="post", color="0.8", lw=3, zorder=1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", help="default: all there are")
    parser.add_argument("--splits", type=common.counted, default="20", help="5, or 5:10")
    parser.add_argument("--peers", nargs="*", help="all, or these")
    parser.add_argument("--ablate", nargs="*", help="all variants, or these")
    parser.add_argument("--models", nargs="+", help="these rows only")
    parser.add_argument("--out", type=Path, default=common.RESULTS / "uci.jsonl")
    parser.add_argument("--picture", type=Path, default=common.HERE / "uci.png")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    arguments = parser.parse_args()
    arguments.sets = arguments.sets or common.uci_sets(arguments.data)
    records = Records(arguments.out, ("set", "split", "model", "settings"))
    if not arguments.report:
        run(arguments, records, chosen(arguments))
    report(records, arguments.sets, arguments.picture)


def chosen(arguments) -> dict[str, Contender]:
    names = arguments.models or [*OWN]
    if not arguments.models:
        for asked, table in ((arguments.peers, PEERS), (arguments.ablate, ABLATIONS)):
            names += [] if asked is None else (asked or [*table])
    everything = tables()
    if unknown := set(names) - set(everything):
        raise SystemExit(f"no such model: {sorted(unknown)}; there are {sorted(everything)}")
    return {name: everything[name] for name in names}


if __name__ == "__main__":
    main()
