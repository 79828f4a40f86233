"""The parts, who may know whom, and the size of each thing: read off the source, never run."""

from __future__ import annotations

import ast
import configparser
import copy
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "skmdn").rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in SOURCES.items()}

DISTRIBUTION = r"skmdn\.distribution(\..+)?"
LEARNING = r"skmdn\.learning(\..+)?"
ARRAYS = r"skmdn\.learning\.arrays"
NOISE = r"skmdn\.learning\.noise"
ROWS = r"skmdn\.learning\.rows"
PLANNING = r"skmdn\.learning\.(planning|trials)"

# Which modules of the package a module may import, wherever in the file: (who, whom), as patterns.
# Every module matches one line; a new part needs one of its own.
# The wings, distribution and learning, know nothing of each other; only _networks and
# what it is made of know both.
ARROWS = [
    (r"skmdn", r"skmdn\..+"),
    (r"skmdn\.distribution", DISTRIBUTION),
    (r"skmdn\.distribution\..+", r"skmdn\.distribution\.(?!mixture$).+"),
    (ARRAYS, r"nothing"),
    (NOISE, ARRAYS),
    (PLANNING, LEARNING),
    (
        rf"(?!({ARRAYS}|{NOISE}|{PLANNING})$){LEARNING}",
        r"skmdn\.learning\.(?!(training|planning|trials)$).+",
    ),
    (r"skmdn\.metrics(\..+)?", rf"skmdn\.metrics\..+|{DISTRIBUTION}"),
    (r"skmdn\.display(\..+)?", rf"skmdn\.(display|metrics)\..+|{DISTRIBUTION}"),
    (r"skmdn\._validation", DISTRIBUTION),
    (r"skmdn\._prediction", rf"skmdn\._validation|{DISTRIBUTION}"),
    (r"skmdn\._conformity", DISTRIBUTION),
    (r"skmdn\._conformal", rf"skmdn\._(conformity|prediction)|{DISTRIBUTION}"),
    (r"skmdn\._(scaling|line)", ROWS),
    (r"skmdn\._grids", rf"skmdn\._scaling|{LEARNING}"),
    (r"skmdn\._targets", rf"skmdn\._(grids|scaling)|{LEARNING}"),
    (r"skmdn\._out_of_fold", LEARNING),
    (r"skmdn\._pooling", rf"skmdn\._targets|{DISTRIBUTION}|{LEARNING}"),
    (
        r"skmdn\._networks",
        rf"skmdn\._(out_of_fold|pooling|prediction|conformal|line|targets)|{DISTRIBUTION}|{LEARNING}",
    ),
    (r"skmdn\._fitting", rf"skmdn\._(networks|out_of_fold|targets|validation)|{LEARNING}"),
    (r"skmdn\._residuals", rf"skmdn\._(fitting|line|targets|validation)|{LEARNING}"),
    (r"skmdn\._regressor", rf"skmdn\._(prediction|residuals|validation)|{LEARNING}"),
    (r"skmdn\._autoregressive", rf"skmdn\._(prediction|regressor|validation)|{DISTRIBUTION}"),
]

# Which libraries besides the standard one: (who, at import, later: inside a function in need).
NUMERIC = {"numpy", "scipy", "sklearn"}
LIBRARIES = [
    (r"skmdn", set(), set()),
    (DISTRIBUTION, NUMERIC, {"torch"}),
    (r"skmdn\.learning\.threads", {"torch", "threadpoolctl"}, set()),
    (rf"(?!skmdn\.learning\.threads$){LEARNING}", NUMERIC | {"torch"}, set()),
    (
        r"skmdn\.(_validation|_prediction|_conformity|_conformal|_scaling|_line|_residuals|_grids|_targets|_pooling|_out_of_fold|metrics(\..+)?)",
        NUMERIC,
        set(),
    ),
    (r"skmdn\.display(\..+)?", NUMERIC, {"matplotlib"}),
    (
        r"skmdn\._(regressor|fitting|networks|autoregressive)",
        NUMERIC | {"torch"},
        set(),
    ),
]


