from importlib.metadata import version

import pytest

from rlbench.data.provenance import doubts
from rlbench.envs.control import Control

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


@pytest.mark.parametrize(
    ("env", "simulator"),
    [
        (HOPPER, f"Hopper-v4, MuJoCo {version('mujoco')}"),
        (Control("disc2d", "rlbench.envs.disc2d:Disc2D-v0"), "Disc2D-v0"),
    ],
)
def test_scores_are_of_a_simulator(env: Control, simulator: str) -> None:
    assert env.simulator() == simulator
