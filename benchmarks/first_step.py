"""`rlbench`, which says how many processor seconds it took to the first step of its optimiser.

python -m benchmarks.first_step OVERRIDE...
"""

from __future__ import annotations

import sys
import time
from typing import Any


class FirstStep:
    """Tells when the optimiser makes its first step; among those that find modules, to be there when its own comes."""

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> None:
        if name != "rlbench.algos.actor_critic":  # which imports the optimiser too
            return
        from rlbench.nets.optim import Adam

        step = Adam.step

        def first(self: Adam, *arguments: Any) -> None:
            step(self, *arguments)
            print("first step", time.process_time(), file=sys.stderr)
            Adam.step = step  # type: ignore[method-assign]

        Adam.step = first  # type: ignore[assignment,method-assign]


if __name__ == "__main__":
    sys.meta_path.insert(0, FirstStep())
    from rlbench.cli import main

    sys.exit(main())
