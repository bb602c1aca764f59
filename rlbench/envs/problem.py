"""What `env=` names: the problem that an algorithm is to solve, of whatever kind."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from rlbench.metrics import Ways

if TYPE_CHECKING:
    from rlbench.task import Task


class Problem:
    """What a run asks of a problem; a kind of its own overrides what it has more to say about.

    A subclass is built from its YAML keys. Algorithms name the kinds that they solve (`needs: {env: KIND}`), the file
    of a problem says of which kind it is (`about: {is: KIND}`).
    """

    name: str
    """The word after `env=`."""
    metric_directions: ClassVar[Ways] = {}
    """Which values of its metrics are better, where their names say the wrong thing (see `rlbench.metrics`)."""

    judged_by: ClassVar[frozenset[str]] = frozenset()
    """Those of its keys that say how policies are judged, and nothing of what they learn from: `rlbench eval` may give
    these other values."""

    def require(self) -> None:
        """Raise `RunError` if a package that it needs is not installed; the message says how to install it."""

    def simulator(self) -> str:
        """What scores depend on beside the settings: the simulator with its version. Printed beside every score."""
        return self.name

    def doubts(self, card: dict[str, Any]) -> list[str]:
        """A sentence for each thing that makes scores of algorithms that learned from these data doubtful."""
        return []

    def informed_by(self, card: dict[str, Any]) -> Problem:
        """The same problem, with what these data tell of it: the scale of scores, or what only data know.

        Raises:
            UsageError: the data are of another problem.
        """
        return self

    def task(self, task: Task) -> Task:
        """The task with what algorithms for this kind of problem expect of one."""
        return task


def common(task: Task) -> dict[str, Any]:
    """The fields of a plain task, for the constructor of a richer one."""
    from rlbench.task import Task

    return {field.name: getattr(task, field.name) for field in fields(Task)}
