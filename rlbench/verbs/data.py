"""`rlbench data`: what data there are, what is in them, and the behaviour policies that they are recorded from."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rlbench import config, paths
from rlbench.cli import Parser
from rlbench.data import behaviour, d4rl, minari, ogbench, store
from rlbench.data.transitions import Transitions
from rlbench.errors import RunError, UsageError
from rlbench.spelling import closest

if TYPE_CHECKING:
    from rlbench.build import Data
    from rlbench.envs.control import Control
    from rlbench.envs.pictured import Pictured
    from rlbench.envs.problem import Problem
    from rlbench.tracking.progress import Progress

FETCHED: dict[str, Callable[[str, store.Progress], Path]] = {
    "d4rl": d4rl.fetch,
    "minari": minari.fetch,
    "ogbench": ogbench.fetch,
}
"""Sources of data sets that are downloaded: each gets an id, and returns where it lies."""
OF_POLICIES = "steps", "noise", "seed", "views"
"""What is said of the recording of a run's policies."""
TAKEN_BY = {
    "json": ("list", "info", "used"),
    "markdown": ("used",),
    "to": ("make", "label", "sample", "export", "import"),
    "format": ("make", "export", "import"),
}
"""Which verbs an option says something to."""

HELP = """\
  list                       embedded data, and what the cache holds
  list d4rl                  the data sets of D4RL: size, environment, and whether the file is here
  info [env=X] [dataset=Y]   the card of a dataset, which is recorded or read first if need be
  used [FILTER...]           the data sets of runs, as these found them: KEY=VALUE[,VALUE], or a word of a run's path
  make [env=X] policy=RUN steps=N [noise=0.1] [seed=K] [views=NAME_pixels] [--to PLACE] [--format d4rl|minari]
                             record the policies of a trained run, in parallel; the same words go on with a recording
                             that was stopped. noise: on the actions, in halves of their range. views: pictures are
                             recorded too (env.size=32: of that width). Without --to it is written to results/data
  label [env=X] dataset=Y [oracle=RUN] [segments=2500] [length=64] [comparisons=FILE] [seed=K] --to FILE.npz
                             cut segments for algorithms that learn from comparisons, and label them: by the regret
                             that a run of SAC tells (oracle=), or by people (comparisons=)
  sample model=NAME classifier=NAME [label=POSITIVE] [texts=PLACE] [prompts=25000] [responses=4] [max_new=128]
         [batch=16] [seed=K] --to FILE.jsonl
                             have a language model continue the first words of texts (film reviews: IMDb), and a
                             classifier score that, for algorithms that learn from comparisons; the same words go on
                             where sampling was stopped
  make [env=X] dataset=Y     record an embedded dataset ahead of its first use
  fetch d4rl/ID minari/ID ogbench/ID ...
                             download data sets, to be used without a network later
  verify                     hold the cache's content against its checksums
  export [env=X] [dataset=Y] --to PLACE [--format d4rl|minari]
                             write a dataset for others and read it back: FILE.hdf5 in D4RL's layout, or FOLDER-v0 of
                             Minari's, which loads by its name where it lies in MINARI_DATASETS_PATH
  import SOURCE [env=X] --to PLACE [--format d4rl|minari]
                             check a recording of your own (HDF5, npz, a folder of Minari's DataCollector, what
                             rlbench.data.recording.Recorder left) and write it likewise: dataset=file:PLACE
  make-behaviour [env=X] [steps=N] [seed=K] [algo.KEY=VALUE ...] [every=N] [to=DIR] [snapshots=DIR]
                             train SAC with a snapshot every 5000 steps (every=), choose the policies of every level
                             and write them with their manifest to results/behaviour/X (to=); snapshots= chooses
                             among those of an earlier training"""


