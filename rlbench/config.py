"""From words to a configuration: composed by Hydra, held to the constructors' signatures before anything is built.

The one module that knows Hydra. Values that the user types are laid over the composed choices here, not by Hydra, so
that a wrong one is answered with the nearest right one.
"""

from __future__ import annotations

import copy
import importlib
import importlib.util
import inspect
import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, cast

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Glob, IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rlbench import paths, signatures
from rlbench.choices import GROUPS, NAMED, OPTIONAL, PLUGINS, Choices, read
from rlbench.data import sources
from rlbench.errors import UsageError
from rlbench.identity import RESERVED, determinants, digest
from rlbench.signatures import MismatchError, Signature
from rlbench.spelling import closest
from rlbench.types import Seed

NODES = ("algo", "env", "dataset")
"""The groups whose files describe a class."""
LABELS = {"name", "level"}
"""Keys that a constructor gets only if it asks for them."""
SETTINGS = "rlbench.settings.Run"
SEED = re.compile(r"seed=\d{1,18}")
"""A seed whose value needs no check: whatever has 18 digits is in its range."""
INSTEAD = {
    "hydra/sweeper": "search=tpe looks for good values: docs/search.md",
    "hydra/launcher": "hardware=local and hardware=slurm_gpu start many runs: docs/sweeps.md",
}
"""What there is in place of Hydra's own."""

declared = {"rlbench"}
"""Top-level modules that `_target_` may name; plug-ins join them (as they join sys.path)."""


def tuned(default: Any, choices: DictConfig, *, _root_: DictConfig) -> Any:
    """`${tuned:DEFAULT,{ENV-LEVEL:VALUE,...}}`: the value for the run's environment and dataset."""
    return choices.get(f"{known_as(_root_.env)}-{sources.quality(_root_.dataset.level)}", default)


def for_env(default: Any, choices: DictConfig, *, _root_: DictConfig) -> Any:
    """`${for_env:DEFAULT,{ENV:VALUE,...}}`: the value for the run's environment."""
    return choices.get(known_as(_root_.env), default)


def known_as(env: DictConfig) -> str:
    """What tables of settings call an environment: Minari's go by the names of the same tasks here."""
    id = str(env.get("id"))
    return sources.counterpart(id) if env.name == sources.task("minari", id) else str(env.name)


def given(value: Any, then: Any, otherwise: Any) -> Any:
    """`${given:VALUE,THEN,OTHERWISE}`: THEN, or OTHERWISE where the value is null."""
    return otherwise if value is None else then


