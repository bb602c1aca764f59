"""Minari's folders: read as Minari means them, found where it keeps them, and fetched, or not, in one line."""

import json
import shutil
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from rlbench import config
from rlbench.build import build
from rlbench.data import minari
from rlbench.data.file import FileDataset
from rlbench.data.minari import Minari
from rlbench.data.provenance import judge
from rlbench.data.transitions import Transitions
from rlbench.envs.control import Control
from rlbench.errors import RunError, UsageError
from tests.data.helpers import control

ID = "mujoco/hopper/medium-v0"
SPEC = {"id": "Hopper-v5", "entry_point": "evil:Env", "additional_wrappers": [], "kwargs": {}}
SAFE = {**SPEC, "entry_point": "gymnasium.envs.mujoco.hopper_v5:HopperEnv"}


@pytest.fixture(autouse=True)
def _nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody answers there
    monkeypatch.delenv("MINARI_REMOTE", raising=False)


def load(path: Path, env: str = "hopper", clip: bool = False) -> Transitions:
    return FileDataset(control(env), str(path), "keep", "stored", "keep", clip).load()


def space(width: int) -> dict[str, Any]:
    limit = [float("inf")] * width
    return {"type": "Box", "dtype": "float64", "shape": [width], "low": [-each for each in limit], "high": limit}


def episodes() -> list[dict[str, Any]]:
    """Two steps that terminate, three that time out, two that end without a flag, one that the end cuts."""
    rng = np.random.default_rng(0)
    made: list[dict[str, Any]] = []
    for steps in (2, 3, 2, 1):
        ends = np.arange(steps) == steps - 1
        made.append(
            {
                "observations": rng.normal(size=(steps + 1, 11)),
                "actions": rng.uniform(-1, 1, size=(steps, 3)).astype(np.float32),
                "rewards": rng.normal(size=steps),
                "terminations": ends & (len(made) == 0),
                "truncations": ends & (len(made) == 1),
            }
        )
    return made


def metadata(**changes: Any) -> dict[str, Any]:
    known = {
        "total_episodes": 4,
        "total_steps": 8,
        "data_format": "hdf5",
        "observation_space": json.dumps(space(11)),
        "action_space": json.dumps(space(3)),
        "env_spec": json.dumps(SPEC),
        "dataset_id": ID,
        "author": ["A. Person", "B. Person"],
        "algorithm_name": "SAC",
        "code_permalink": "https://example.org/code",
        "description": "Written by hand,\nfor a test.\x1b[31m",
        "requirements": ["mujoco==3.2.3", "gymnasium>=1.0"],
        "minari_version": "0.5.4",
        "ref_min_score": 10.0,
        "ref_max_score": 110.0,
    }
    return {name: value for name, value in {**known, **changes}.items() if value is not None}


def save(folder: Path, played: list[dict[str, Any]] | None = None, **changes: Any) -> Path:
    """A Minari folder, written with h5py alone."""
    data = folder / "data"
    data.mkdir(parents=True)
    (data / "metadata.json").write_text(json.dumps(metadata(**changes)))
    with h5py.File(data / "main_data.hdf5", "w", track_order=True) as file:
        for i, episode in enumerate(episodes() if played is None else played):
            group = file.create_group(f"episode_{i}")
            group.attrs.update({"id": i, "seed": 123 + i, "total_steps": len(episode["actions"])})
            for name, array in episode.items():
                if array is not None:
                    group.create_dataset(name, data=array)
            group.create_group("infos")
    return folder


def test_every_step_has_its_true_next_observation(tmp_path: Path) -> None:
    played = episodes()
    data = load(save(tmp_path / "x-v0"))
    np.testing.assert_array_equal(
        data.observation, np.float32(np.concatenate([e["observations"][:-1] for e in played]))
    )
    following = np.concatenate([e["observations"][1:] for e in played])
    np.testing.assert_array_equal(data.next_observation, np.float32(following))
    np.testing.assert_array_equal(data.action, np.concatenate([e["actions"] for e in played]))
    np.testing.assert_array_equal(data.reward, np.float32(np.concatenate([e["rewards"] for e in played])))
    np.testing.assert_array_equal(data.terminated, [0, 1, 0, 0, 0, 0, 0, 0])
    np.testing.assert_array_equal(data.truncated, [0, 0, 0, 0, 1, 0, 1, 0])  # the third was cut where the fourth began
    np.testing.assert_array_equal(data.episode_starts, [0, 2, 5, 7])
    assert data.finished.tolist() == [True, True, True, False]


