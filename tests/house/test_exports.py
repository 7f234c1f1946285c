"""What a package offers is what its `__init__` names.

Pinned: `__all__` is exactly the public names an `__init__` binds, and an `__init__` only re-exports.
"""

from __future__ import annotations

import ast
import importlib
from pathlib import Path
from types import ModuleType

import pytest

PACKAGE = Path(__file__).parents[2] / "olal"
INITS = sorted(PACKAGE.rglob("__init__.py"))
PACKAGES = [".".join(("olal", *path.parent.relative_to(PACKAGE).parts)) for path in INITS]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_the_public_names(name):
    package = importlib.import_module(name)
    submodules = {key for key, value in vars(package).items() if isinstance(value, ModuleType)}
    public = {key for key in vars(package) if not key.startswith("_")} - submodules - {"annotations"}
    exported = list(getattr(package, "__all__", ()))
    assert sorted(set(exported) - {"__version__"}) == sorted(public)
    assert len(exported) == len(set(exported))


@pytest.mark.parametrize("path", INITS[1:], ids=PACKAGES[1:])
def test_an_init_holds_a_docstring_and_re_exports_only(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    allowed = (ast.ImportFrom, ast.Assign)
    assert ast.get_docstring(tree)
    assert all(isinstance(node, allowed) for node in tree.body[1:])
