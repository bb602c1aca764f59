"""`rlbench describe`: every key of a choice, with its value, type, meaning and where the value comes from."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import yaml
from omegaconf import OmegaConf
from rich.markup import escape
from rich.table import Table

from rlbench import config, paths, signatures
from rlbench.choices import Choices, read
from rlbench.cli import Parser
from rlbench.console import Wide
from rlbench.errors import UsageError
from rlbench.signatures import Signature

TEXT = """\
Every key of a choice: its value, type and meaning, and where the value comes from.

  rlbench describe algo=cocoa base=iql     an algorithm, and the parts that it is built of
  rlbench describe env=hopper              an environment
  rlbench describe dataset=medium          a dataset
  rlbench describe                         the keys that every run has
"""
Notes = dict[str, str]
"""Comments by dotted key."""


@dataclass(frozen=True)
class Row:
    """One key: its dotted name, value, type in words, meaning, and the source that its file states."""

    key: str
    value: Any
    type: str
    meaning: str
    source: str


def main(argv: list[str]) -> int:
    parser = Parser("describe", TEXT)
    parser.add_argument("overrides", nargs="*", metavar="GROUP=OPTION")
    parser.add_argument("--config-dir", action="append", default=[], metavar="DIR", help="a folder of your own choices")
    parser.add_argument("--json", action="store_true", help="for a program")
    asked = parser.read(argv)
    shown = sections(asked.overrides, asked.config_dir)
    if asked.json:
        json.dump({title: [asdict(row) for row in rows] for title, rows in shown.items()}, sys.stdout, indent=2)
        print()
        return 0
    console = Wide()
    for title, rows in shown.items():
        console.print(f"[bold]{escape(title)}[/]", highlight=False)
        console.print(table(rows))
    return 0


def sections(words: list[str], config_dirs: list[str]) -> dict[str, list[Row]]:
    """Title and rows of each group that was named."""
    choices = Choices(config_dirs)
    if not words:
        path = paths.conf_root() / "config.yaml"
        groups = {"hardware": choices.files["hardware"]["cpu"], "search": choices.files["search"]["random"]}
        tracking = choices.files["tracking"]["offline"]
        given = read(path) | {group: read(file) for group, file in groups.items()} | read(tracking)
        comments = notes(path) | notes(tracking)
        for group, file in groups.items():
            comments |= {f"{group}.{key}": text for key, text in notes(file).items()}
        return {"every run": list(settings(signatures.signature(config.SETTINGS), given, comments))}
    named = dict(pair for word in words for pair in config.assignments(word))
    shown: dict[str, list[Row]] = {}
    for group in config.NODES:
        if group not in named:
            continue
        if group == "algo":
            node = cast(dict[str, Any], OmegaConf.to_container(config.compose(words, config_dirs)["algo"]))
        else:
            path = choices.files[group][config.option(choices, group, str(named[group]))]
            node = {key: named.get(f"{group}.{key}", value) for key, value in read(path).items()}
        about = node.get("about", {})
        title = " · ".join(str(about[key]) for key in ("title", "paper", "family") if key in about)
        typed = dict.fromkeys((key.removeprefix(f"{group}.") for key in named if key.startswith(f"{group}.")), "you")
        base = node.get("base", {}).get("name") if group == "algo" else None
        above = notes(choices.files["base"][base]) if base in choices.files["base"] else {}
        shown[f"{group}={named[group]}  {title}"] = list(node_rows(node, group, above | typed, choices))
    if not shown:
        raise UsageError(f"nothing to describe in {' '.join(words)}\nname an algo=, env= or dataset=")
    return shown


def node_rows(node: dict[str, Any], path: str, above: Notes, choices: Choices) -> Iterator[Row]:
    """The rows of a node, those of the nodes within it last.

    Args:
        above: comments on the node's keys in files that set them over the node's own file.
    """
    signature = config.node_signature(node, (path,))
    own: Notes = {}
    for file in choices.all_files():
        content = read(file)
        if all(content.get(key) == node.get(key) for key in ("_target_", "name", "level")):
            own = notes(file)
    comments = own | above
    within = []
    for name, parameter in signature.parameters.items():
        value = node.get(name)
        if config.is_node(value):
            assert value is not None
            inner = f"{name}."
            deeper = {key.removeprefix(inner): text for key, text in comments.items() if key.startswith(inner)}
            within.append((value, f"{path}.{name}", deeper))
        elif name in node:
            kind = signatures.describe(parameter.kind)
            yield Row(f"{path}.{name}", value, kind, parameter.meaning, comments.get(name, ""))
    for value, place, deeper in within:
        yield from node_rows(value, place, deeper, choices)


def settings(signature: Signature, given: dict[str, Any], comments: Notes, path: str = "") -> Iterator[Row]:
    """The rows of the keys that every run has."""
    for name, parameter in signature.parameters.items():
        if isinstance(parameter.kind, Signature):
            yield from settings(parameter.kind, given[name], comments, f"{path}{name}.")
        else:
            key, kind = f"{path}{name}", signatures.describe(parameter.kind)
            yield Row(key, given.get(name), kind, parameter.meaning, comments.get(key, ""))


def notes(path: Path) -> Notes:
    """The trailing comments of a YAML file: where a value comes from; that it differs by dataset is added."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    found: Notes = {}

    def walk(node: yaml.Node | None, prefix: str) -> None:
        if not isinstance(node, yaml.MappingNode):
            return
        for key, value in node.value:
            name = prefix + key.value
            if isinstance(value, yaml.ScalarNode) or value.flow_style:
                comment = re.search(r"\s#\s*(.*)", lines[value.end_mark.line][value.end_mark.column :])
                if comment is not None:
                    found[name] = comment[1]
            for resolver, differs in (("tuned", "dataset"), ("for_env", "environment")):
                if isinstance(value, yaml.ScalarNode) and f"${{{resolver}:" in value.value:
                    found[name] = "; ".join(filter(None, [found.get(name), f"differs by {differs}"]))
            walk(value, f"{name}.")

    walk(yaml.compose(text, yaml.SafeLoader), "")
    return found


def table(rows: list[Row]) -> Table:
    result = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("key", "value", "type", "meaning", "source"):
        result.add_column(column, overflow="fold", no_wrap=column == "key")
    for row in rows:
        value = "" if row.value is None and row.type != "null" and "null" not in row.type else json.dumps(row.value)
        result.add_row(row.key, escape(value), escape(row.type), escape(row.meaning), escape(row.source))
    return result