def test_the_card_tells_what_the_metadata_tell(tmp_path: Path) -> None:
    card = load(save(tmp_path / "x-v0")).card
    assert card["about"].startswith("Written by hand, for a test. [31m; 1 episodes ended without a flag")
    assert (card["author"], card["algorithm"], card["env"]) == ("A. Person, B. Person", "SAC", "Hopper-v5")
    assert card["versions"] == {"mujoco": "3.2.3", "minari": "0.5.4"}
    assert card["seeds"] == {"first": 123, "last": 126, "episodes": 4}
    assert card["reference"] == {"min": 10.0, "max": 110.0}


@pytest.mark.parametrize(
    ("low", "high"), [(None, 1.0), (1.0, 1.0), (float("nan"), 1.0), ("0", "1"), (float("-inf"), 1.0)]
)
def test_without_sound_references_the_environments_count(low: Any, high: Any, tmp_path: Path) -> None:
    card = load(save(tmp_path / "x-v0", ref_min_score=low, ref_max_score=high)).card
    assert card["reference"] == {"min": -20.272305, "max": 3234.3}


def test_scores_are_on_the_datas_scale(tmp_path: Path) -> None:
    save(tmp_path / "minari" / ID, played=[{**e, "rewards": e["rewards"] * 0} for e in episodes()])
    words = ["algo=bc", "env=hopper", "dataset=minari", f"dataset.id={ID}", "steps=2", "eval.episodes=1"]
    algorithm, _ = build(config.compose([*words, "algo.batch_size=4"]))
    algorithm.train(2)
    result = algorithm.evaluate()
    np.testing.assert_allclose(result["eval/normalized_score"], result["eval/return"] - 10, rtol=1e-5)


# -- where policies are judged -----------------------------------------------------------------------------------------


def judged(words: str, **changes: Any) -> tuple[Control, Transitions]:
    """The environment and the data of `dataset=minari/ID`."""
    save(minari.root() / ID, **changes)
    cfg = config.compose(["algo=bc", f"dataset=minari/{ID}", *words.split()])
    env = config.instantiate(cfg.env)
    data = config.instantiate(cfg.dataset, env=env).load()
    return judge(env, data.card), data


def test_policies_are_judged_where_the_data_set_says() -> None:
    spec = {"id": "Hopper-v5", "entry_point": "gymnasium.envs.mujoco.hopper_v5:HopperEnv", "max_episode_steps": 1000000}
    other = {
        **spec,
        "max_episode_steps": 77,
        "kwargs": {"frame_skip": 2, "render_mode": "human", "healthy_reward": 0.5},
    }
    env, data = judged("", env_spec=json.dumps(spec), eval_env_spec=json.dumps(other), ref_min_score=None)
    assert (env.id, env.kwargs) == ("Hopper-v5", {"frame_skip": 2, "healthy_reward": 0.5, "max_episode_steps": 77})
    assert env.time_limit() == 77
    assert (env.name, env.termination) == ("minari_hopper", "hopper")
    assert (env.reference_min, env.reference_max) == (-20.272305, 3234.3)
    assert len(data) == 8
    assert data.card["env"] == "Hopper-v5"


@pytest.mark.parametrize("kwargs", [None, ["a", "list"]])
def test_settings_that_are_none_leave_the_packages_own(kwargs: Any) -> None:
    env, _ = judged("", env_spec=json.dumps({**SAFE, "kwargs": kwargs}))
    assert env.kwargs == {}


def test_a_recordings_endless_episode_is_none_of_the_evaluation() -> None:
    env, _ = judged("", env_spec=json.dumps({**SAFE, "max_episode_steps": 1000000}))
    assert env.time_limit() == 1000
    assert (env.reference_min, env.reference_max) == (10.0, 110.0)


@pytest.mark.parametrize("words", ["algo=td3", "algo=bc dataset=medium", "algo=bc dataset=minari/other-v0"])
def test_without_its_data_the_environment_is_not_known(words: str) -> None:
    with pytest.raises(UsageError, match=f"is known from its data alone\nchoose dataset=minari/{ID}"):
        config.compose([*words.split(), f"env=minari/{ID}"])