OmegaConf.register_new_resolver("tuned", tuned, replace=True)
OmegaConf.register_new_resolver("for_env", for_env, replace=True)
OmegaConf.register_new_resolver("given", given, replace=True)
OmegaConf.register_new_resolver("least", lambda *values: min(values), replace=True)
OmegaConf.register_new_resolver("div", lambda a, b: a // b, replace=True)
OmegaConf.register_new_resolver("times", lambda a, b: a * b, replace=True)
OmegaConf.register_new_resolver("level", sources.level, replace=True)
OmegaConf.register_new_resolver("task", sources.task, replace=True)


# -- composing ---------------------------------------------------------------------------------------------------------


def compose(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> DictConfig:
    """The configuration of one run: resolved, and checked against every signature.

    Args:
        overrides: `group=option` and `key=value`, in Hydra's grammar.
        config_dirs: the user's own folders of choices (see `Choices`).

    Raises:
        UsageError: something in it cannot be run.
    """
    return frozen(compose_plain(overrides, config_dirs))


def compose_plain(overrides: Sequence[str], config_dirs: Sequence[str | Path] = ()) -> dict[str, Any]:
    """What `compose` returns, as dicts and lists."""
    choices = Choices(config_dirs)
    options: dict[str, str | None] = {}
    values: list[tuple[str, Any]] = []
    for word in overrides:
        for key, value in assignments(word):
            if key not in GROUPS:
                values.append((key, value))
            elif value is None and key in OPTIONAL:
                options[key] = None
            else:
                options[key] = option(choices, key, str(value))
    given = dict(values)
    for group in NAMED:
        if asks(group, source := options.get(group), "id") and not given.get(f"{group}.id"):
            raise UsageError(f"{group}={source} needs a name: {group}={source}/ID")
    if asks("dataset", source := options.get("dataset"), "id"):
        id = given["dataset.id"]
        sources.check(str(source), str(id))
        (_, natural), *named = chosen_by_name("env", sources.environment(str(source), str(id)))
        if "env" not in options:
            values[:0] = named
        if options.setdefault("env", natural) not in choices.files["env"]:
            raise UsageError(f"dataset={source}/{id} has no environment of its own here: choose one, env=NAME")
    if options.get("search") is None and (stray := [key for key, _ in values if key.startswith("search.")]):
        raise UsageError(
            f"{stray[0]} belongs to a search: search=NAME\nthere are {', '.join(choices.options('search'))}"
        )
    try:
        chosen, content = composed(tuple(options.items()), tuple(choices.dirs))
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        text = " ".join(str(error).split())
        raise no_algorithm(choices, values) if "You must specify 'algo'" in text else UsageError(text) from error
    except UnicodeDecodeError:  # which does not say of what
        for path in choices.all_files():
            read(path)
        raise
    cfg = copy.deepcopy(content)
    plugins = declare(choices.plugins(), choices.dirs)
    lay_over(cfg, values)
    try:
        result = validated(cfg, choices)
    except MismatchError as wrong:
        typed = any(".".join(wrong.path).startswith(key) for key, _ in values)
        raise explained(wrong, cfg, "" if typed else setter(wrong, chosen, choices)) from wrong
    return {**result, "plugins": plugins} if plugins else result


def frozen(content: dict[str, Any]) -> DictConfig:
    """The configuration as what a run gets: no key can be added."""
    cfg = OmegaConf.create(content)
    OmegaConf.set_struct(cfg, True)
    return cfg


def compose_sweep(
    cells: Sequence[Sequence[str]], config_dirs: Sequence[str | Path] = ()
) -> Iterator[tuple[Sequence[str], dict[str, Any]]]:
    """Every cell of a sweep with its configuration, as `compose` makes it; what is searched has its first value.

    Raises:
        UsageError: one of them cannot be run; the message says which.
    """
    files = Choices(config_dirs).all_files()
    # Cells that differ in the seed alone are composed once: a thousand of them would take a quarter of a minute.
    alike = not any("${seed" in path.read_text() for path in files)
    composed: dict[tuple[str, ...], dict[str, Any]] = {}
    for words in cells:
        others = tuple(word for word in words if not SEED.fullmatch(word))
        known = composed.get(others)
        if known is not None and len(words) == len(others) + 1:
            seed = next(word for word in words if SEED.fullmatch(word))
            yield words, {**known, "seed": int(seed.removeprefix("seed="))}
            continue
        try:
            content = compose_plain([ends(word)[0] for word in words], config_dirs)
        except UsageError as error:
            if len(cells) == 1:
                raise
            raise UsageError(f"{' '.join(words)}: {error}") from error
        if alike and len(words) == len(others) + 1 and not any("${" in word for word in words):
            composed[others] = content
        yield words, content


def load(path: Path, words: Sequence[str] = ()) -> DictConfig:
    """The configuration that a run's `config.yaml` holds, checked anew (the code may have changed since).

    Args:
        path: the file.
        words: `KEY=VALUE` of keys that get other values.

    Raises:
        UsageError: it cannot be run any more; there is no such key, or it takes other values.
    """
    cfg = cast(DictConfig, OmegaConf.load(path))
    if "_target_" not in cfg.algo:
        raise UsageError(f"{path.parent} was pulled from W&B, and not made by rlbench: it can be read, and not be run")
    return checked_anew(cfg, path, words)


def checked_anew(cfg: DictConfig, path: Path, words: Sequence[str] = ()) -> DictConfig:
    """A configuration that was composed earlier and kept in a file, ready to be run.

    Args:
        cfg: the configuration.
        path: the file.
        words: `KEY=VALUE` of keys that get other values.

    Raises:
        UsageError: it cannot be run any more; there is no such key, or it takes other values.
    """
    plugins = cfg.pop("plugins", {})
    for folder in plugins.values():
        extend_path(Path(folder))
    declared.update(plugins)
    lay_over(cfg, [pair for word in words for pair in assignments(word)])
    try:
        result = validated(cfg, Choices())
    except MismatchError as wrong:
        raise explained(wrong, cfg, str(path)) from wrong
    return frozen({**result, "plugins": plugins} if plugins else result)


def expand(words: Sequence[str], multirun: bool, config_dirs: Sequence[str | Path] = ()) -> list[list[str]]:
    """The cells of a sweep, each a list of overrides; the last word varies fastest.

    Raises:
        UsageError: a word is no override, or sweeps where no sweep was asked for.
    """
    choices = Choices(config_dirs)
    others = [word for word in words if key_of(word) != "experiment"]
    cells: list[list[str]] = []
    for name in experiments(words, choices):
        lists = word_lists(choices.files["experiment"][name]) if name else []
        if lists:
            cells += cells_of(f"experiment={name}", lists, others, multirun, choices)
        else:
            cells += combined([*([f"experiment={name}"] if name else []), *others], multirun, choices)
    return cells


def cells_of(
    experiment: str, lists: Sequence[Sequence[str]], words: Sequence[str], multirun: bool, choices: Choices
) -> list[list[str]]:
    """The cells of an experiment that is a sweep.

    Args:
        experiment: the word that chooses it.
        lists: its own words, list by list.
        words: the user's. A choice that the experiment sweeps (`dataset=`, `base=`) keeps those of its cells that make
            it; any other word is laid over all of them.
        multirun: whether the user asked for a sweep.
        choices: what there is.
    """
    swept: dict[str, list[str]] = {}
    for word in (word for each in lists for word in each if key_of(word) in GROUPS):
        swept.setdefault(key_of(word), []).extend(each.partition("=")[2] for each in axis(word, True, choices.files))
    asked = {key_of(word): set(axis(word.lstrip("+"), True, swept)) for word in words if key_of(word) in swept}
    laid_over = [word for word in words if key_of(word) not in asked]
    replaced = {key_of(word) for word in laid_over}
    cells = []
    for each in lists:
        own = [word for word in each if key_of(word) not in replaced]
        found = combined([experiment, *own, *laid_over], True, choices)
        cells += [cell for cell in found if all(not options.isdisjoint(cell) for options in asked.values())]
    if not cells:
        there = "; ".join(f"{group}={','.join(dict.fromkeys(swept[group]))}" for group in asked)
        raise UsageError(f"no run of {experiment} is like that\nit has {there}")
    if not multirun:
        runs = "1 run" if len(cells) == 1 else f"{len(cells)} runs"
        raise UsageError(f"{experiment} is a sweep of {runs}\nadd -m to start it")
    return cells


def combined(words: Sequence[str], multirun: bool, choices: Choices) -> list[list[str]]:
    """Every combination of what the words stand for; those that a search is to draw from are left as they are."""
    searching = any(key_of(word) == "search" and not word.endswith("=null") for word in words)
    searched = {word for word in words if multirun and searching and dimension(word)}
    axes = [[word] if word in searched else axis(word, multirun, choices.files) for word in words]
    return [list(cell) for cell in product(*axes)]


def axis(word: str, multirun: bool, options: Mapping[str, Iterable[str]]) -> list[str]:
    """The words that a word stands for: more than one where it sweeps.

    Args:
        word: the word.
        multirun: whether it may sweep.
        options: by group, what `glob()` chooses from.
    """
    if is_file(word):
        return [word]
    override = parsed(word)
    if not override.is_sweep_override():
        return [word]
    value = override.value()
    if isinstance(value, IntervalSweep):
        raise UsageError(f"{word} is for a search to draw from\nadd {'' if multirun else '-m and '}search=tpe")
    if not multirun:
        raise UsageError(f"{word} is a sweep\nadd -m to run one after another")
    if isinstance(value, Glob):
        found = [
            f"{override.key_or_group}={name}" for name in value.filter(list(options.get(override.key_or_group, ())))
        ]
    else:
        found = [f"{override.get_key_element()}={value}" for value in override.sweep_string_iterator()]
    if not found:
        raise UsageError(f"{word} is an empty sweep")
    return found


def experiments(words: Sequence[str], choices: Choices) -> list[str | None]:
    """The experiments that are chosen; [None] where none is."""
    chosen = [word for word in words if key_of(word) == "experiment"]
    names = [each.partition("=")[2] for each in axis(chosen[-1], True, choices.files)] if chosen else ["null"]
    return [None if name == "null" else option(choices, "experiment", name) for name in names]


def word_lists(path: Path) -> list[list[str]]:
    """What an experiment sweeps: lists of words, each list as if it had been typed.

    Raises:
        UsageError: the file's `sweep:` is something else.
    """
    lists = read(path).get("sweep", [])
    if not isinstance(lists, list) or not all(isinstance(each, list) for each in lists):
        raise UsageError(f"{path}: sweep: is to be a list of lists of words, like `- [algo=iql, seed=range(4)]`")
    return [[str(word) for word in each] for each in lists]


def key_of(word: str) -> str:
    """The key or group that a word sets."""
    return "dataset" if is_file(word) else str(parsed(word).key_or_group)


@dataclass(frozen=True)
class Dimension:
    """What a search may set a key to: a number between two, or one of some options.

    Attributes:
        key: the key, or group.
        low: the lowest number; None where there are options.
        high: the highest.
        step: from one number to the next; None: any number between.
        log: whether what counts is the number's logarithm.
        options: the options, as they are typed.
    """

    key: str
    low: float | None = None
    high: float | None = None
    step: float | None = None
    log: bool = False
    options: tuple[str, ...] = ()

    @property
    def ends(self) -> list[str]:
        """The words for its ends, or for every option."""
        return [f"{self.key}={value}" for value in (self.options or (self.low, self.high))]


def dimension(word: str) -> Dimension | None:
    """What a search may make of a word; None, if the word is none for a search.

    Raises:
        UsageError: it is, and there is nothing to be drawn.
    """
    if "(" not in word or is_file(word):
        return None
    override = parsed(word)
    value, key = override.value(), override.get_key_element()
    match value:
        case IntervalSweep(start=float() | int() as low, end=float() | int() as high):
            found = Dimension(key, low, high, log="log" in value.tags)
        case RangeSweep() if numbers := sorted(value.range()):
            found = Dimension(key, numbers[0], numbers[-1], abs(value.step))
        case ChoiceSweep(simple_form=False):
            found = Dimension(key, options=tuple(override.sweep_string_iterator()))
        case _:
            return None
    if found.low is not None and found.high is not None:
        if found.low >= found.high:
            raise UsageError(f"{word}: the first number is to be below the second")
        if found.log and found.low <= 0:
            raise UsageError(f"{word}: the logarithm wants numbers above 0")
    if value.tags - {"log"} or (value.tags and not isinstance(value, IntervalSweep)):
        raise UsageError(f"{word}: the only tag is log, of an interval: tag(log, interval(A, B))")
    return found


def ends(word: str) -> list[str]:
    """The words at the ends of what a search may make of a word; of any other, the word itself."""
    found = dimension(word)
    return found.ends if found else [word]


def is_file(word: str) -> bool:
    """Whether a word is `dataset=file:PATH` or alike, whose path is taken as it stands."""
    group, _, value = word.lstrip("+").partition("=")
    return group == "dataset" and bool(chosen_by_path(value)) and f",{value.partition(':')[0]}:" not in word


def chosen_by_path(value: str) -> list[tuple[str, str]]:
    """What `dataset=OPTION:PATH` sets where the option takes a path; else nothing."""
    option, colon, path = value.partition(":")
    if not colon or not asks("dataset", option, "path"):
        return []
    return [("dataset", option), ("dataset.path", str(Path(path).expanduser().absolute()))]


@cache
def parsed(word: str) -> Override:
    """A word in Hydra's grammar. A leading `+` or `++` says nothing here: what there is is known."""
    key, equals, _ = word.partition("=")
    if key.startswith("~"):
        raise UsageError(f"{word}: nothing can be taken away\na group that may be empty takes null: {OPTIONAL[0]}=null")
    if not equals:
        raise not_an_override(word)
    try:
        override: Override = OverridesParser.create().parse_override(word.lstrip("+"))
    except HydraException as error:
        text = " ".join(str(error).split("\n", 1)[0].split())
        raise UsageError(f"cannot read {word!r}: {text}\nquote what is special: '{key}=\"...\"'") from error
    if override.key_or_group.split(".")[0] == "hydra" or override.key_or_group.startswith("hydra/"):
        hint = INSTEAD.get(
            override.key_or_group, "RLBENCH_RESULTS moves the results; a run's folder is named by its content"
        )
        raise UsageError(f"{word}: Hydra's own settings have no effect here\n{hint}")
    return override


def assignments(word: str) -> Iterator[tuple[str, Any]]:
    """What a word sets: keys (or groups) and values."""
    if is_file(word):
        yield from chosen_by_path(word.partition("=")[2])
        return
    override = parsed(word)
    if override.is_sweep_override():
        raise UsageError(f"{word} is a sweep\nadd -m to run one after another")
    value = override.value()
    if override.key_or_group == "dataset" and isinstance(value, str) and chosen_by_path(value):
        yield from chosen_by_path(value)
    elif override.key_or_group in NAMED and isinstance(value, str) and not override.package:
        yield from chosen_by_name(override.key_or_group, value)
    else:
        yield override.key_or_group + (f"@{override.package}" if override.package else ""), value


def chosen_by_name(group: str, value: str) -> list[tuple[str, str]]:
    """What `GROUP=SOURCE/ID` sets where the group's option SOURCE takes an id; else `GROUP=VALUE` as it is."""
    source, slash, id = value.partition("/")
    return [(group, source), (f"{group}.id", id)] if slash and asks(group, source, "id") else [(group, value)]


def asks(group: str, name: str | None, key: str) -> bool:
    """Whether an option of rlbench's own leaves a key to the user: the `id` of what others published, a `path`."""
    path = builtin().files[group].get(name or "")
    return path is not None and read(path).get(key) == "???"


@cache
def builtin() -> Choices:
    """The choices without any folder of the user's."""
    return Choices()


def not_an_override(word: str) -> UsageError:
    """The answer to a word without an equals sign."""
    choices = builtin()
    for group in GROUPS:
        if word in choices.files[group]:
            return UsageError(f"{word!r} is not of the form key=value\ndid you mean {group}={word}?")
    return UsageError(f"{word!r} is neither a command nor of the form key=value\n`rlbench --help` lists the commands")


@cache
def composed(options: tuple[tuple[str, str | None], ...], dirs: tuple[Path, ...]) -> tuple[dict[str, str], DictConfig]:
    """The chosen files by group, and their content put together by Hydra, interpolations unresolved.

    Args:
        options: the user's choices.
        dirs: the user's folders.
    """
    words = [f"~{group}" if name is None else f"{group}={name}" for group, name in options]
    if dirs:
        quoted = (str(folder).replace("'", r"\'") for folder in dirs)
        words.append("hydra.searchpath=[" + ",".join(f"'file://{folder}'" for folder in quoted) + "]")
    with initialize_config_dir(str(paths.conf_root()), version_base="1.3"):
        cfg = hydra_compose("config", words, return_hydra_config=True)
    chosen = {group: name for group, name in cfg.hydra.runtime.choices.items() if group in GROUPS and name}
    OmegaConf.set_struct(cfg, False)
    del cfg["hydra"]
    for key in ("about", "sweep"):  # what an experiment says of itself is no part of its runs
        cfg.pop(key, None)
    return chosen, cfg


def no_algorithm(choices: Choices, values: Sequence[tuple[str, Any]]) -> UsageError:
    """The answer to words that choose no algorithm, perhaps because `algo` is misspelt among them."""
    root = signatures.signature(SETTINGS)
    known = [*GROUPS, *flattened(root)]
    for key, _ in values:
        head = key.partition(".")[0]
        if head not in GROUPS and head not in root.parameters and closest(key, known):
            return unknown(key, known)
    return UsageError(f"no algorithm given: algo=NAME\nthere are {', '.join(choices.options('algo'))}")


def option(choices: Choices, group: str, name: str) -> str:
    """The option, if the group has it."""
    options = choices.options(group)
    if name in options:
        return name
    plain = re.sub(r"[-_]v\d+$", "", name.lower().replace("-", "_"))
    if group in ("env", "dataset"):
        for env, dataset in product(choices.options("env"), choices.options("dataset")):
            if plain == f"{env}_{dataset}":
                raise UsageError(f"no {group} {name!r}\ndid you mean env={env} dataset={dataset}?")
        if "/" in name or name.endswith((".hdf5", ".h5")):
            raise UsageError(f"no {group} {name!r}\ndid you mean dataset=file:{name}?")
    near = closest(name, options) or closest(plain, options)
    hint = did_you_mean([f"{group}={each}" for each in near]) if near else f"there are {', '.join(options) or 'none'}"
    raise UsageError(f"no {group} {name!r}\n{hint}")


def lay_over(cfg: DictConfig, values: Sequence[tuple[str, Any]]) -> None:
    """Set what the user typed, key by key, each of which must exist."""
    known = dict(keys(cfg)) if values else {}
    for key, value in (pair for typed in values for pair in spread(*typed, known)):
        last = key.rpartition(".")[2]
        if last == "_target_":
            raise UsageError(f"{key} cannot be set here: choose a file of its group, or write one (--config-dir)")
        if key.startswith("algo.budget."):
            right = "eval.every" if last == "eval_every" else "steps"
            raise UsageError(f"{key} is only the default\ndid you mean {right}?")
        below = [each for each in known if each.startswith(f"{key}.")]
        if below:
            raise UsageError(f"{key}={value}: {key} holds keys of its own\nthey are {', '.join(below)}")
        if key not in known and not any(key.startswith(f"{free}.") and is_free(kind) for free, kind in known.items()):
            raise unknown(key, [*known, *GROUPS], f"`rlbench describe algo={cfg.algo.name}` lists the keys")
        try:
            OmegaConf.update(cfg, key, value, merge=True, force_add=True)
        except OmegaConfBaseException as error:
            raise UsageError(f"{key}={value}: {str(error).splitlines()[0]}") from error


def spread(key: str, value: Any, known: Collection[str]) -> Iterator[tuple[str, Any]]:
    """`eval={every: 5}` as `eval.every=5`."""
    if isinstance(value, dict) and key not in known:
        for name, each in value.items():
            yield from spread(f"{key}.{name}", each, known)
    else:
        yield key, value


# -- checking ----------------------------------------------------------------------------------------------------------


def validated(cfg: DictConfig, choices: Choices) -> dict[str, Any]:
    """The configuration with interpolations resolved and every value in the type of its signature.

    Raises:
        MismatchError: a key is unknown or missing, a value is not of its type.
        UsageError: the parts do not fit each other.
    """
    labelled = plain(cfg)
    check_labels(labelled)
    check_base(labelled["algo"], choices)
    try:
        content = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    except OmegaConfBaseException as error:
        raise UsageError(str(error).splitlines()[0]) from error
    check_names(content)
    check_fit(content, choices)
    settings = {key: value for key, value in content.items() if key not in NODES}
    for group in ("hardware", "search"):
        settings.get(group, {}).pop("about", None)
    checked = signatures.coerce(settings, signatures.signature(SETTINGS))
    for group in NODES:
        checked[group] = checked_node(content[group], (group,))
    check_processes(checked)
    check_seeds(checked)
    return checked


def node_signature(node: Any, path: Sequence[str]) -> Signature:
    """What the class that a node of the config describes takes."""
    target = node.get("_target_")
    where = ".".join(path)
    if target is None:
        return Signature("", "", {})
    top = str(target).split(".")[0]
    if top not in declared:
        hint = f"a module of your own is declared in DIR/{PLUGINS} of --config-dir DIR, as `plugins: [{top}]`"
        raise UsageError(f"{where}._target_={target} is neither rlbench's nor declared as a plug-in\n{hint}")
    try:
        return signatures.signature(target)
    except (LookupError, SyntaxError) as error:
        raise UsageError(f"{where}._target_={target}: {error.args[0] if error.args else error}") from error


def checked_node(node: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    """A node with every value in the type of its constructor; nodes within likewise."""
    signature = node_signature(node, path)
    taken = signature.parameters
    kept = {key: value for key, value in node.items() if key in RESERVED or (key in LABELS and key not in taken)}
    inner = {key: checked_node(value, (*path, key)) for key, value in node.items() if key in taken and is_node(value)}
    plain = {key: value for key, value in node.items() if key not in kept and key not in inner}
    outer = Signature(signature.target, "", {key: each for key, each in taken.items() if key not in inner})
    values = {**kept, **signatures.coerce(plain, outer, path), **inner}
    return {key: values[key] for key in node}


def is_node(value: Any) -> bool:
    """Whether a value describes an object to be built."""
    return isinstance(value, dict | DictConfig) and "_target_" in value


def is_free(kind: Any) -> bool:
    """Whether any key may stand below: a parameter of type dict."""
    return getattr(kind, "__origin__", None) is dict


def plain(cfg: DictConfig | dict[str, Any]) -> dict[str, Any]:
    """The configuration as dicts and lists."""
    return cfg if isinstance(cfg, dict) else cast(dict[str, Any], OmegaConf.to_container(cfg))


def keys(cfg: DictConfig) -> Iterator[tuple[str, Any]]:
    """Every key that may be set, dotted, with its type."""
    content = plain(cfg)
    settings = flattened(signatures.signature(SETTINGS))
    yield from ((key, kind) for key, kind in settings.items() if "search" in content or not key.startswith("search."))
    for group in NODES:
        yield from node_keys(content[group], (group,))


def node_keys(node: dict[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for name, parameter in node_signature(node, path).parameters.items():
        if is_node(node.get(name)):
            yield from node_keys(node[name], (*path, name))
        else:
            yield from flattened(Signature("", "", {name: parameter}), path).items()


def flattened(signature: Signature, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The dotted keys of a signature and of the dataclasses in it, with their types."""
    found: dict[str, Any] = {}
    for name, parameter in signature.parameters.items():
        if isinstance(parameter.kind, Signature):
            found |= flattened(parameter.kind, (*path, name))
        else:
            found[".".join((*path, name))] = parameter.kind
    return found


def check_labels(content: dict[str, Any]) -> None:
    """The files say what a run's name, length and fit are taken from."""
    for group, labels in (
        ("algo", ("name", "about", "budget")),
        ("env", ("name", "about")),
        ("dataset", ("level", "about")),
    ):
        for label in labels:
            if label not in content[group]:
                raise UsageError(f"{group}: a file of {group}/ has {label}:, this one has not")


def check_names(content: dict[str, Any]) -> None:
    """What a run's folders are called can be a folder's name."""
    for group, label in (("algo", "name"), ("env", "name"), ("dataset", "level")):
        name = str(content[group][label])
        if not paths.FOLDER.fullmatch(name):
            raise UsageError(f"{group}.{label}={name}: a folder is named so: a letter or digit first, and no /")


def check_base(algo: dict[str, Any], choices: Choices) -> None:
    """A base algorithm is chosen exactly where the algorithm wraps one."""
    wraps = "base" in node_signature(algo, ("algo",)).parameters
    if wraps and "base" not in algo:
        bases = ", ".join(choices.options("base"))
        raise UsageError(f"algo={algo['name']} wraps another algorithm: base=NAME\nthere are {bases}")
    if not wraps and "base" in algo:
        raise UsageError(f"algo={algo['name']} wraps no other algorithm\nleave base= out, or choose algo=cocoa")


def check_fit(content: dict[str, Any], choices: Choices) -> None:
    """The algorithm (and its base) get the environment and data that they need, the data those of its environment."""
    env, dataset = content["env"]["name"], content["dataset"]
    for role, node in (("algo", content["algo"]), ("base", content["algo"].get("base"))):
        needs = node["about"].get("needs", {}) if node else {}
        for group, need, given in (
            ("env", needs.get("env"), content["env"]["about"].get("is")),
            ("dataset", needs.get("data"), dataset["about"].get("is")),
        ):
            wanted = [] if need is None else need if isinstance(need, list) else [need]
            if wanted and given not in wanted:
                what = "collects its own data" if wanted == ["none"] else f"needs {' or '.join(wanted)}"
                has = "has no data" if given == "none" else f"is {given}"
                hint = these_fit(choices, group, wanted, env)
                name = env if group == "env" else word_for(dataset, choices)
                raise UsageError(f"{role}={node['name']} {what}, and {group}={name} {has}\n{hint}")
    if content["env"]["about"].get("own_data") and content["env"]["id"] != dataset.get("id"):
        id = content["env"]["id"]
        raise UsageError(f"env={env} is known from its data alone\nchoose dataset=minari/{id}, or another env=")
    envs = dataset["about"].get("envs", [env])
    if env not in envs:
        hint = these_fit(choices, "dataset", [dataset["about"].get("is")], env)
        data = word_for(dataset, choices)
        raise UsageError(f"dataset={data} exists for env={', '.join(envs)}, not for env={env}\n{hint}")


def word_for(dataset: dict[str, Any], choices: Choices) -> str:
    """What a data set is chosen by; looks into every choice's file, so only a message asks."""
    options = (name for name in choices.options("dataset") if choices.about("dataset", name) == dataset["about"])
    return next(options, dataset["level"])


def check_processes(content: dict[str, Any]) -> None:
    """Only an algorithm that shares its work has several processes."""
    if (count := content["hardware"]["processes"]) > 1 and not content["algo"]["about"].get("shares_work"):
        hint = "hardware=local works on several runs at a time, seeds= trains several seeds in one"
        raise UsageError(f"algo={content['algo']['name']} does not share its work: hardware.processes={count}\n{hint}")


def check_seeds(content: dict[str, Any]) -> None:
    """Every seed of the run is one, the last of several too."""
    try:
        signatures.coerce(content["seed"] + content["seeds"] - 1, Seed)
    except MismatchError as wrong:
        raise UsageError(
            f"seed={content['seed']} seeds={content['seeds']}: the last seed is {wrong.value}, "
            f"expected {signatures.describe(wrong.kind)}"
        ) from wrong


def these_fit(choices: Choices, group: str, kinds: Sequence[str], env: str) -> str:
    """The options of a group that are of one of the kinds and, for datasets, fit the environment."""
    abouts = {name: choices.about(group, name) for name in choices.options(group)}
    names = [name for name, about in abouts.items() if about.get("is") in kinds and env in about.get("envs", [env])]
    words = [
        f"{group}={name}" + (":PATH" if group == "dataset" and asks(group, name, "path") else "") for name in names
    ]
    return f"these fit: {', '.join(words)}" if words else f"no {group} fits"


def unknown(key: str, known: Sequence[str], otherwise: str = "`rlbench list` shows what there is") -> UsageError:
    near = closest(key, known)
    return UsageError(f"no key {key!r}\n{did_you_mean(near) if near else otherwise}")


def did_you_mean(words: Sequence[str]) -> str:
    return f"did you mean {' or '.join(words)}?"


def explained(wrong: MismatchError, cfg: DictConfig, where: str) -> UsageError:
    """A mismatch in a user's words: what, where, and what to do instead."""
    key, prefix = ".".join(wrong.path), f"{where}: " if where else ""
    if wrong.kind is None:
        near = closest(key, [known for known, _ in keys(cfg)])
        return UsageError(f"{prefix}no key {key!r}" + (f"\n{did_you_mean(near)}" if near else ""))
    words = signatures.describe(wrong.kind)
    if key == "dataset.path" and wrong.value == "???":
        return UsageError(f"dataset={cfg.dataset.level} needs the file: dataset={cfg.dataset.level}:PATH")
    if wrong.value == "???":
        return UsageError(f"{prefix}{key} is missing: give {key}=VALUE ({words})")
    value = json.dumps(wrong.value) if wrong.value is None or isinstance(wrong.value, bool) else wrong.value
    literals = [str(each) for each in signatures.literals(wrong.kind)]
    near = closest(str(value), literals)
    hint = f"\n{did_you_mean([f'{key}={each}' for each in near])}" if near else ""
    if isinstance(wrong.kind, Signature):
        return UsageError(f"{prefix}{key} holds keys: {', '.join(flattened(wrong.kind, wrong.path))}")
    return UsageError(f"{prefix}{key}={value}: expected {words}{hint}")


def setter(wrong: MismatchError, chosen: dict[str, str], choices: Choices) -> str:
    """The chosen file that sets a key, as far as its text tells."""
    pattern = re.compile(rf"(^|[\s{{,]){re.escape(wrong.path[-1])}\s*:", re.MULTILINE)
    files = [choices.files[group][name] for group, name in chosen.items()]
    own = [path for path in files if path.parent.name == wrong.path[0]]
    return str(next((path for path in [*own, *reversed(files)] if pattern.search(path.read_text())), ""))


# -- naming and building -----------------------------------------------------------------------------------------------


def run_id(cfg: DictConfig | dict[str, Any]) -> str:
    """The name of a run: a hash over all that determines its result, and nothing else."""
    content = plain(cfg)
    seeds = {"seed": content["seed"], "seeds": content["seeds"]}
    return digest({**determinants(content, identity(content)), **seeds})


def experiment_id(cfg: DictConfig | dict[str, Any]) -> str:
    """What the runs of one experiment share, whichever their seeds: the same hash without these."""
    content = plain(cfg)
    return digest(determinants(content, identity(content)))


def identity(cfg: DictConfig | dict[str, Any]) -> dict[str, Any] | None:
    """What determines the content of the run's dataset; None where it has none."""
    content = plain(cfg)
    if "_target_" not in content["dataset"]:
        return None
    return json.loads(identity_of(json.dumps(content["dataset"]), json.dumps(content["env"])))


@cache
def identity_of(dataset: str, env: str) -> str:
    """The identity of a dataset, all as JSON: the runs of a sweep ask for the same ones again and again."""
    return json.dumps(instantiate(json.loads(dataset), env=instantiate(json.loads(env))).identity())


def fetch(cfg: DictConfig, progress: Callable[[str, int, int], None]) -> None:
    """Download the run's dataset, if it is one that is downloaded and not here.

    Raises:
        RunError: it cannot be fetched, or its environment is not installed.
    """
    if "_target_" in cfg.dataset:
        env = instantiate(cfg.env)
        env.require()
        dataset = instantiate(cfg.dataset, env=env)
        if isinstance(dataset, sources.Downloaded):
            dataset.fetch(progress)


def run_directory(cfg: DictConfig | dict[str, Any]) -> Path:
    """`<results>/runs/<algorithm>[-<base>]/<environment>-<dataset>/<id>`."""
    content = plain(cfg)
    base = content["algo"].get("base")
    algo = content["algo"]["name"] + (f"-{base['name']}" if is_node(base) else "")
    problem = f"{content['env']['name']}-{content['dataset']['level']}"
    return paths.results_root() / "runs" / algo / problem / run_id(content)


def instantiate(node: Any, **runtime: Any) -> Any:
    """An object of the class that a node of the config names.

    Nodes within the node are not built: the constructor gets each as a function of the task that builds it.

    Args:
        node: a part of the config with a `_target_`, or such a dict.
        runtime: what the config does not hold: task, environment.

    Raises:
        UsageError: the class is neither rlbench's nor declared as a plug-in, or cannot be imported.
    """
    content = cast(dict[str, Any], OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node)
    node_signature(content, (content.get("name", "config"),))
    module, _, name = content["_target_"].rpartition(".")
    try:
        target = getattr(importlib.import_module(module), name)
    except ImportError as error:
        raise UsageError(f"{content['_target_']} cannot be imported: {error}") from error
    taken = inspect.signature(target).parameters
    left_out = RESERVED | (LABELS - taken.keys())
    values = {key: part(value) if is_node(value) else value for key, value in content.items() if key not in left_out}
    return target(**runtime, **values)


def part(node: dict[str, Any]) -> Callable[[Any], Any]:
    """What a constructor gets for a node within its own: a function of the task that builds the part."""
    return lambda task: instantiate(node, task=task)


def declare(plugins: dict[str, Path], dirs: Sequence[Path]) -> dict[str, str]:
    """Let `_target_` name the declared modules; returns the folder that each is imported from."""
    places: dict[str, str] = {}
    if not plugins:
        return places
    for folder in [*(place for each in dirs for place in (each, each.parent)), Path.cwd()]:
        extend_path(folder)
    for name, folder in plugins.items():
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            tried = f"{folder}, {folder.parent} or the working directory"
            raise UsageError(f"{folder / PLUGINS}: no module {name} in {tried}")
        source = Path(spec.origin)
        places[name] = str(source.parents[1] if spec.submodule_search_locations else source.parent)
    declared.update(places)
    return places


def extend_path(folder: Path) -> None:
    """Modules in the folder can be imported, but hide none that there are."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