def main(argv: Sequence[str]) -> int:
    parser = Parser("data", HELP)
    parser.add_argument(
        "what",
        choices=[
            "list",
            "info",
            "used",
            "make",
            "label",
            "sample",
            "fetch",
            "verify",
            "export",
            "import",
            "make-behaviour",
        ],
        help="see above",
    )
    parser.add_argument("words", nargs="*", metavar="WORD", help="see above")
    parser.add_argument("--json", action="store_true", help="list, info, used: as JSON")
    parser.add_argument("--markdown", action="store_true", help="used: a table for a page")
    parser.add_argument("--to", type=Path, metavar="PLACE", help="the file or folder to be written")
    parser.add_argument("--format", choices=["d4rl", "minari"], help="its form, if not by its name")
    arguments = parser.read(argv)
    for option, verbs in TAKEN_BY.items():
        if getattr(arguments, option) and arguments.what not in verbs:
            raise UsageError(f"rlbench data {arguments.what} takes no --{option}: it is for {', '.join(verbs)}")
    if arguments.what == "list" and arguments.words == ["d4rl"]:
        return show_d4rl(arguments.json)
    if arguments.what in ("list", "verify") and arguments.words:
        other = " (or d4rl)" if arguments.what == "list" else ""
        raise UsageError(f"rlbench data {arguments.what} takes no words{other}, not {arguments.words[0]!r}")
    if arguments.what == "list":
        return show_list(arguments.json)
    if arguments.what == "info":
        return show_info(arguments.words, arguments.json)
    if arguments.what == "used":
        return show_used(arguments.words, arguments.json, arguments.markdown)
    if arguments.what == "make":
        return make(arguments.words, arguments.to, arguments.format)
    if arguments.what == "label":
        return label(arguments.words, arguments.to)
    if arguments.what == "sample":
        return sample(arguments.words, arguments.to)
    if arguments.what == "fetch":
        return fetch(arguments.words)
    if arguments.what == "verify":
        return verify()
    if arguments.what in ("export", "import"):
        words = arguments.words if arguments.what == "export" else imported(arguments.words)
        return export(words, arguments.to, arguments.format)
    return make_behaviour(arguments.words)


