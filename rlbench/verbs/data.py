"""`rlbench data`: what data there are, what is in them, and the behaviour policies that they are recorded from."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from rlbench import config, paths
from rlbench.cli import Parser
from rlbench.data import behaviour, d4rl, store
from rlbench.errors import RunError, UsageError

HELP = """\
  list                       embedded data, and what the cache holds
  info [env=X] [dataset=Y]   the card of a dataset, which is recorded or read first if need be
  fetch d4rl/ID ...          download data sets, to be used without a network later
  verify                     hold the cache's content against its checksums
  make-behaviour [env=X] [steps=N] [seed=K] [algo.KEY=VALUE ...] [every=N] [to=DIR] [snapshots=DIR]
                             train SAC with a snapshot every 5000 steps (every=), choose the policies of every level
                             and write them with their manifest to results/behaviour/X (to=); snapshots= chooses
                             among those of an earlier training"""


def main(argv: Sequence[str]) -> int:
    parser = Parser("data", HELP)
    parser.add_argument("what", choices=["list", "info", "fetch", "verify", "make-behaviour"], help="see above")
    parser.add_argument("words", nargs="*", metavar="WORD", help="see above")
    parser.add_argument("--json", action="store_true", help="list, info: one JSON object")
    arguments = parser.read(argv)
    if arguments.what in ("list", "verify") and arguments.words:
        raise UsageError(f"rlbench data {arguments.what} takes no words, not {arguments.words[0]!r}")
    if arguments.what == "list":
        return show_list(arguments.json)
    if arguments.what == "info":
        return show_info(arguments.words, arguments.json)
    if arguments.what == "fetch":
        return fetch(arguments.words)
    if arguments.what == "verify":
        return verify()
    return make_behaviour(arguments.words)


def show_list(as_json: bool) -> int:
    embedded: list[dict[str, Any]] = [
        {"env": env, "level": level, "policies": list(known.mix(level)), "score": expected_score(known, level)}
        for env in behaviour.environments()
        for known in [behaviour.Behaviour.of(env)]
        for level in behaviour.LEVELS
    ]
    cached: list[dict[str, Any]] = []
    for folder in store.stored():
        try:
            card = store.read(folder).card
            cached.append(
                {"id": card["id"], "rows": card["rows"], "return": card["return"]["mean"], "path": str(folder)}
            )
        except store.DamagedError as damage:
            cached.append({"id": folder.name, "damaged": str(damage), "path": str(folder)})
    if as_json:
        print(json.dumps({"embedded": embedded, "cached": cached}, indent=2))
        return 0
    print("embedded: env=X dataset=Y (recorded on first use)")
    for row in embedded:
        score = f"score {row['score']:.1f}, {len(row['policies'])} policies"
        print(f"  {row['env']:12} {row['level']:14} {score}")
    print(f"cached in {paths.cache_root() / 'data'}:")
    for entry in cached:
        facts = (
            f"damaged: {entry['damaged']}"
            if "damaged" in entry
            else "{rows:>9,} rows, mean return {return:.1f}".format(**entry)
        )
        print(f"  {entry['id']:28} {facts}  {Path(entry['path']).name}")
    return 0


def expected_score(known: behaviour.Behaviour, level: str) -> float:
    """Mean normalised score of a level's episodes: policies with longer episodes have fewer of them."""
    entries = [(known.measured(name), share) for name, share in known.mix(level).items()]
    episodes = [share / entry["length"]["mean"] for entry, share in entries]
    return float(sum(n * entry["score"] for n, (entry, _) in zip(episodes, entries, strict=True)) / sum(episodes))


def show_info(words: Sequence[str], as_json: bool) -> int:
    cfg = config.compose(["algo=bc", *words])
    if "_target_" not in cfg.dataset:
        raise UsageError("there is no dataset to tell of: dataset=medium, or dataset=file:PATH")
    data = config.instantiate(cfg.dataset, env=config.instantiate(cfg.env)).load(progress=report)
    if as_json:
        print(json.dumps(data.card, indent=2))
        return 0
    from rlbench.data import info

    print("\n".join(info.lines(data)))
    return 0


def fetch(words: Sequence[str]) -> int:
    """Download the files of data sets that are not here yet."""
    if not words:
        raise UsageError("rlbench data fetch needs a data set: rlbench data fetch d4rl/hopper-medium-v2")
    for word in words:
        source, _, id = word.removeprefix("dataset=").partition("/")
        if source != "d4rl":
            raise UsageError(f"{word!r} cannot be fetched\nit is d4rl/ID, e.g. d4rl/hopper-medium-v2")
        path = d4rl.fetch(id, report)
        checked = "checked" if d4rl.entry(id).sha256 else "no checksum known"
        print(f"{word.removeprefix('dataset=')}  {path}  {path.stat().st_size:,} bytes, {checked}")
    return 0


def report(text: str, done: int, total: int) -> None:
    """A line that overwrites itself, on a terminal."""
    if sys.stderr.isatty():
        print(f"\r{text}: {done:,} of {total:,}" + ("\n" if done >= total else ""), end="", file=sys.stderr, flush=True)


def verify() -> int:
    damaged = []
    for folder in store.stored():
        try:
            store.verify(folder)
            print(f"good     {folder.name}")
        except store.DamagedError as damage:
            damaged.append(folder)
            print(f"damaged  {folder.name}: {damage}")
    if damaged:
        raise RunError(f"{len(damaged)} damaged: remove {' '.join(shlex.quote(str(folder)) for folder in damaged)}")
    return 0


def make_behaviour(words: Sequence[str]) -> int:
    own: dict[str, str] = {}
    rest = []
    for word in words:
        key, _, value = word.partition("=")
        if key in ("every", "to", "snapshots"):
            own[key] = value
        else:
            rest.append(word)
    every = own.get("every", "5000")
    if not every.isdigit() or int(every) == 0:
        raise UsageError(f"every={every}: expected a number of steps")
    cfg = config.compose(["algo=sac", *rest])
    env = config.instantiate(cfg.env)
    if env.score(0.0) is None:
        raise UsageError(f"env={env.name} has no reference scores to choose policies by")

    from rlbench import cpu
    from rlbench import make_behaviour as making

    cpu.settle(cfg.hardware.threads)
    to = Path(own.get("to", paths.results_root() / "behaviour" / env.name))
    snapshots = Path(own.get("snapshots", to / "snapshots"))
    sac = as_dict(cfg.algo)
    if "snapshots" not in own:
        making.train(env, sac, cfg.steps, cfg.seed, int(every), snapshots, print)
    elif not snapshots.is_dir():
        raise UsageError(f"snapshots={snapshots} is no folder")
    training = {
        "command": shlex.join(["rlbench", "data", "make-behaviour", *rest, f"every={every}"]),
        "steps": cfg.steps,
        "seed": cfg.seed,
        "every": int(every),
        "algo": {key: value for key, value in sac.items() if key not in ("about", "budget")},
        "versions": making.versions(),
    }
    making.select(env, as_dict(config.compose(["algo=bc", f"env={env.name}"]).algo), snapshots, to, training, print)
    if to.resolve() != (behaviour.FOLDER / env.name).resolve():
        print(f"to record from them, copy the folder to {behaviour.FOLDER / env.name}")
    return 0


def as_dict(node: Any) -> dict[str, Any]:
    from omegaconf import OmegaConf

    return cast(dict[str, Any], OmegaConf.to_container(node, resolve=True))
