"""`rlbench list`: what there is to choose, read from the YAML files alone."""

from __future__ import annotations

import json
import sys
from typing import Any

from rlbench.choices import GROUPS, Choices
from rlbench.cli import Parser
from rlbench.columns import folded, line_width

COLUMNS = {"algo": ("family", "paper", "needs"), "env": ("is",), "dataset": ("is", "envs"), "experiment": ("runs",)}


def main(argv: list[str]) -> int:
    parser = Parser("list", "What there is to choose. Each name goes behind the group's: algo=NAME.")
    parser.add_argument("group", nargs="?", choices=GROUPS, help="one group; all of them if left out")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="a folder of your own choices")
    parser.add_argument("--json", action="store_true", help="for a program")
    asked = parser.read(argv)
    choices = Choices(asked.config_dir)
    groups = [asked.group] if asked.group else [group for group in GROUPS if choices.options(group)]
    found = {group: {name: choices.about(group, name) for name in choices.options(group)} for group in groups}
    if asked.group == "experiment":  # counted by Hydra's grammar, whose import nobody else is to wait for
        from rlbench.config import expand

        for name, about in found["experiment"].items():
            about["runs"] = len(expand([f"experiment={name}"], True, asked.config_dir))
    if asked.json:
        json.dump(found, sys.stdout, indent=2)
        print()
        return 0
    for group in groups:
        print(f"{group}=" if group == groups[0] else f"\n{group}=")
        for line in folded(table(group, found[group]), line_width()):
            print(line)
    return 0


def table(group: str, options: dict[str, dict[str, Any]]) -> list[list[str]]:
    """A row of names of columns, and one for each option."""
    columns = [column for column in COLUMNS.get(group, ()) if any(column in about for about in options.values())]
    rows = [[name, about["title"], *(words(about.get(each)) for each in columns)] for name, about in options.items()]
    return [["", "", *columns], *rows] if columns else rows


def words(value: Any) -> str:
    """A value of `about` for a person: `{env: control, data: none}` as "env control, data none"."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {words(each)}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value or "")
