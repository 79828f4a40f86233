"""Rows of the speed table on training: one step, many members, whole fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import common
import numpy as np
import torch
from plain_mdn import OneTrunk, TwoNetworks, fit_two_networks, one_step, predicted_mixture
from simulators import SIMULATORS
from speed_rows import Options, Result, Row, compare, row

from skmdn import MDNRegressor
from skmdn.learning.initialization import starting_point
from skmdn.learning.loss import MixtureLoss
from skmdn.learning.network import Architecture
from skmdn.learning.noise import NOISE_MODELS
from skmdn.learning.objective import MixtureObjective
from skmdn.learning.optimizer import AveragedAdamW
from skmdn.learning.planning import USUAL
from skmdn.learning.training import one_pass

ROWS: dict[str, Row] = {}
STEPS = 32  # in a pass that is timed


# --- steps -----------------------------------------------------------------------------------


def our_architecture(n_members: int, hidden, n_features: int, n_components: int):
    defaults = MDNRegressor()
    loss = MixtureLoss(n_components, 1, NOISE_MODELS["diagonal"], defaults.reg_covar)
    architecture = Architecture(
        n_members, n_features, loss.n_outputs, tuple(hidden), defaults.activation
    )
    return architecture, loss


def our_pass(
    n_members: int, batch: int, hidden, n_features: int, n_components: int, device: str
) -> Callable:
    """One pass of `STEPS` steps as `fit` takes it: shuffling and bookkeeping included."""
    generator = torch.Generator().manual_seed(0)
    architecture, loss = our_architecture(n_members, hidden, n_features, n_components)
    table = torch.randn(batch * STEPS, n_features + 2, generator=generator)
    table[:, -1] = 1.0
    flat = starting_point(architecture, loss, table, generator).to(device)
    objective = MixtureObjective(architecture, loss, flat, table.to(device), 0, batch)
    optimizer = AveragedAdamW(flat, USUAL.weight_decay)

    def a_pass():
        with torch.no_grad(), objective.threads():
            return one_pass(objective, optimizer, 0.01, generator)

    return a_pass


def plain_pass(model: torch.nn.Module, batch: int, n_features: int, device: str, **adam):
    """The same number of autograd steps, each on rows picked by index."""
    x, y = torch.randn(batch * STEPS, n_features), torch.randn(batch * STEPS)
    x, y, model = x.to(device), y.to(device), model.to(device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005, **adam)

    def take() -> None:
        for rows in torch.randperm(len(x)).to(device).split(batch):
            one_step(model, optimizer, x[rows], y[rows])

    return take


@row(
    ROWS,
    "step-seeds",
    "one training step, one member, batch 512, 2×50 hidden, 3 components, 1 target",
    "two 2-layer nets, autograd, Adam",
    0.33,
)
def step_seeds(options: Options) -> Result:
    model = TwoNetworks(1, 3, (50, 50)).to(options.device)
    x = torch.randn(512, 1, device=options.device)
    y = torch.randn(512, device=options.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.005)

    def theirs() -> None:
        for _ in range(STEPS):
            one_step(model, optimizer, x, y)

    ours = our_pass(1, 512, (50, 50), 1, 3, options.device)
    return compare(ours, {"recipe": theirs}, options, per=STEPS)


@row(
    ROWS,
    "step-small",
    "one training step, one member, batch 32, 2×64, 8 features, 5 components",
    "plain autograd, one trunk, fused Adam",
    0.40,
)
def step_small(options: Options) -> Result:
    ours = our_pass(1, 32, (64, 64), 8, 5, options.device)
    theirs = plain_pass(OneTrunk(8, 5, (64, 64)), 32, 8, options.device, fused=True)
    return compare(ours, {"autograd": theirs}, options, per=STEPS)


@row(ROWS, "members", "eight members, batch 32, 2×64", "one member, ours", 2.0)
def members(options: Options) -> Result:
    eight, one = (our_pass(e, 32, (64, 64), 8, 5, options.device) for e in (8, 1))
    return compare(eight, {"one": one}, options, per=STEPS)


@row(
    ROWS,
    "step-products",
    "eight members, batch 512, 2×128",
    "the step's matrix products alone",
    1.8,
)
def step_products(options: Options) -> Result:
    """Against the dense layers' products; the note adds those of the features' embedding."""
    architecture, _ = our_architecture(8, (128, 128), 8, 5)
    dense = dense_products(architecture)
    ours = our_pass(8, 512, (128, 128), 8, 5, options.device)
    ways = {
        f"{name} {how}": products(sizes, 8, 512, options.device, batched=how == "batched")
        for name, sizes in (("dense", dense), ("all", dense + embedding_products(architecture)))
        for how in ("batched", "one by one")
    }
    how = {"repeats": options.repeats, "per": STEPS}
    result = compare(
        ours, {n: w for n, w in ways.items() if n.startswith("dense")}, options, **how
    )
    every = compare(ours, {n: w for n, w in ways.items() if n.startswith("all")}, options, **how)
    return replace(result, note=f"{result.note}; {every.ratio:.2f}× those with the embedding's")


def dense_products(architecture: Architecture) -> list[tuple[int, int, int]]:
    """Sizes (copies, width in, width out) of each layer's product, the head's included."""
    return [(1, i, o) for i, o in pairwise([*architecture.layer_sizes, architecture.n_outputs])]


def embedding_products(architecture: Architecture) -> list[tuple[int, int, int]]:
    arch = architecture
    return [(arch.n_features, arch.n_frequencies, arch.embedding_size)]


def products(sizes, n_members: int, batch: int, device: str, batched: bool) -> Callable:
    """H W, H' G and G W' of each layer, into buffers that are there."""
    operands = []
    for copies, n_in, n_out in sizes:
        e = n_members * copies
        h, w, g = (
            torch.randn(e, *shape, device=device)
            for shape in ((batch, n_in), (n_in, n_out), (batch, n_out))
        )
        triples = [(h, w, g.clone()), (h.mT, g, w.clone()), (g, w.mT, h.clone())]
        for a, b, out in triples:
            operands += [(a, b, out)] if batched else list(zip(a, b, out, strict=True))
    multiply = torch.bmm if batched else torch.mm

    def take() -> None:
        for _ in range(STEPS):
            for a, b, out in operands:
                multiply(a, b, out=out)

    return take


# --- whole fits --------------------------------------------------------------------------------


def against_recipe(parameters: dict, options: Options) -> Result:
    """Fit the inverse sine's 512 rows, another draw in every turn; compare on fresh rows."""
    simulator, turns = SIMULATORS["inverse sine"], range(min(options.repeats, 3))
    fresh = simulator.draw(10_000, np.random.default_rng(1))
    data = [simulator.draw(512, np.random.default_rng([2, turn])) for turn in turns]
    ours, theirs, found = iter(turns), iter(turns), {"ours": [], "theirs": []}

    def fit_ours() -> None:
        turn = next(ours)
        model = MDNRegressor(n_components=3, random_state=turn, **parameters).fit(*data[turn])
        found["ours"].append(model.score(*fresh))

    def fit_theirs() -> None:
        turn = next(theirs)
        model = fit_two_networks(*data[turn], n_components=3, seed=turn)
        found["theirs"].append(predicted_mixture(model, fresh[0]).logpdf(fresh[1]).mean())

    how = {"repeats": len(turns), "least_seconds": 0.0, "warm_up": False}
    result = compare(fit_ours, {"recipe": fit_theirs}, options, **how)
    reached = ", ".join(f"{who} {common.with_error(v)}" for who, v in found.items())
    return replace(result, note=f"{result.note}; held-out log p: {reached}")


