"""Data sets that others publish: what their names say, before anything is read or imported.

`dataset=SOURCE/ID` chooses the file `conf/dataset/SOURCE.yaml` and sets its `id`.
"""

import re
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from rlbench.data.store import Progress

VERSION = re.compile(r"-v\d+$")
SINGLE = re.compile(r"-[a-z]+-singletask(-task\d)?(-v\d+)$")
TASK = r"-singletask\1\2"
"""In a name of OGBench's: how the data were collected, one task in place of all goals, and what stays for its env."""
SIZE = re.compile(r"\d+px")
MAZES = ("antmaze", "maze2d", "minigrid")
"""D4RL's families with an environment for each maze."""


def words(id: str) -> list[str]:
    """`hopper-medium-replay-v2` and `mujoco/hopper/medium-replay-v2` as [hopper, medium, replay]."""
    plain = VERSION.sub("", id)
    parts = plain.split("/")
    if len(parts) > 1:  # Minari's: namespace, task, what
        parts = parts[1:] if len(parts) > 2 else parts
    return [word for part in parts for word in part.split("-")]


def environment(source: str, id: str) -> str:
    """The `env=` in which policies learned from a data set are judged."""
    if source == "ogbench":
        return f"ogbench/{SINGLE.sub(TASK, id)}"
    if source == "minari":  # it tells itself
        return f"minari/{id}"
    return counterpart(id)


def counterpart(id: str) -> str:
    """rlbench's own name for the task of a data set of D4RL's or Minari's: what tables of settings know it by."""
    task, *rest = words(id)
    if task in MAZES:
        maze = next((word for word in rest if word != "eval"), "")
        return f"{task}_{maze}" + ("_dense" if "dense" in rest else "")
    if task == "kitchen" and "mixed" in rest:  # it has other tasks
        return "kitchen_mixed"
    return task


def task(source: str, id: str) -> str:
    """What stands for an environment in the folders of its runs: `ogbench_cube-single`, `minari_pointmaze`."""
    if source == "minari":
        return f"minari_{words(id)[0]}"
    return f"{source}_{VERSION.sub('', id).replace('-singletask', '')}"


def level(source: str, id: str) -> str:
    """What stands for a data set in the folders of its runs: `d4rl-medium-replay-v2`, `vd4rl-medium_replay`."""
    if source == "vd4rl":  # of a folder's path, what stands before 84px
        return "-".join([source, *[part for part in id.split("/") if part and not SIZE.fullmatch(part)][-1:]])
    version = VERSION.search(id)
    rest = words(id)[1:] or words(id)
    return "-".join([source, *rest]) + (version.group() if version else "")


def quality(level: str) -> str:
    """The key of tuned settings for a level: `medium_replay` for `d4rl-medium-replay-v2` and for itself."""
    source, _, rest = level.partition("-")
    return (
        VERSION.sub("", rest).replace("-", "_") if rest and source in ("d4rl", "minari", "ogbench", "vd4rl") else level
    )


def substitute(source: str, id: str) -> str:
    """The embedded data that come nearest to a data set, in words that go on from where its file is to be put."""
    from rlbench.data import behaviour

    task, of_it = words(id)[0], quality(level(source, id))
    if task not in behaviour.environments():
        return ", or take rlbench's own data of another task, which need no network: env=hopper dataset=medium"
    nearest = of_it if of_it in behaviour.LEVELS else "mixed" if of_it == "full_replay" else "medium"
    return f", or take rlbench's own data, which need no network: env={task} dataset={nearest}"


@runtime_checkable
class Downloaded(Protocol):
    """A dataset whose file may have to be downloaded."""

    def fetch(self, progress: "Progress | None" = None) -> object:
        """Download what `load` needs and this machine lacks.

        Raises:
            RunError: it cannot be fetched.
        """


def check(source: str, id: str) -> None:
    """Refuse a name that cannot be right, with the nearest that is.

    Raises:
        UsageError: the source has a list of its data sets, and this one is not on it; or that is no name of its kind.
    """
    if source == "d4rl":
        from rlbench.data import d4rl

        d4rl.entry(id)
    if source == "minari":
        from rlbench.data import minari

        minari.check_id(id)
    if source == "ogbench":
        from rlbench.data import ogbench

        ogbench.check_id(id)
