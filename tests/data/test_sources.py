"""What the names of published data sets say."""

import pytest

from rlbench.data import sources


@pytest.mark.parametrize(
    ("source", "id", "environment", "level", "quality"),
    [
        ("d4rl", "hopper-medium-replay-v2", "hopper", "d4rl-medium-replay-v2", "medium_replay"),
        ("d4rl", "antmaze-large-diverse-v2", "antmaze_large", "d4rl-large-diverse-v2", "large_diverse"),
        ("d4rl", "maze2d-eval-umaze-dense-v1", "maze2d_umaze_dense", "d4rl-eval-umaze-dense-v1", "eval_umaze_dense"),
        ("d4rl", "door-human-v0", "door", "d4rl-human-v0", "human"),
        ("d4rl", "kitchen-mixed-v0", "kitchen_mixed", "d4rl-mixed-v0", "mixed"),
        ("d4rl", "kitchen-partial-v0", "kitchen", "d4rl-partial-v0", "partial"),
        ("d4rl", "minigrid-fourrooms-random-v0", "minigrid_fourrooms", "d4rl-fourrooms-random-v0", "fourrooms_random"),
        ("minari", "mujoco/hopper/medium-v0", "minari/mujoco/hopper/medium-v0", "minari-medium-v0", "medium"),
        (
            "minari",
            "D4RL/pointmaze/umaze-dense-v2",
            "minari/D4RL/pointmaze/umaze-dense-v2",
            "minari-umaze-dense-v2",
            "umaze_dense",
        ),
        (
            "ogbench",
            "cube-single-play-singletask-v0",
            "ogbench/cube-single-singletask-v0",
            "ogbench-single-play-singletask-v0",
            "single_play_singletask",
        ),
    ],
)
def test_names(source: str, id: str, environment: str, level: str, quality: str) -> None:
    assert sources.environment(source, id) == environment
    assert sources.level(source, id) == level
    assert sources.quality(level) == quality


@pytest.mark.parametrize(
    ("path", "level", "quality"),
    [
        ("/data/main/walker_walk/medium_replay/84px", "vd4rl-medium_replay", "medium_replay"),
        ("/data/main/humanoid_walk/expert/64px/", "vd4rl-expert", "expert"),
        ("/data/my-own", "vd4rl-my-own", "my_own"),
    ],
)
def test_a_folder_of_pictures_is_called_by_what_is_in_it(path: str, level: str, quality: str) -> None:
    assert sources.level("vd4rl", path) == level
    assert sources.quality(level) == quality


def test_an_environment_stands_in_the_folders_of_its_runs() -> None:
    assert sources.task("ogbench", "cube-single-singletask-task2-v0") == "ogbench_cube-single-task2"
    assert sources.task("minari", "D4RL/pointmaze/umaze-dense-v2") == "minari_pointmaze"


def test_the_embedded_levels_are_their_own_qualities() -> None:
    for level in ("medium", "medium_replay", "file", "disc", "my-own"):
        assert sources.quality(level) == level


@pytest.mark.parametrize(
    ("source", "id", "words"),
    [
        ("d4rl", "hopper-medium-replay-v2", "data, which need no network: env=hopper dataset=medium_replay"),
        ("d4rl", "walker2d-full-replay-v2", "data, which need no network: env=walker2d dataset=mixed"),
        ("d4rl", "antmaze-umaze-v2", "of another task, which need no network: env=hopper dataset=medium"),
        ("minari", "mujoco/halfcheetah/expert-v3", "data, which need no network: env=halfcheetah dataset=expert"),
        ("minari", "mujoco/hopper/simple-v0", "data, which need no network: env=hopper dataset=medium"),
        ("minari", "D4RL/door/human-v2", "of another task, which need no network: env=hopper dataset=medium"),
        (
            "ogbench",
            "cube-single-play-singletask-v0",
            "of another task, which need no network: env=hopper dataset=medium",
        ),
    ],
)
def test_the_substitute_is_the_nearest_embedded_data(source: str, id: str, words: str) -> None:
    assert sources.substitute(source, id).endswith(words)
