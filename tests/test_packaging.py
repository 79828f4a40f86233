"""One fact, one home: what setup.cfg says is pinned, packed and true; the README's code runs."""

from __future__ import annotations

import configparser
import pickle
import re
import subprocess
import sys
from pathlib import Path

import skmdn
from skmdn import NormalMixture

ROOT = Path(__file__).parents[1]
SETUP = configparser.RawConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")


def names(requirements):
    return set(re.findall(r"^[\w-]+", requirements, flags=re.MULTILINE))


def test_every_requirement_is_pinned_in_constraints():
    wanted = [SETUP["options"]["install_requires"], *SETUP["options.extras_require"].values()]
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert set().union(*map(names, wanted)) - {"skmdn"} == names(constraints)


def test_setup_cfg_lists_every_package():
    found = {
        ".".join(path.parent.relative_to(ROOT).parts)
        for path in (ROOT / "skmdn").rglob("__init__.py")
    }
    assert names(SETUP["options"]["packages"]) == {"skmdn"}
    assert set(SETUP["options"]["packages"].split()) == found


def test_the_version_is_setup_cfgs():
    assert skmdn.__version__ == SETUP["metadata"]["version"]


def test_the_readmes_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", readme, flags=re.MULTILINE | re.DOTALL)
    assert blocks
    exec("".join(blocks), {})


def test_a_mixture_is_unpickled_without_torch():
    mixture = NormalMixture([[1.0]], [[2.0]], [[3.0]])
    code = (
        "import pickle, sys; mixture = pickle.loads(sys.stdin.buffer.read()); "
        "assert mixture.mean() == 2.0; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], input=pickle.dumps(mixture), check=True)


def test_the_names_of_the_package_can_be_listed_and_asked_for():
    code = (
        "import skmdn; public = {*skmdn.__all__, 'metrics', 'display'}; "
        "assert public <= set(dir(skmdn)); assert skmdn.metrics.crps and skmdn.display"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
