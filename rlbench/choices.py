"""The choices that YAML files offer, read without Hydra."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from rlbench import paths
from rlbench.errors import UsageError
from rlbench.files import parse_yaml

GROUPS = ("algo", "base", "env", "dataset", "hardware", "tracking", "search", "preset", "experiment")
OPTIONAL = ("base", "search", "preset", "experiment")
NAMED = ("env", "dataset")
"""Groups with options that stand for many: `GROUP=OPTION/ID`."""
PLUGINS = "plugins.yaml"


class Choices:
    """The groups and their options: rlbench's own, and those in a user's folders.

    Args:
        config_dirs: folders that hold `algo/`, `env/`, ... as `conf/` does, and a `plugins.yaml` that names the Python
            modules (beside or above the folder, in the working directory, or installed) which their files may name.

    Raises:
        UsageError: a folder is missing, holds no choices, or has a file by the name of one of rlbench's own.
    """

    def __init__(self, config_dirs: Sequence[str | Path] = ()) -> None:
        self.dirs = [Path(folder).expanduser().absolute() for folder in config_dirs]
        self.files: dict[str, dict[str, Path]] = {group: {} for group in GROUPS}
        for folder in [paths.conf_root(), *self.dirs]:
            found = [(group, path) for group in GROUPS for path in sorted((folder / group).glob("*.yaml"))]
            if not found:
                what = "holds none of " + ", ".join(f"{g}/" for g in GROUPS) if folder.is_dir() else "is no folder"
                raise UsageError(f"--config-dir {folder} {what}")
            for group, path in found:
                taken = self.files[group].setdefault(path.stem, path)
                if taken != path:
                    raise UsageError(f"{path}: there is a {group}={path.stem} already, in {taken.parent}; rename yours")

    def all_files(self) -> list[Path]:
        """Every file of every folder, of parts that are no group of their own too."""
        return [path for folder in [paths.conf_root(), *self.dirs] for path in sorted(folder.glob("*/*.yaml"))]

    def options(self, group: str) -> list[str]:
        return list(self.files[group])

    def about(self, group: str, name: str) -> dict[str, Any]:
        """What an option's file says about itself: `title`, and for the larger groups what it is and needs."""
        path = self.files[group][name]
        about: dict[str, Any] = dict(read(path).get("about") or {})
        about.setdefault("title", next(comments(path), ""))
        return about

    def plugins(self) -> dict[str, Path]:
        """The modules that the user's folders declare, each with the folder whose file says so."""
        declared: dict[str, Path] = {}
        for folder in self.dirs:
            path = folder / PLUGINS
            names = read(path).get("plugins", []) if path.exists() else []
            if not isinstance(names, list) or not all(isinstance(name, str) and name.isidentifier() for name in names):
                raise UsageError(f"{path} is to be a list of module names, like `plugins: [mymodule]`")
            declared |= dict.fromkeys(names, folder)
        return declared


@cache
def read(path: Path) -> dict[str, Any]:
    """A YAML file's content, unresolved.

    Raises:
        UsageError: it is not a mapping in YAML.
    """
    try:
        content = parse_yaml(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content or {}, dict):
        raise UsageError(f"{path} is to hold keys and values")
    return content or {}


def comments(path: Path) -> Iterator[str]:
    """The comment lines at the head of a file, without Hydra's own."""
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("# @"):
            yield line.removeprefix("# ")