def imported_names(module, tree):
    """Dotted names that the imports under ``tree`` load, relative ones resolved."""
    package = module if SOURCES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: package.count(".") + 2 - node.level] if node.level else []
            origin = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                name = f"{origin}.{alias.name}"
                yield name if name in SOURCES else origin


def modules_imported(module, tree):
    return {name for name in imported_names(module, tree) if name in SOURCES}


def libraries_imported(module, tree):
    names = {name.partition(".")[0] for name in imported_names(module, tree)}
    # typing_extensions is imported for types alone, by who checks them: mypy brings it along.
    return names - sys.stdlib_module_names - {"skmdn", "typing_extensions"}


class WhenRun(ast.NodeTransformer):
    """Leaves out what is imported for types alone."""

    def visit_If(self, node):
        return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)


class AtImport(WhenRun):
    """Leaves what runs when a module is imported: no function bodies either."""

    def visit_FunctionDef(self, node):
        return None

    visit_AsyncFunctionDef = visit_FunctionDef


@pytest.mark.parametrize("module", SOURCES)
def test_no_import_runs_against_an_arrow(module):
    (allowed,) = [whom for who, whom in ARROWS if re.fullmatch(who, module)]
    wrong = {
        name for name in modules_imported(module, TREES[module]) if not re.fullmatch(allowed, name)
    }
    assert not wrong


def test_imports_run_in_no_circle():
    waiting = {
        module: modules_imported(module, WhenRun().visit(copy.deepcopy(tree)))
        for module, tree in TREES.items()
    }
    while free := {module for module, needs in waiting.items() if not needs & waiting.keys()}:
        waiting = {module: needs for module, needs in waiting.items() if module not in free}
    assert not waiting


@pytest.mark.parametrize("module", SOURCES)
def test_a_part_imports_only_its_libraries(module):
    ((now, later),) = [allowed for who, *allowed in LIBRARIES if re.fullmatch(who, module)]
    at_import = AtImport().visit(copy.deepcopy(TREES[module]))
    assert libraries_imported(module, at_import) <= now
    assert libraries_imported(module, TREES[module]) <= now | later


@pytest.mark.parametrize("module", [name for name in SOURCES if re.fullmatch(LEARNING, name)])
def test_learning_knows_no_estimator(module):
    known = {name for name in imported_names(module, TREES[module]) if name.startswith("sklearn")}
    assert not known


def test_setup_cfg_declares_what_is_imported():
    setup = configparser.RawConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    required = libraries_named(setup["options"]["install_requires"])
    optional = libraries_named(setup["options.extras_require"]["plot"])
    imported = set().union(*(libraries_imported(name, tree) for name, tree in TREES.items()))
    assert required <= imported <= required | optional


def libraries_named(requirements):
    names = re.findall(r"^[\w-]+", requirements, flags=re.MULTILINE)
    return {"sklearn" if name == "scikit-learn" else name for name in names}


@pytest.mark.parametrize("module", [name for name in SOURCES if "distribution" not in name])
def test_noise_types_are_looked_up_never_branched_on(module):
    noise_types = {"full", "diagonal", "isotropic", "isotropic_across_components", "fixed"}
    branches = [
        branch.lineno
        for branch in ast.walk(TREES[module])
        if isinstance(branch, (ast.Compare, ast.MatchValue))
        for node in ast.walk(branch)
        if isinstance(node, ast.Constant) and node.value in noise_types
    ]
    assert not branches


@pytest.mark.parametrize("module", SOURCES)
def test_files_and_functions_are_short(module):
    lines = SOURCES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= 450
    long = {
        function.name: length
        for function in ast.walk(TREES[module])
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (length := lines_of_body(function)) > 50
    }
    assert not long


def lines_of_body(function):
    """Lines from the first statement after the docstring to the last."""
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return function.end_lineno - body[0].lineno + 1 if body else 0