def test_another_environment_can_be_chosen() -> None:
    env, _ = judged("env=hopper", env_spec=json.dumps(SPEC))
    assert (env.id, env.reference_max) == ("Hopper-v4", 110.0)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (SPEC, "its environment Hopper-v5 is none of gymnasium, gymnasium_robotics, minigrid, from which"),
        ({**SAFE, "id": "os:system"}, "does not tell an environment"),
        ({**SAFE, "id": 3}, "does not tell an environment"),
        (None, "does not tell an environment"),
        ({**SAFE, "kwargs": {"xml_file": "/etc/passwd"}}, "a setting that is not taken from a file: xml_file"),
        ({**SAFE, "kwargs": {"deep": [{"a": ["http://x"]}]}}, "a setting that is not taken from a file: deep"),
    ],
)
def test_an_environment_is_looked_up_never_imported(spec: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        judged("", env_spec=json.dumps(spec))
    assert "\n" not in str(error.value)


def test_a_maze_a_kitchen_and_rooms_are_learned_from_and_judged() -> None:
    """As the package itself writes data sets of gymnasium-robotics and minigrid."""
    robotics, grids = pytest.importorskip("gymnasium_robotics"), pytest.importorskip("minigrid")
    package = pytest.importorskip("minari")
    import gymnasium

    gymnasium.register_envs(robotics)
    gymnasium.register_envs(grids)
    maze = [[1, 1, 1, 1, 1], [1, "r", 0, "g", 1], [1, 1, 1, 1, 1]]
    rooms = gymnasium.make("MiniGrid-FourRooms-v0")
    shown: Any = rooms.observation_space
    sets: dict[str, tuple[str, dict[str, Any], Any, tuple[int, int]]] = {
        "D4RL/pointmaze/umaze-v2": ("PointMaze_UMaze-v3", {"maze_map": maze, "continuing_task": False}, None, (8, 2)),
        "D4RL/kitchen/partial-v2": (
            "FrankaKitchen-v1",
            {"tasks_to_complete": ["kettle", "light switch"]},
            None,
            (77, 9),
        ),
        "D4RL/minigrid/fourrooms-v0": (
            "MiniGrid-FourRooms-v0",
            {"goal_pos": [12, 12]},
            gymnasium.spaces.Dict({**shown.spaces, "mission": gymnasium.spaces.Text(100)}),
            (147, 7),
        ),
    }
    for id, (env_id, kwargs, space, dims) in sets.items():
        simulator = gymnasium.make(env_id, **kwargs, max_episode_steps=9)
        package.create_dataset_from_buffers(id, [played(simulator, 9)], env=simulator, observation_space=space)
        words = ["algo=bc", f"dataset=minari/{id}", "steps=2", "eval.episodes=1", "algo.batch_size=4"]
        algorithm, task = build(config.compose(words))
        assert (task.env.id, *task.env.dims()) == (env_id, *dims)
        algorithm.train(2)
        assert algorithm.evaluate()["eval/length"] <= 9
        if env_id.startswith("MiniGrid"):
            assert "direction, mission left aside" in task.data.card["about"]
            np.testing.assert_array_equal(task.data.action.sum(axis=1), np.ones(9))


def played(simulator: Any, steps: int) -> Any:
    """An episode of random actions, as the package wants it."""
    from minari.data_collector import EpisodeBuffer

    simulator.action_space.seed(0)
    actions = [simulator.action_space.sample() for _ in range(steps)]
    observations = [simulator.reset(seed=0)[0]]
    outcomes = []
    for action in actions:
        observation, *outcome, _ = simulator.step(action)
        observations.append(observation)
        outcomes.append(outcome)
    rewards, terminations, truncations = (list(each) for each in zip(*outcomes, strict=True))
    return EpisodeBuffer(
        observations=stacked(observations),
        actions=np.stack(actions),
        rewards=[float(each) for each in rewards],
        terminations=terminations,
        truncations=truncations,
        infos={},
    )


def stacked(observations: list[Any]) -> Any:
    """One array a name, of dictionaries however deep."""
    first = observations[0]
    if isinstance(first, dict):
        return {name: stacked([each[name] for each in observations]) for name in first}
    return observations if isinstance(first, str) else np.stack(observations)


def test_a_dict_of_boxes_is_joined_as_gymnasium_flattens_it(tmp_path: Path) -> None:
    import gymnasium

    played = episodes()
    whole = [episode["observations"].copy() for episode in played]
    for episode in played:
        observations = episode.pop("observations")
        episode["observations/pose"] = observations[:, 2:11]
        episode["observations/achieved_goal"] = observations[:, :2]
    subspaces = {"pose": space(9), "achieved_goal": space(2)}
    boxes = {name: gymnasium.spaces.Box(-np.inf, np.inf, (each["shape"][0],)) for name, each in subspaces.items()}
    text = json.dumps({"type": "Dict", "subspaces": subspaces})
    data = load(save(tmp_path / "x-v0", played, observation_space=text))
    np.testing.assert_array_equal(data.observation, np.float32(np.concatenate([each[:-1] for each in whole])))
    first = {"pose": np.float32(whole[0][0, 2:]), "achieved_goal": np.float32(whole[0][0, :2])}
    np.testing.assert_array_equal(
        data.observation[0], gymnasium.spaces.flatten(gymnasium.spaces.Dict({**boxes}), first)
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"action_space": {"type": "MultiDiscrete"}}, "its actions are MultiDiscrete: Box, Discrete or Dict is wanted"),
        ({"action_space": {"type": "Discrete", "n": 3}}, "episode 0: actions are not whole numbers from 0 to 2"),
        ({"action_space": {"type": "Discrete"}}, "episode 0: 'n'"),
        ({"observation_space": {"type": "Text"}}, "its observations are Text: Box or Dict is wanted"),
        ({"data_format": "arrow"}, "stored as arrow, and only hdf5 is read"),
        ({"total_episodes": 5}, "tells of 5 episodes, main_data.hdf5 has 4: copied in part"),
        ({"total_episodes": "4"}, "does not tell how many episodes"),
        ({"total_episodes": None}, "does not tell how many episodes"),
    ],
)
def test_metadata_that_cannot_be_followed_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    texts: dict[str, Any] = {
        key: json.dumps(value) if isinstance(value, dict) else value for key, value in change.items()
    }
    with pytest.raises(UsageError, match=message) as error:
        load(save(tmp_path / "x-v0", **texts))
    assert "\n" not in str(error.value)
    assert "x-v0" in str(error.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"observations": np.zeros((3, 11))},
            "episode 1 has 3 observations, 3 actions, 3 rewards.*one observation more",
        ),
        ({"rewards": np.zeros(2)}, "episode 1 has 4 observations, 3 actions, 2 rewards"),
        ({"rewards": None}, "episode 1 has no rewards"),
        ({"rewards": np.zeros((3, 2))}, "episode 1 has other widths"),
        ({"actions": ["left", "left", "right"]}, "episode 1 has no actions that are arrays of numbers"),
        ({"observations": None, "observations/a/b": np.zeros((4, 12))}, "episode 1 has other widths"),
        ({"observations": None, "observations/a": ["x"] * 4}, "episode 1 has no observations"),
        ({"observations": np.full((4, 11), np.nan)}, "observations holds a NaN"),
        ({"observations": np.zeros((4, 12))}, "episode 1 has other widths"),
        ({"actions": np.full((3, 3), 2.0)}, "bounds of env=hopper by up to 1 "),
        ({"terminations": np.full(3, 7)}, "episode 1: terminations holds values other than 0 and 1"),
    ],
)
def test_bad_episodes_end_with_one_line(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    played = episodes()
    played[1] = {**played[1], **change}
    with pytest.raises(UsageError, match=message) as error:
        load(save(tmp_path / "x-v0", played))
    assert "\n" not in str(error.value)


def test_actions_are_clipped_where_asked_for(tmp_path: Path) -> None:
    played = [{**episode, "actions": 2 * np.ones_like(episode["actions"])} for episode in episodes()]
    assert load(save(tmp_path / "x-v0", played), clip=True).action.max() == 1


def test_half_a_folder_is_said(tmp_path: Path) -> None:
    whole = save(tmp_path / "x-v0")
    with pytest.raises(UsageError, match=r"was recorded in Hopper-v5, which is not env=walker2d .*: env=hopper"):
        load(whole, "walker2d")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="is a folder, and not one of Minari's"):
        load(tmp_path / "empty")
    for name, message in (("metadata.json", "has no metadata.json"), ("main_data.hdf5", "main_data.hdf5 cannot be")):
        half = shutil.copytree(whole, tmp_path / f"no-{name}")
        (half / "data" / name).unlink()
        with pytest.raises(UsageError, match=message):
            load(half)
    text = whole / "data" / "metadata.json"
    for content in ("{", "[]", "[" * 100_000, '{"total_episodes": 4, "observation_space": 3, "requirements": 7}'):
        text.write_text(content)
        if content.endswith("}"):
            assert len(load(whole)) == 8
        else:
            with pytest.raises(UsageError, match=r"metadata\.json"):
                load(whole)


