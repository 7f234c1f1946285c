"""The folder tree in the README is the one on the disk.

Pinned: every folder at the top and inside olal/ is in the tree, and everything in the tree exists.
"""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_OURS = re.compile(r"\..*|__pycache__|.*\.egg-info|build|dist|runs")


def paths_in_readme() -> set[str]:
    """Every path of the tree, folders with a slash at their end."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = readme.split("## Folder tree")[1].split("```")[1].splitlines()[1:]
    paths: set[str] = set()
    parent = ""
    for line in tree:
        name = line.split()[0]
        paths.add(parent + name if line.startswith(" ") else name)
        if not line.startswith(" "):
            parent = name
    return paths


def folders_on_disk(root: Path, prefix: str = "") -> set[str]:
    """Folders that hold a file of ours, one level deep."""
    return {
        f"{prefix}{path.name}/"
        for path in root.iterdir()
        if path.is_dir() and not NOT_OURS.fullmatch(path.name) and has_file(path)
    }


def has_file(folder: Path) -> bool:
    return any(path.is_file() and "__pycache__" not in path.parts for path in folder.rglob("*"))


def test_every_folder_is_in_the_tree():
    folders = folders_on_disk(ROOT) | folders_on_disk(ROOT / "olal", "olal/")
    assert folders - paths_in_readme() == set()


def test_everything_in_the_tree_exists():
    assert {path for path in paths_in_readme() if not (ROOT / path).exists()} == set()
