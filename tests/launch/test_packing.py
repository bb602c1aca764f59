"""Which runs are joined, for how many workers, and how packs are taken apart again."""

import pytest

from rlbench.launch.packing import apart, mended, moved, packed, plan
from rlbench.launch.sweep import Planned
from tests.launch.cases import SHORT, cells
from tests.statuses import say

pytestmark = pytest.mark.usefixtures("results")


def sizes(runs: list[Planned]) -> list[int]:
    return [len(run.seeds) for run in runs]


def pretend(run: Planned, state: str, **status: object) -> None:
    """A directory that says what became of the run."""
    run.directory.mkdir(parents=True)
    say(run.directory, state, seeds=len(run.seeds), **status)


@pytest.mark.parametrize(
    ("words", "most", "workers", "expected"),
    [
        (["seed=range(0,8)"], 8, 1, [8]),
        (["seed=range(0,8)"], 8, 2, [4, 4]),
        (["seed=range(0,8)"], 1, 2, [1] * 8),
        (["seed=range(0,5)"], 8, 2, [2, 3]),
        (["seed=range(0,20)"], 8, 1, [6, 7, 7]),  # as equal as can be
        (["seed=range(0,64)"], 8, 2, [8] * 8),
        (["seed=0,1,5,6,7"], 8, 1, [2, 3]),  # neighbours only
        (["seed=3"], 8, 2, [1]),
        # Two kinds of runs may differ in length: each of them occupies both workers.
        (["algo.learning_rate=1e-3,2e-3", "seed=range(0,8)"], 8, 2, [4, 4, 4, 4]),
        # Ten kinds are enough for both workers as they are.
        (["algo.learning_rate=1e-3,2e-3,3e-3,4e-3,5e-3", "steps=10,20", "seed=range(0,4)"], 8, 2, [4] * 10),
        (["algo.learning_rate=1e-3,2e-3,3e-3", "seed=range(0,4)"], 8, 4, [1] * 12),
        (["seed=0,2,4", "seeds=2"], 8, 1, [2, 2, 2]),  # asked for like that
    ],
)
def test_packs_share_the_seeds_out_to_the_workers(
    words: list[str], most: int, workers: int, expected: list[int]
) -> None:
    asked = cells(*SHORT, *words)
    found = packed(asked, most, workers)
    assert sizes(found) == expected
    assert sorted(each.path for run in found for each in apart(run)) == sorted(each.path for each in asked)
    assert all(run.packed == (len(run.seeds) > 1) for run in found if "seeds=2" not in words)


def test_what_is_finished_is_found_alone_and_in_company() -> None:
    asked = cells(*SHORT, "seed=range(0,8)")
    pack, alone = packed(asked[1:4], 8, 1)[0], asked[6]
    pretend(pack, "finished")
    pretend(alone, "finished")
    pretend(asked[7], "interrupted")
    found = plan(asked, 8, 1)
    assert [(run.seeds, run.finished()) for run in found] == [
        (range(1, 4), True),
        (range(6, 7), True),
        (range(1), False),
        (range(4, 6), False),
        (range(7, 8), False),
    ]


def test_a_sweep_that_moves_is_packed_anew_but_for_what_has_begun() -> None:
    runs = packed(cells(*SHORT, "seed=range(0,16)"), 4, 1)
    assert sizes(runs) == [4, 4, 4, 4]
    pretend(runs[1], "interrupted")
    found = moved(runs, 8, 2)
    assert [run.seeds for run in found][:1] == [range(4, 8)]
    assert sizes(found[1:]) == [2] * 6  # seeds 0 to 3 have no neighbours left: 4 and 8 would be no fair shares
    assert sizes(moved(runs, 1, 2)) == [4] + [1] * 12


def test_a_seed_that_diverged_leaves_its_pack() -> None:
    (pack,) = packed(cells(*SHORT, "seed=range(0,8)"), 8, 1)
    pretend(pack, "failed", diverged=[3])
    found = mended([pack], 8, 1)
    assert [run.seeds for run in found] == [range(3, 4), range(3), range(4, 8)]
    assert mended(found, 8, 1) == found


def test_what_was_asked_for_together_stays_together() -> None:
    (asked,) = cells(*SHORT, "seeds=4")
    pretend(asked, "failed", diverged=[3])
    assert mended([asked], 8, 1) == [asked]


def test_a_pack_is_the_run_that_seeds_asks_for() -> None:
    (pack,) = packed(cells(*SHORT, "seed=2,3"), 8, 1)
    (asked,) = cells(*SHORT, "seed=2", "seeds=2")
    assert (pack.path, pack.config) == (asked.path, asked.config)
