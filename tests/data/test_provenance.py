from importlib.metadata import version

import pytest

from rlbench.data.provenance import doubts, refuse_other_task, told
from rlbench.envs.control import Control
from rlbench.errors import UsageError

HOPPER = Control("hopper", "Hopper-v4")


@pytest.mark.parametrize(("then", "doubted"), [("3.2.3", False), ("3.5.0", True), ("4.0", True), ("?", False)])
def test_simulators_on_both_sides_of_the_new_dynamics_are_named(then: str, doubted: bool) -> None:
    assert version("mujoco") < "3.5", "this test is written for the installed MuJoCo: turn it round"
    found = doubts({"id": "x", "env": "Hopper-v4", "versions": {"mujoco": then}}, HOPPER)
    assert [f"recorded with MuJoCo {then}" in text for text in found] == [True] * doubted


def test_another_environment_is_named() -> None:
    text = "x was recorded in Hopper-v5, policies are judged in Hopper-v4 (env=hopper)"
    assert doubts({"id": "x", "env": "Hopper-v5"}, HOPPER) == [text]


def test_the_module_before_an_id_makes_no_difference() -> None:
    door = Control("door", "gymnasium_robotics:AdroitHandDoor-v1")
    assert doubts({"id": "x", "env": "AdroitHandDoor-v1", "versions": {}}, door) == []


def test_nothing_known_raises_no_doubt() -> None:
    assert doubts({"id": "x"}, HOPPER) == []


def test_two_tasks_of_one_width_are_told_apart() -> None:
    cheetah, mine = Control("halfcheetah", "HalfCheetah-v4"), Control("mine", "Heavy-v0")
    with pytest.raises(UsageError, match=r"x: it was recorded in Walker2d-v5.* env=halfcheetah .*: env=walker2d$"):
        refuse_other_task("x", {"env": "Walker2d-v5"}, cheetah)
    with pytest.raises(UsageError, match=r": env=antmaze_large or env=antmaze_medium or env=antmaze_umaze$"):
        refuse_other_task("x", {"env": "rlbench.envs.mazes:AntMaze-v0"}, cheetah)
    for recorded, env in (("HalfCheetah-v5", cheetah), (None, cheetah), ("Other-v0", cheetah), ("Walker2d-v4", mine)):
        refuse_other_task("x", {"env": recorded}, env)


def test_two_tasks_of_one_id_are_told_apart() -> None:
    here = Control("maze2d_large", "rlbench.envs.mazes:Maze2D-v0", kwargs={"layout": "large", "max_episode_steps": 800})
    said = r"x: it was recorded in Maze2D-v0 with layout=umaze, which is not env=maze2d_large \(layout=large\)"
    with pytest.raises(UsageError, match=said):
        refuse_other_task("x", {"env": "Maze2D-v0", "which": {"layout": "umaze"}}, here)
    for which in ({"which": {"layout": "large"}}, {"which": {"reward": "sparse"}}, {}):
        refuse_other_task("x", {"env": "Maze2D-v0", **which}, here)


def test_of_a_card_out_of_a_file_only_short_texts_and_numbers_are_taken() -> None:
    card = {
        "about": "two\nlines \x1b[31m" + "x" * 1000,
        "licence": ["MIT"],
        "env": "Hopper-v4",
        "versions": {"mujoco": "3.4.0", "numpy": 2},
        "reference": {"min": 5, "max": 1},
        "source": "elsewhere",
        "fingerprint": "0" * 64,
    }
    facts = told(card)
    assert facts.keys() == {"about", "env", "versions"}
    assert facts["about"].startswith("two lines [31mx")
    assert len(facts["about"]) == 300
    assert facts["versions"] == {"mujoco": "3.4.0"}
    assert told({"reference": {"min": 1, "max": 5.0}}) == {"reference": {"min": 1.0, "max": 5.0}}
    assert told({"which": {"layout": "open", "other": 1}}) == {"which": {"layout": "open"}}
    assert told(["a list"]) == {}


@pytest.mark.parametrize(
    ("env", "simulator"),
    [
        (HOPPER, f"Hopper-v4, MuJoCo {version('mujoco')}"),
        (Control("disc2d", "rlbench.envs.disc2d:Disc2D-v0"), "Disc2D-v0"),
    ],
)
def test_scores_are_of_a_simulator(env: Control, simulator: str) -> None:
    assert env.simulator() == simulator