def show_list(as_json: bool) -> int:
    embedded: list[dict[str, Any]] = [
        {"env": env, "level": level, "policies": list(known.mix(level)), "score": expected_score(known, level)}
        for env in behaviour.environments()
        for known in [behaviour.Behaviour.of(env)]
        for level in known.levels
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
        score = f"score {round(row['score'], 1) + 0.0:.1f}, {len(row['policies'])} policies"  # no -0.0
        print(f"  {row['env']:12} {row['level']:14} {score}")
    print(f"cached in {paths.cache_root() / 'data'}:")
    for entry in cached:
        facts = (
            f"damaged: {entry['damaged']}"
            if "damaged" in entry
            else "{rows:>9,} rows, mean return {return:.1f}".format(**entry)
        )
        print(f"  {entry['id']:28} {facts}  {Path(entry['path']).name}")
    print(f"downloaded on first use: d4rl/ID ({len(d4rl.manifest())}: rlbench data list d4rl), minari/ID, ogbench/ID")
    return 0


def show_d4rl(as_json: bool) -> int:
    """Every data set of D4RL; one whose file is damaged counts as not here."""
    rows = [{**asdict(entry), "env": entry.env, "here": d4rl.is_here(entry)} for entry in d4rl.manifest().values()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    for row in rows:
        size = f"{row['bytes'] / 1e6:7,.1f} MB" if row["bytes"] else ""
        print(f"d4rl/{row['id']:34} env={row['env']:20} {size:10} {'here' if row['here'] else ''}".rstrip())
    return 0


def expected_score(known: behaviour.Behaviour, level: str) -> float:
    """Mean normalised score of a level's episodes: policies with longer episodes have fewer of them."""
    entries = [(known.measured(name), share) for name, share in known.mix(level).items()]
    episodes = [share / entry["length"]["mean"] for entry, share in entries]
    return float(sum(n * entry["score"] for n, (entry, _) in zip(episodes, entries, strict=True)) / sum(episodes))


def load(words: Sequence[str], plain: bool = False) -> tuple[Control, Transitions]:
    """The transitions that overrides name, and where policies learned from them are judged; with `plain`, of pictures
    the states."""
    env, data = read(words, plain)
    if not isinstance(data, Transitions):
        raise UsageError(f"{data.card['id']} has no transitions, which this is for; `rlbench data info` tells of it")
    return cast("Control", env), data


def read(words: Sequence[str], plain: bool = False) -> tuple[Problem, Data]:
    """The same of a dataset of any kind."""
    from rlbench.envs.pictured import Pictured

    cfg = config.compose(["algo=bc", *words])
    if "_target_" not in cfg.dataset:
        raise UsageError("there is no dataset to tell of: dataset=medium, or dataset=file:PATH")
    env = config.instantiate(cfg.env)
    if plain and isinstance(env, Pictured):
        env = env.plain
    with progress() as report:
        data = config.instantiate(cfg.dataset, env=env).load(progress=report)
    return env.informed_by(data.card), data


@contextmanager
def progress() -> Iterator[Progress]:
    """A bar for what takes time."""
    from rlbench.tracking.progress import Progress

    with Progress("data") as report:
        yield report


def show_info(words: Sequence[str], as_json: bool) -> int:
    _, data = read(words)
    if as_json:
        print(json.dumps(data.card, indent=2))
        return 0
    from rlbench.data import info

    print("\n".join(info.lines(data) if isinstance(data, Transitions) else info.entries(data.card)))
    return 0


def show_used(words: Sequence[str], as_json: bool, as_markdown: bool) -> int:
    """The data sets of the runs that fit these words."""
    from rlbench.analysis.datasets import COLUMNS, row, used
    from rlbench.analysis.results import Results

    results = Results(paths.results_root(), words, keep=lambda _: False)
    results.refresh()
    results.require_fit()
    cards = used(results)
    if not cards:
        raise UsageError(f"no such run that read data in {paths.results_root() / 'runs'}; `rlbench runs` lists them")
    if as_json:
        print(json.dumps(cards, indent=1))
        return 0
    if as_markdown:
        from rlbench.analysis.table_text import aligned

        print("\n".join(aligned(COLUMNS, map(row, cards))))
        return 0
    from rich.markup import escape
    from rich.table import Table

    from rlbench.console import Wide

    table = Table(*COLUMNS[:1], box=None, pad_edge=False, header_style="bold")
    for name in COLUMNS[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    for card in cards:
        table.add_row(*map(escape, row(card)))
    Wide().print(table)
    return 0


def make(words: Sequence[str], to: Path | None, form: str | None) -> int:
    """Record a trained run, or an embedded dataset."""
    given = dict(word.partition("=")[::2] for word in words)
    if "policy" not in given:
        for word in OF_POLICIES:
            if word in given:
                raise UsageError(
                    f"{word}= says how the policies of a run are recorded, and policy=RUN is missing\n"
                    "without it an embedded dataset is recorded ahead of its first use, dataset.size=N rows of it"
                )
        if to or form:
            raise UsageError(
                "without policy=RUN a dataset is recorded into the cache, and --to and --format say nothing\n"
                f"rlbench data export {shlex.join(words)} --to PLACE writes it to a file"
            )
        _, data = load(words)
        print(f"{data.card['id']}: {len(data):,} rows")
        return 0
    settings = [word for word in words if "views" in given and word.startswith("env.")]
    refuse_unknown(
        {key: value for key, value in given.items() if f"{key}={value}" not in settings},
        ("policy", "env", *OF_POLICIES),
    )
    from omegaconf import OmegaConf

    from rlbench import collect
    from rlbench.tracking.rundir import resolve

    directory = resolve(given["policy"], paths.results_root())
    trained = OmegaConf.create(directory.config()).env.name
    if given.get("env", trained) != trained:
        raise UsageError(f"env={given['env']}: run {directory.path.name} was trained in {trained}, and acts there only")
    views = views_of(given["views"], settings) if "views" in given else None
    steps, noise, seed = (
        number(given, *each) for each in (("steps", 1_000_000, 1), ("noise", 0.0, 0.0), ("seed", 0, 0))
    )
    if to is None:
        extra = ("noise", "seed", "views")
        told = "-".join([str(int(steps)), *(f"{word}{given[word]}" for word in extra if word in given)])
        name = f"{trained}-{directory.id}-{told.replace('.', '_')}"
        to = paths.results_root() / "data" / (f"{name}-v0" if form == "minari" else f"{name}.hdf5")
    form, to = destination(to, form)
    with progress() as report:
        data = collect.collect(directory, int(steps), noise, int(seed), to, form, report, views)
    seen = " ".join([views.name, *settings]) if views else trained
    print(f"{len(data):,} rows in {len(data.episode_ends):,} episodes: dataset=file:{to} env={seen}")
    return 0


def views_of(name: str, settings: Sequence[str]) -> Pictured:
    """The environment of pictures that `views=NAME` names, with settings `env.KEY=VALUE`."""
    from rlbench.envs.pictured import Pictured

    env = config.instantiate(config.compose(["algo=sac", f"env={name}", *settings]).env)
    if not isinstance(env, Pictured):
        raise UsageError(f"views={name}: env={name} shows states, not pictures")
    return env


def label(words: Sequence[str], to: Path | None) -> int:
    """Cut segments from a dataset, label them and write them to a file."""
    import numpy as np

    from rlbench import label as labelling
    from rlbench.data import segments
    from rlbench.data.export import refuse_taken
    from rlbench.tracking.rundir import resolve

    own = ("oracle", "comparisons", "segments", "length", "seed")
    given = {key: value for key, _, value in (word.partition("=") for word in words) if key in own}
    if to is None or to.suffix != ".npz":
        raise UsageError("--to FILE.npz is missing")
    refuse_taken(to)
    count, length, seed = (number(given, *each) for each in (("segments", 2500, 2), ("length", 64, 1), ("seed", 0, 0)))
    oracle = resolve(given["oracle"], paths.results_root()) if "oracle" in given else None
    rest = [word for word in words if word.partition("=")[0] not in own]
    env, seen = load(rest)
    data = seen if seen.frames is None else load(rest, plain=True)[1]
    made: dict[str, np.ndarray] = {}
    if "comparisons" in given:
        rows, made["human"], length = labelling.comparisons(Path(given["comparisons"]).expanduser())
        if beyond := labelling.crossing(data, rows, length):
            print(
                f"{beyond} of {len(rows)} segments go on beyond the end of an episode: are rows counted here as where "
                "people compared them? dataset.timeout_rows=drop dataset.next_obs=shifted is d4rl.qlearning_dataset"
            )
    else:
        rows = labelling.cut(data, int(count), int(length), np.random.default_rng(int(seed)))
    with progress() as report:
        made |= labelling.label(data, env, rows, int(length), oracle, int(seed), report)
    if seen.frames is not None:
        made |= labelling.pictures(seen, rows, int(length))
    about = f"{len(rows)} segments of {length} steps of {data.card['id']}"
    if oracle is not None:
        about += f", labelled by run {oracle.path.name} after {(oracle.status() or {}).get('step')} steps"
    elif "comparisons" not in given:
        print("no oracle=RUN: the only label is partial_return, which is no regret; CPL learns another policy from it")
    known: dict[str, Any] = {key: data.card[key] for key in ("env", "which", "versions") if key in data.card}
    segments.write(to, made, {"about": about, **known})
    labels = [name for name in made if name not in (*segments.ARRAYS, "frames")]
    print(f"{about}; labels: {', '.join(labels)}")
    mode = " dataset.mode=comparison" if "human" in labels else ""
    best = next(name for name in ("human", "rl_sum", "partial_return") if name in labels)
    chosen = " ".join([f"env={env.name}", *(word for word in rest if word.startswith("env."))])
    print(f"rlbench algo=cpl {chosen} dataset=pref_segments:{to}{mode} dataset.label={best}")
    return 0


def sample(words: Sequence[str], to: Path | None) -> int:
    """Have a language model continue beginnings of texts, and a classifier score them."""
    given = dict(word.partition("=")[::2] for word in words)
    least = {"prompts": (25_000, 1), "responses": (4, 2), "max_new": (128, 1), "batch": (16, 1), "seed": (0, 0)}
    refuse_unknown(given, ("texts", "model", "classifier", "label", *least))
    for word in ("model", "classifier"):
        if not given.get(word):
            raise UsageError(f"{word}= is missing: a folder, or a name on the hub of Hugging Face")
    if to is None or to.suffix != ".jsonl":
        raise UsageError("--to FILE.jsonl is missing")
    from rlbench.envs.text import require

    require("rlbench data sample", "transformers")
    from rlbench import sample as sampling
    from rlbench.build import processor

    asked = sampling.Asked(
        texts=given.get("texts"),
        model=given["model"],
        classifier=given["classifier"],
        label=given.get("label", "POSITIVE"),
        **{word: int(number(given, word, *bounds)) for word, bounds in least.items()},
    )
    with progress() as report:
        rows = sampling.sample(asked, to, processor("auto"), report)
    scores = [score for row in rows for score in row["scores"]]
    about = f"{len(rows):,} beginnings, {asked.responses} continuations each"
    print(f"{about}, mean p({asked.label}) {sum(scores) / len(scores):.3f}")
    print(f"rlbench algo=dpo env=text env.model={asked.model} dataset=imdb_sentiment:{to}")
    return 0


def refuse_unknown(given: dict[str, str], known: Sequence[str]) -> None:
    """Raise `UsageError` where a word is none of these."""
    for word in given:
        if word not in known:
            near = closest(word, known)
            raise UsageError(f"no word {word}= here" + (f"\ndid you mean {near[0]}=?" if near else ""))


def number(given: dict[str, str], name: str, default: float, least: float) -> float:
    """A word's number: whole where its default is, and at least `least`."""
    try:
        value = type(default)(given.get(name, str(default)).replace("_", ""))
    except ValueError as error:
        kind = "whole number" if isinstance(default, int) else "number"
        raise UsageError(f"{name}={given[name]} is no {kind}") from error
    if not least <= value < float("inf"):
        raise UsageError(f"{name}={given[name]}: at least {least:g}")
    return value


def destination(to: Path | None, form: str | None) -> tuple[str, Path]:
    """The form and the place of what is to be written."""
    from rlbench.data import export

    if to is None:
        raise UsageError("--to PLACE is missing: FILE.hdf5 for D4RL's form, FOLDER-v0 for Minari's")
    return export.form_of(to, form), to


def fetch(words: Sequence[str]) -> int:
    """Download the files of data sets that are not here yet."""
    if not words:
        raise UsageError("rlbench data fetch needs a data set: rlbench data fetch d4rl/hopper-medium-v2")
    for word in words:
        source, _, id = word.removeprefix("dataset=").partition("/")
        if source not in FETCHED:
            known = ", ".join(f"{name}/ID" for name in FETCHED)
            raise UsageError(f"{word!r} cannot be fetched\nit is one of {known}, e.g. d4rl/hopper-medium-v2")
        with progress() as report:
            path = FETCHED[source](id, report)
        checked = ""
        if source == "d4rl":
            checked = ", checked" if d4rl.entry(id).sha256 else ", no checksum known"
        size = f"  {path.stat().st_size:,} bytes{checked}" if path.is_file() else ""
        print(f"{source}/{id}  {path}{size}")
    return 0


def imported(words: Sequence[str]) -> list[str]:
    """The overrides that read a recording, of the words after `import`."""
    if not words or (words[0].partition("=")[0] in ("env", "dataset") and not Path(words[0]).exists()):
        raise UsageError("rlbench data import needs a file or folder: rlbench data import SOURCE --to PLACE")
    source, *rest = words
    return [f"dataset=file:{source}", *rest]


def export(words: Sequence[str], to: Path | None, form: str | None) -> int:
    """Write a dataset to a file or folder."""
    from rlbench.data import export as exporting

    form, to = destination(to, form)
    env, data = load(words)
    with progress() as report:
        exporting.write(data, env, to, form, report)
    episodes = len(data.episode_ends)
    print(
        f"{data.card['id']}: {len(data):,} rows in {episodes:,} episodes, read back equal to the bit: dataset=file:{to}"
    )
    return 0


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
