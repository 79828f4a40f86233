"""What `help` says of all that is public: numpydoc that agrees with the signature."""

from __future__ import annotations

import ast
import inspect
import re

import pytest

import skmdn
import skmdn.display
import skmdn.metrics

PARTS = (skmdn, skmdn.metrics, skmdn.display)
NAMED = {name: getattr(part, name) for part in PARTS for name in part.__all__}
CLASSES = {name: found for name, found in NAMED.items() if inspect.isclass(found)}


def members(kind):
    """What classes have of a kind, and not from scikit-learn, as Class.name."""
    return {
        f"{name}.{member}": found
        for name, owner in CLASSES.items()
        for member, found in inspect.getmembers(owner, kind)
        if not member.startswith("_") and is_ours(found)
    }


def is_ours(found):
    function = found.fget if isinstance(found, property) else found
    return inspect.unwrap(function).__module__.startswith("skmdn.")


FUNCTIONS = {name: found for name, found in NAMED.items() if inspect.isfunction(found)}
FUNCTIONS |= members(callable)
PROPERTIES = members(lambda found: isinstance(found, property))
DOCUMENTED = NAMED | FUNCTIONS | PROPERTIES


def sections(documented):
    """Headings, and the lines below each; the summary is under an empty one."""
    doc = inspect.getdoc(documented)
    parts = re.split(r"^(\w[\w ]*)\n-+\n", "\n" + doc, flags=re.MULTILINE)
    return {"": parts[0].strip()} | dict(zip(parts[1::2], parts[2::2], strict=True))


def told_parameters(documented):
    """Names under Parameters, and the default each is said to have, None for none."""
    text = sections(documented).get("Parameters", "")
    heads = re.findall(r"^\*{0,2}(\w[\w, ]*?)(?: : .*?(?:default=(.+))?)?$", text, re.MULTILINE)
    return {name: default or None for names, default in heads for name in names.split(", ")}


def parameters(function):
    """Names in the signature, but that of the instance, and their defaults."""
    found = inspect.signature(function).parameters
    return {name: found[name].default for name in found if name not in ("self", "cls")}


def assert_defaults_agree(told, wanted):
    for name, default in told.items():
        assert default is None or ast.literal_eval(default) == wanted[name]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_tell_their_parameters_and_what_they_return(name):
    told, wanted = told_parameters(FUNCTIONS[name]), parameters(FUNCTIONS[name])
    assert [*told] == [*wanted]
    assert_defaults_agree(told, wanted)
    assert re.search(r"^\w.*$", sections(FUNCTIONS[name])["Returns"], re.MULTILINE)


def is_built_by_a_function(name):
    return name == "MixtureScorer"


@pytest.mark.parametrize("name", [name for name in CLASSES if not is_built_by_a_function(name)])
def test_classes_tell_their_parameters(name):
    # What a display hands on to the class it is made of, it takes as keywords.
    wanted = {}
    for owner in reversed(CLASSES[name].__mro__[:-1]):
        if "__init__" in vars(owner):
            wanted |= parameters(owner)
    wanted.pop("rows", None)
    told = told_parameters(CLASSES[name])
    assert told.keys() == wanted.keys()
    assert_defaults_agree(told, wanted)


def has_its_example_elsewhere(name):
    """What draws has its class's, and a chain of networks those of `MDNRegressor`."""
    return "Display." in name or name.startswith("AutoregressiveMDNRegressor.")


@pytest.mark.parametrize(
    "name", [name for name in FUNCTIONS | CLASSES if not has_its_example_elsewhere(name)]
)
def test_there_is_an_example(name):
    assert ">>>" in sections(DOCUMENTED[name])["Examples"]


@pytest.mark.parametrize("name", FUNCTIONS | CLASSES | PROPERTIES)
def test_a_summary_is_one_line(name):
    first, *rest = inspect.getdoc(DOCUMENTED[name]).split("\n")
    assert first.endswith(".")
    assert not any(rest[:1])
