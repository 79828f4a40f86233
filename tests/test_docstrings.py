"""What `help` says of all that is public: numpydoc that agrees with the signature."""

from __future__ import annotations

import inspect
import re

import pytest

import skmdn
import skmdn.display
import skmdn.metrics

PARTS = (skmdn, skmdn.metrics, skmdn.display)
NAMED = {name: getattr(part, name) for part in PARTS for name in part.__all__}
CLASSES = {name: found for name, found in NAMED.items() if inspect.isclass(found)}
METHODS = {
    f"{name}.{method}": getattr(found, method)
    for name, found in CLASSES.items()
    for method, _ in inspect.getmembers(found, callable)
    if not method.startswith("_") and "skmdn" in str(inspect.getmodule(getattr(found, method)))
}
FUNCTIONS = {name: found for name, found in NAMED.items() if inspect.isfunction(found)} | METHODS


def sections(documented):
    """Headings, and the lines below each; the summary is under an empty one."""
    doc = inspect.getdoc(documented)
    parts = re.split(r"^(\w[\w ]*)\n-+\n", "\n" + doc, flags=re.MULTILINE)
    return {"": parts[0].strip()} | dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_parameters(text):
    heads = re.findall(r"^\*{0,2}(\w[\w, ]*?)(?: :.*)?$", text, flags=re.MULTILINE)
    return [name for head in heads for name in head.split(", ")]


def parameters(function):
    names = inspect.signature(function).parameters
    return [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_tell_their_parameters_and_what_they_return(name):
    found, wanted = sections(FUNCTIONS[name]), parameters(FUNCTIONS[name])
    assert documented_parameters(found.get("Parameters", "")) == wanted
    assert "Returns" in found


def is_built_by_a_function(name):
    return name == "MixtureScorer"


@pytest.mark.parametrize("name", [name for name in CLASSES if not is_built_by_a_function(name)])
def test_classes_tell_their_parameters(name):
    told = documented_parameters(sections(CLASSES[name])["Parameters"])
    built = [name for name in parameters(CLASSES[name]) if name != "rows"]
    assert set(told) >= set(built)
    assert told == built or "Display" in name


def has_its_example_elsewhere(name):
    """What draws has its class's, and a chain of networks those of `MDNRegressor`."""
    return "Display." in name or name.startswith("AutoregressiveMDNRegressor.")


@pytest.mark.parametrize(
    "name",
    [name for name in FUNCTIONS | CLASSES if not has_its_example_elsewhere(name)],
)
def test_there_is_an_example(name):
    assert ">>>" in sections((NAMED | FUNCTIONS)[name])["Examples"]


@pytest.mark.parametrize("name", FUNCTIONS.keys() | CLASSES.keys())
def test_a_summary_is_one_line(name):
    first, *rest = inspect.getdoc((NAMED | FUNCTIONS)[name]).split("\n")
    assert first.endswith(".")
    assert not any(rest[:1])