def test_damage_anywhere_is_noticed_or_harmless(tmp_path: Path) -> None:
    folder = save(tmp_path / "x-v0")
    path = folder / "data" / "main_data.hdf5"
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for trial in range(40):
        path.write_bytes(whole[: int(rng.integers(0, len(whole)))] if trial else b"not HDF5")
        with pytest.raises(UsageError, match=r"cannot be read as HDF5|copied in part|no .* arrays of numbers") as error:
            load(folder)
        refused += "\n" not in str(error.value)
    assert refused == 40


def test_other_files_are_not_read_through_links(tmp_path: Path) -> None:
    other = save(tmp_path / "other-v0")
    played = episodes()
    played[1]["rewards"] = None
    folder = save(tmp_path / "x-v0", played)
    with h5py.File(folder / "data" / "main_data.hdf5", "a") as file:
        file["episode_1/rewards"] = h5py.ExternalLink(other / "data" / "main_data.hdf5", "episode_1/rewards")
    with pytest.raises(UsageError, match="episode 1 has no rewards"):
        load(folder)


def test_what_is_local_needs_no_network(tmp_path: Path) -> None:
    save(tmp_path / "minari" / ID)
    data = Minari(control(), ID, clip_actions=False).load()
    assert (data.card["id"], data.card["level"], len(data)) == (f"minari/{ID}", "medium", 8)
    assert data.table.tobytes() == load(tmp_path / "minari" / ID).table.tobytes()


