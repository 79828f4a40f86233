"""How fast: every figure a ratio to something a reader knows, measured in turns in one run.

    OMP_NUM_THREADS=1 python benchmarks/speed.py
    OMP_NUM_THREADS=1 python benchmarks/speed.py --rows step-seeds ppf --scale 0.1
    OMP_NUM_THREADS=1 python benchmarks/speed.py --rows growth --most-rows 1000000
    python benchmarks/speed.py --rows step-seeds step-small --device cuda

A ratio is our fastest turn over theirs; ``--scale`` shrinks the numbers of rows. The rows of the
table are functions of speed_training, speed_mixtures and speed_memory.
"""

from __future__ import annotations

import argparse
import json
import time
from math import isnan
from pathlib import Path

import common
import speed_growth
import speed_memory
import speed_mixtures
import speed_training
import torch
from common import markdown
from speed_rows import Options

ROWS = speed_training.ROWS | speed_mixtures.ROWS | speed_memory.ROWS


def measure(name: str, options: Options) -> dict:
    row = ROWS[name]
    torch.manual_seed(0)
    result = row.measure(options)
    met = "–" if isnan(result.ratio) else "yes" if result.ratio <= row.goal else "no"
    cells = [row.what, result.ours, row.against, result.theirs, f"≤ {row.goal:g}"]
    return {"row": name, "cells": [*cells, f"{result.ratio:.3g}", met, result.note]}


def run(names: list[str], options: Options, out: Path) -> None:
    lines = []
    out.parent.mkdir(parents=True, exist_ok=True)
    for name in names:
        found = measure(name, options)
        lines.append(found["cells"])
        print(time.strftime("%H:%M:%S"), name, " | ".join(found["cells"][1:]), flush=True)
        with out.open("a") as file:
            file.write(json.dumps(found | {"environment": common.environment()}) + "\n")
    header = ["what", "ours", "against", "theirs", "goal", "ratio", "met", "note"]
    if lines:
        print(f"\n{common.environment()}, scale {options.scale:g}\n\n{markdown(header, lines)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", nargs="+", choices=[*ROWS, "growth"], help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="of the numbers of rows")
    parser.add_argument("--repeats", type=int, default=7, help="turns")
    parser.add_argument("--device", default="cpu", help="for the training steps")
    parser.add_argument("--gigabytes", type=float, default=4.0, help="of the memory map")
    parser.add_argument("--most-rows", type=int, default=30_000, help="of growth")
    parser.add_argument("--whole-rows", type=int, default=3_000, help="of growth's whole fits")
    parser.add_argument("--out", type=Path, default=common.RESULTS / "speed.jsonl")
    parser.add_argument("--picture", type=Path, default=common.HERE / "speed.png")
    arguments = parser.parse_args()
    options = Options(arguments.scale, arguments.repeats, arguments.device, arguments.gigabytes)
    names = arguments.rows or [*ROWS, "growth"]
    run([name for name in names if name in ROWS], options, arguments.out)
    if "growth" in names:
        speed_growth.report(options, arguments.most_rows, arguments.whole_rows, arguments.picture)


if __name__ == "__main__":
    main()