RECIPE = "two 2-layer ReLU nets of 50, 3 components, Adam 0.005, 2,000 full-batch steps"


@row(ROWS, "fit-single", "n_estimators=1 fit of the inverse sine (512 rows)", RECIPE, 0.15)
def fit_single(options: Options) -> Result:
    return against_recipe({"n_estimators": 1}, options)


@row(ROWS, "fit-default", "default fit of the same data, all members", RECIPE, 0.5)
def fit_default(options: Options) -> Result:
    return against_recipe({}, options)


@row(
    ROWS,
    "fit-ngboost",
    "default fit, the set where it takes longest by comparison",
    "NGBoost, 2,000 stages with early stopping (read from uci.py's records)",
    0.5,
)
def fit_ngboost(options: Options) -> Result:
    path = common.RESULTS / "uci.jsonl"
    found = common.Records(path, ("set", "split", "model", "settings")).newest("set", "model")
    seconds = {key: np.mean([row["fit_s"] for row in rows]) for key, rows in found.items()}
    sets = [name for name, model in seconds if model == "ngboost" and (name, "skmdn") in seconds]
    if not sets:
        return Result("–", "–", np.nan, f"no records in {path.name}")
    ratios = {name: seconds[name, "skmdn"] / seconds[name, "ngboost"] for name in sets}
    worst = max(ratios, key=ratios.__getitem__)
    note = ", ".join(f"{name} {ratio:.2f}" for name, ratio in ratios.items())
    ours, theirs = (common.seconds_text(seconds[worst, m]) for m in ("skmdn", "ngboost"))
    return Result(ours, theirs, ratios[worst], note)