def test_altered_data_are_read_again(tmp_path: Path) -> None:
    folder = save(tmp_path / "minari" / ID)
    first = Minari(control(), ID, clip_actions=False).load()
    shutil.rmtree(folder)
    save(folder, [{**episode, "rewards": episode["rewards"] + 1} for episode in episodes()])
    np.testing.assert_allclose(Minari(control(), ID, clip_actions=False).load().reward, first.reward + 1, rtol=1e-6)


def test_identity_is_the_id_and_needs_nothing_on_disk() -> None:
    assert Minari(control(), ID, clip_actions=False).identity()["id"] == ID


@pytest.mark.parametrize("id", ["medium", "mujoco/hopper/medium", "../x-v0", "/etc/x-v0", "a//b-v0", "", "x-v0/"])
def test_what_is_no_id_is_said(id: str) -> None:
    with pytest.raises(UsageError, match="an id ends with its version"):
        Minari(control(), id, clip_actions=False)


def missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let packages look not installed (or, if none is named, let those that downloads need look installed)."""
    looks = lambda name: None if name in names else find_spec(name if names else "json")  # noqa: E731
    monkeypatch.setattr(minari, "find_spec", looks)


def test_offline_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing(monkeypatch)
    save(tmp_path / "minari" / "mujoco/hopper/medum-v0")
    began = time.monotonic()
    with pytest.raises(RunError) as error:
        Minari(control(), ID, clip_actions=False).load()
    assert time.monotonic() - began < 3
    first, second, third = str(error.value).splitlines()
    assert f"minari/{ID} (http://127.0.0.1:9/datasets/farama-minari/mujoco/tree/main/hopper/medium-v0: " in first
    assert "refused" in first
    assert second.startswith(f"put its folder at {tmp_path / 'minari' / ID}, or take rlbench's own data")
    assert second.endswith("env=hopper dataset=medium")
    assert third == "on this machine: dataset=minari/mujoco/hopper/medum-v0"


def test_a_missing_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in ("minari", "huggingface_hub"):
        missing(monkeypatch, package)
        with pytest.raises(RunError, match=r"pip install 'rlbench\[minari\]'") as error:
            Minari(control(), ID, clip_actions=False).load()
        assert str(tmp_path / "minari" / ID) in str(error.value)


# -- downloading: the real package and its real client, against a hub on this machine ----------------------------------


class Hub(ThreadingHTTPServer):
    """What of a hub's interface the package uses, over a folder of repositories."""

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder = folder
        self.asked: list[str] = []
        self.broken = 0
        """How many times a transfer of the content breaks off half-way."""


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        self.server.asked.append(path)
        match path.strip("/").split("/"):
            case ["api", "datasets"]:
                self.answer(json.dumps([{"id": "farama-minari/mujoco"}]).encode())
            case ["api", "datasets", "farama-minari", "mujoco", *rest]:
                files = [path for path in self.server.folder.rglob("*") if path.is_file()]
                names = [str(each.relative_to(self.server.folder)) for each in files]
                sizes = [each.stat().st_size for each in files]
                listed = [
                    {"type": "file", "rfilename": name, "path": name, "oid": name, "size": size}
                    for name, size in zip(names, sizes, strict=True)
                ]
                whole = {"id": "farama-minari/mujoco", "sha": "c" * 40, "siblings": listed}
                self.answer(json.dumps(listed if "tree" in rest else whole).encode())
            case ["datasets", "farama-minari", "mujoco", "resolve", _, *name]:
                file = self.server.folder.joinpath(*name)
                if file.is_file():
                    self.answer(file.read_bytes(), str(hash(file)), file.suffix == ".hdf5")
                else:
                    self.answer(b"", code=404)
            case _:
                self.answer(b"", code=404)

    def answer(self, body: bytes, tag: str = "x", breaks: bool = False, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{tag}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        if code == 404:
            self.send_header("X-Error-Code", "EntryNotFound")
        self.end_headers()
        if self.command == "GET":
            if breaks and self.server.broken:
                self.server.broken -= 1
                body = body[: len(body) // 2]
                self.close_connection = True
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    pytest.importorskip("huggingface_hub", reason="the extra minari brings it")
    pytest.importorskip("minari")
    folder = tmp_path / "remote"
    save(folder / "hopper" / "medium-v0", namespace=None)
    (folder / "namespace_metadata.json").write_text(json.dumps({"datasets": [ID], "namespaces": ["mujoco/hopper"]}))
    (folder / "hopper" / "namespace_metadata.json").write_text("{}")
    server = Hub(folder)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_downloads_once(hub: Hub, tmp_path: Path) -> None:
    data = Minari(control(), ID, clip_actions=False).load()
    assert len(data) == 8
    assert data.table.tobytes() == load(hub.folder / "hopper" / "medium-v0").table.tobytes()
    root = tmp_path / "minari"
    assert minari.local() == [ID]
    assert {str(path.relative_to(root)) for path in root.rglob("namespace_metadata.json")} >= {
        "mujoco/namespace_metadata.json",
        "mujoco/hopper/namespace_metadata.json",
    }
    import minari as package

    assert package.load_dataset(ID).total_steps == 8
    hub.asked.clear()
    Minari(control(), ID, clip_actions=False).load()
    assert hub.asked == []


@pytest.mark.usefixtures("hub")
def test_an_id_that_the_hub_does_not_have_is_said() -> None:
    with pytest.raises(RunError, match=r"cannot fetch minari/mujoco/hopper/medium-v7.*doesn't exist") as error:
        minari.fetch("mujoco/hopper/medium-v7")
    assert "Traceback" not in str(error.value)
    assert minari.local() == []


def test_a_folder_in_part_is_said_before_anything_is_downloaded(hub: Hub, tmp_path: Path) -> None:
    place = tmp_path / "minari" / ID
    save(place)
    (place / "data" / "main_data.hdf5").unlink()
    with pytest.raises(UsageError) as error:
        minari.fetch(ID)
    first, second = str(error.value).splitlines()
    assert first == f"minari/{ID}: {place} has no data/main_data.hdf5 (copied in part?)"
    assert second == "complete it, or remove it: it is downloaded then"
    assert hub.asked == []
    shutil.rmtree(place)
    place.mkdir()  # an empty one is in nobody's way
    assert minari.Folder(minari.fetch(ID) / "data").complete


def test_a_transfer_that_breaks_off_leaves_nothing_in_its_place(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.broken = 1000
    monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "1")
    with pytest.raises(RunError, match="cannot fetch"):
        minari.fetch(ID)
    assert minari.local() == []
    hub.broken = 0
    assert minari.Folder(minari.fetch(ID) / "data").complete
