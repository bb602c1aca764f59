"""What users type becomes a configuration, or an answer that names what they meant."""

import random
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from rlbench import config, signatures
from rlbench.choices import GROUPS, Choices
from rlbench.errors import UsageError


def answer(*words: str, config_dirs: list[Path] | None = None) -> str:
    """What is said to words that cannot be run."""
    with pytest.raises(UsageError) as error:
        config.compose(words, config_dirs or [])
    return str(error.value)


def suggestion(text: str) -> str:
    """The first right word that an answer offers."""
    return text.partition("did you mean ")[2].rstrip("?").split(" or ")[0]


# -- composing


def test_an_algorithm_alone_is_a_run() -> None:
    cfg = config.compose(["algo=iql"])
    assert (cfg.env.name, cfg.dataset.level, cfg.seed, cfg.seeds) == ("hopper", "medium", 0, 1)
    assert cfg.steps == cfg.algo.budget.steps == 1_000_000
    assert cfg.eval.every == cfg.algo.budget.eval_every


def test_an_algorithm_brings_its_data_and_the_command_line_wins() -> None:
    assert "_target_" not in config.compose(["algo=sac"]).dataset
    assert config.compose(["algo=cocoa"]).algo.base.name == "iql"
    assert config.compose(["algo=cocoa", "base=mopo"]).algo.base.name == "mopo"


@pytest.mark.parametrize("word", ["preset=quick", "+preset=quick", "++preset=quick"])
def test_preset_with_or_without_a_plus(word: str) -> None:
    assert config.compose(["algo=iql", word]).steps < 1_000_000
    assert config.compose([word, "algo=iql", "steps=7"]).steps == 7


def test_a_group_that_may_be_empty_is_emptied() -> None:
    assert config.compose(["algo=iql", "preset=null", "+experiment=null"]) == config.compose(["algo=iql"])


def test_a_wrapped_algorithm_keeps_its_published_settings() -> None:
    words = ["algo=iql", "env=hopper", "dataset=medium_expert"]
    assert config.compose(words).algo.temperature == 6.0
    assert config.compose([*words, "algo.temperature=1"]).algo.temperature == 1.0
    assert config.compose(["algo=iql"]).algo.temperature == 3.0
    assert config.compose(["algo=cocoa", "base=iql", "dataset=medium_expert"]).algo.base.temperature == 6.0


@pytest.mark.parametrize(
    ("algo", "ours", "minaris"),
    [
        ("iql", "d4rl/antmaze-umaze-v2", "D4RL/antmaze/umaze-v1"),
        ("iql", "d4rl/pen-human-v1", "D4RL/pen/human-v2"),
        ("iql", "d4rl/kitchen-mixed-v0", "D4RL/kitchen/mixed-v2"),
        ("rebrac", "d4rl/walker2d-medium-v2", "mujoco/walker2d/medium-v0"),
        ("mobile", "d4rl/hopper-medium-v2", "mujoco/hopper/medium-v0"),
    ],
)
def test_data_of_minari_s_get_the_settings_of_their_task(algo: str, ours: str, minaris: str) -> None:
    settings, same = (
        OmegaConf.to_container(config.compose([f"algo={algo}", f"dataset={word}"]).algo)
        for word in (ours, f"minari/{minaris}")
    )
    assert same == settings


def test_an_environment_has_the_values_that_were_published_for_it() -> None:
    ant = config.compose(["algo=iql", "env=antmaze_umaze", "dataset=d4rl/antmaze-umaze-v2"]).algo
    assert (ant.expectile, ant.temperature, ant.normalize_rewards, ant.reward_shift) == (0.9, 10.0, False, -1.0)
    hand = config.compose(["algo=iql", "env=pen", "dataset=d4rl/pen-human-v1"]).algo
    assert (hand.expectile, hand.temperature, hand.normalize_rewards, hand.reward_shift) == (0.7, 0.5, False, 0.0)
    assert config.compose(["algo=iql", "env=pendulum"]).algo.normalize_rewards
    for goals in ("d4rl/maze2d-umaze-v1", "ogbench/cube-single-play-singletask-v0"):
        assert not config.compose(["algo=iql", f"dataset={goals}"]).algo.normalize_rewards
    rebrac = config.compose(["algo=rebrac", "env=walker2d", "dataset=expert"]).algo
    assert (rebrac.actor_bc_coef, rebrac.critic_bc_coef) == (0.01, 0.5)
    assert config.compose(["algo=mobile", "env=hopper"]).algo.target_min == 0.0
    assert config.compose(["algo=mobile", "env=pendulum"]).algo.target_min is None  # each of its rewards is negative
    assert config.compose(["algo=td3", "env=hopper"]).algo.start_steps == 25_000
    assert config.compose(["algo=td3", "env=hopper", "preset=quick"]).algo.start_steps == 3333


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("algo.gamma=1", "algo.gamma", 1.0),
        ("steps=2e3", "steps", 2000),
        ("+eval.every=5", "eval.every", 5),
        ("eval={every: 5}", "eval.every", 5),
        ("algo.hidden_dims=[8,8,8]", "algo.hidden_dims", [8, 8, 8]),
        ("wandb.group=paper-1", "wandb.group", "paper-1"),
        ("wandb.tags=[a,b]", "wandb.tags", ["a", "b"]),
        ("rerun=true", "rerun", True),
        ("env.kwargs.frame_skip=2", "env.kwargs", {"frame_skip": 2}),
        ("env.termination=null", "env.termination", None),
    ],
)
def test_values_are_set_in_their_types(word: str, key: str, value: Any) -> None:
    found = OmegaConf.select(config.compose(["algo=iql", word]), key)
    assert found == value
    assert type(found) is type(value) or OmegaConf.is_config(found)


@pytest.mark.parametrize("path", ["/data/my runs/a=b,c.hdf5", "relative/x.hdf5", "/data/it's.hdf5", "~/x.hdf5"])
def test_a_file_of_ones_own_is_taken_as_it_stands(path: str) -> None:
    cfg = config.compose(["algo=bc", f"dataset=file:{path}"])
    assert cfg.dataset.path == str(Path(path).expanduser().absolute())
    assert cfg.dataset.level == "file"


# -- refusing


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["env=hopper"], ["no algorithm given", "iql"]),
        (["algo=iql", "algo.gamma=abc"], ["algo.gamma=abc", "number in [0, 1]"]),
        (["algo=npg_igt", "env=lqr1d", "algo.eta_0=0.0"], ["algo.eta_0=0.0", "number in (0, 1]"]),
        (["algo=bc", "algo.hidden_dims=[-5]"], ["algo.hidden_dims"]),
        (["algo=ppo", "algo.batch_size=1"], ["algo.batch_size=1"]),
        (["algo=cma_es", "algo.population=1"], ["algo.population=1"]),
        (["algo=cpl", "env=maxent_tab", "env.gamma=1"], ["env.gamma=1", "number in [0, 1)"]),
        (["algo=iql", "algo.gamma=1.01"], ["algo.gamma=1.01", "number in [0, 1]"]),
        (["algo=iql", "algo.batch_size=0"], ["whole number >= 1"]),
        (["algo=iql", "algo.batch_size=1.5"], ["whole number >= 1"]),
        (["algo=iql", "seeds=true"], ["seeds=true", "whole number"]),
        (["algo=iql", "rerun=1"], ["true or false"]),
        (["algo=iql", "algo.hidden_dims=256"], ["list of whole numbers"]),
        (["algo=iql", "steps=null"], ["steps=null", "whole number"]),
        (["algo=iql", "eval=5"], ["eval.every, eval.episodes"]),
        (["algo=iql", "dataset=file"], ["dataset=file:PATH"]),
        (["algo=iql", "dataset=none"], ["algo=iql needs transitions", "dataset=medium", "dataset=file:PATH"]),
        (["algo=sac", "dataset=medium"], ["collects its own data", "dataset=none"]),
        (["algo=iql", "env=disc2d"], ["dataset=medium", "not for env=disc2d", "dataset=disc"]),
        (["algo=iql", "base=iql"], ["algo=iql wraps no other"]),
        (["algo=cocoa", "base=null"], ["base=NAME", "mopo"]),
        (["algo=iql", "algo._target_=os.system"], ["algo._target_ cannot be set"]),
        (["algo=iql", "algo.name=x"], ["no key 'algo.name'"]),
        (["algo=iql", "algo.budget.steps=5"], ["did you mean steps?"]),
        (["algo=iql", "hydra.run.dir=x"], ["Hydra's own settings", "RLBENCH_RESULTS"]),
        (["algo=iql", "hydra/sweeper=optuna"], ["Hydra's own settings", "search=tpe"]),
        (["algo=iql", "hydra/launcher=submitit_slurm"], ["Hydra's own settings", "hardware=slurm_gpu"]),
        (["algo=iql", "~tracking"], ["nothing can be taken away"]),
        (["algo=iql", "seed=0,1"], ["sweep", "-m"]),
        (["algo=iql", "wandb.group={"], ["cannot read"]),
        (["algo=iql", "env=hopper-medium-v2"], ["env=hopper dataset=medium"]),
        (["algo=iql", "dataset=walker2d-medium-replay-v2"], ["env=walker2d dataset=medium_replay"]),
        (["algo=iql", "dataset=data/x.hdf5"], ["did you mean dataset=file:data/x.hdf5?"]),
        (["algo=iql", "hopper"], ["did you mean env=hopper?"]),
        (["algo=iql", "algo=null"], ["no algo"]),
        (["algo=iql", "env@x=hopper"], ["no key 'env@x'"]),
    ],
)
def test_what_cannot_run_is_refused_with_what_would(words: list[str], parts: list[str]) -> None:
    text = answer(*words)
    assert [part for part in parts if part not in text] == []
    assert text.count("\n") <= 1


@pytest.mark.parametrize(
    ("words", "right"),
    [
        *((f"algo=iql {word}=5", "eval.every") for word in ("eval_freq", "eval_every", "eval_interval", "eval.freq")),
        *((f"algo=iql {word}=5", "eval.episodes") for word in ("n_episodes", "eval_episodes", "num_eval_episodes")),
        *((f"algo=iql {word}=5", "steps") for word in ("num_steps", "max_steps", "total_timesteps", "n_epochs")),
        *((f"algo=iql {word}=5", "seeds") for word in ("n_seeds", "num_seeds")),
        *((f"algo=iql {word}=0.9", "algo.gamma") for word in ("discount", "gamma", "algo.discount", "discount_factor")),
        *((f"algo=iql {word}=8", "algo.batch_size") for word in ("batchsize", "batch_size", "bs", "algo.batchSize")),
        *((f"algo=bc {word}=8", "algo.learning_rate") for word in ("lr", "algo.lr", "learning_rate", "algo.lrate")),
        ("algo=iql algo.actor_lr=1", "algo.actor_learning_rate"),
        ("algo=iql algo.qf_lr=1", "algo.critic_learning_rate"),
        ("algo=iql lr=1", "algo.actor_learning_rate"),
        ("algo=iql polyak=1", "algo.tau"),
        ("algo=iql beta=1", "algo.temperature"),
        ("algo=iql hidden_sizes=1", "algo.hidden_dims"),
        ("algo=sac learning_starts=1", "algo.start_steps"),
        ("algo=cocoa base=iql algo.base.lr=1", "algo.base.actor_learning_rate"),
        ("algo=iql device=cuda", "hardware.device"),
        ("algo=iql project=x", "wandb.project"),
        ("algo=iql log_freq=1", "log.every"),
        ("algo=iql overwrite=true", "rerun"),
        ("algo=iql hardware=cuda", "hardware=gpu"),
        ("algo=iql env=Hopper-v4", "env=hopper"),
        ("algo=iql env=HalfCheetah-v5", "env=halfcheetah"),
        ("algo=iql dataset=medium-replay", "dataset=medium_replay"),
        ("algo=TD3+BC", "algo=td3_bc"),
        ("algo=sac-n", "algo=sac_n"),
        ("agent=iql", "algo"),
        ("algo=iql task=hopper", "env"),
    ],
)
def test_names_of_other_projects_are_understood(words: str, right: str) -> None:
    assert suggestion(answer(*words.split())) == right


NEIGHBOURS = {
    "q": "wa", "w": "qes", "e": "wrd", "r": "etf", "t": "ryg", "y": "tuh", "u": "yij", "i": "uok", "o": "ipl",
    "p": "ol", "a": "qsz", "s": "adwx", "d": "sfec", "f": "dgrv", "g": "fhtb", "h": "gjyn", "j": "hkum", "k": "jlim",
    "l": "kop", "z": "asx", "x": "zsdc", "c": "xdfv", "v": "cfgb", "b": "vghn", "n": "bhjm", "m": "njk",
}  # fmt: skip


def mistyped(word: str, rng: random.Random) -> str:
    """One slip of the fingers in a word."""
    at = rng.choice([i for i, letter in enumerate(word) if letter in NEIGHBOURS])
    before, letter, after = word[:at], word[at], word[at + 1 :]
    return rng.choice(
        [
            before + after,
            before + letter + letter + after,
            before + rng.choice("abcdefghijklmnopqrstuvwxyz") + after,
            before + rng.choice(NEIGHBOURS[letter]) + after,
            before + after[:1] + letter + after[1:],
        ]
    )


def targets() -> list[tuple[list[str], str, str, set[str]]]:
    """Every word that can be mistyped: its context, what stands before it, the word, and the right words there."""
    choices = Choices()
    found: list[tuple[list[str], str, str, set[str]]] = []
    for words in (
        ["algo=iql", "search=tpe"],
        ["algo=cocoa", "base=edac"],
        ["algo=mopo"],
        ["algo=sac"],
        ["algo=td3_bc"],
    ):
        known = dict(config.keys(config.compose(words)))
        for key, kind in known.items():
            found.append((words, "", key, {*known, *GROUPS}))
            literals = {str(each) for each in signatures.literals(kind)}
            found += [(words, f"{key}=", each, literals) for each in sorted(literals)]
    for group in GROUPS:
        found += [(["algo=iql"], "", group, set(GROUPS))] * 5
        found += [(["algo=iql"], f"{group}=", each, set(choices.options(group))) for each in choices.options(group)]
    return found


def test_the_right_word_is_suggested_first() -> None:
    rng, where = random.Random(20240601), targets()
    wrong, asked = [], 0
    while asked < 400:
        context, prefix, right, valid = rng.choice(where)
        word = mistyped(right, rng)
        if word in valid or not word:
            continue
        asked += 1
        found = suggestion(answer(*context, f"{prefix}{word}" + ("" if prefix else "=1")))
        if found != prefix + right:
            wrong.append((*context, prefix + word, found))
    assert len(wrong) <= 0.05 * asked, wrong


# -- sweeping


def test_cells_of_a_sweep_in_order() -> None:
    cells = config.expand(["algo=iql,cql", "seed=range(0,3)", "eval.every=5"], multirun=True)
    assert cells == [[f"algo={algo}", f"seed={seed}", "eval.every=5"] for algo in ("iql", "cql") for seed in range(3)]


@pytest.mark.parametrize(
    ("word", "cells"),
    [
        ("algo=choice(iql,bc)", ["algo=iql", "algo=bc"]),
        ("algo.gamma=0.9,0.99", ["algo.gamma=0.9", "algo.gamma=0.99"]),
        ("algo.hidden_dims=[8,8],[4]", ["algo.hidden_dims=[8,8]", "algo.hidden_dims=[4]"]),
        ("seed=range(4,0,-2)", ["seed=4", "seed=2"]),
        ("algo=glob(td3*)", ["algo=td3", "algo=td3_bc"]),
        ("dataset=file:/a/b.hdf5", ["dataset=file:/a/b.hdf5"]),
    ],
)
def test_sweep_grammar(word: str, cells: list[str]) -> None:
    found = config.expand([word], multirun=True)
    assert found == [[cell] for cell in cells]


def test_words_that_speak_of_the_seed_are_composed_for_each() -> None:
    words = [["algo=bc", f"seed={seed}", "algo.batch_size=${seed}"] for seed in (1, 2)]
    assert [content["algo"]["batch_size"] for _, content in config.compose_sweep(words)] == [1, 2]


def test_a_quick_run_is_never_longer() -> None:
    for algo, steps, every in (("cql", 10_000, 1000), ("newsvendor", 1, 1), ("moorl", 10_000, 500)):
        cfg = config.compose([f"algo={algo}", "preset=quick"])
        assert (cfg.steps, cfg.eval.every) == (steps, every)
    assert config.compose(["algo=cql", "preset=quick", "steps=50"]).steps == 50
    (first, *_) = config.compose_sweep([["experiment=npg_mujoco", "algo=npg_igt", "env=hopper", "preset=quick"]])
    assert first[1]["steps"] == 10_000


def test_a_sweep_over_files() -> None:
    cells = config.expand(["dataset=file:/a,file:/b"], multirun=True)
    paths = [dict(pair for word in cell for pair in config.assignments(word))["dataset.path"] for cell in cells]
    assert paths == ["/a", "/b"]


def test_an_empty_sweep_is_refused() -> None:
    with pytest.raises(UsageError, match="empty"):
        config.expand(["algo=glob(zzz*)"], multirun=True)


# -- naming and building


BASE = ["algo=bc", "env=hopper", "dataset=medium"]


@pytest.mark.parametrize(
    "words",
    [
        ["hardware.threads=2"],
        ["tracking=disabled"],
        ["log.every=7"],
        ["checkpoint.keep=5"],
        ["rerun=true"],
        ["steps=1e6"],
    ],
)
def test_id_ignores_what_changes_no_result(words: list[str]) -> None:
    assert config.run_id(config.compose([*BASE, *words])) == config.run_id(config.compose(BASE))


@pytest.mark.parametrize(
    "words", [["seed=1"], ["seeds=2"], ["steps=7"], ["eval.every=7"], ["algo.batch_size=8"], ["dataset.size=1000"]]
)
def test_id_follows_what_changes_the_result(words: list[str]) -> None:
    assert config.run_id(config.compose([*BASE, *words])) != config.run_id(config.compose(BASE))


def test_directory_says_what_was_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RLBENCH_RESULTS", str(tmp_path))
    for words, place in (
        (BASE, "bc/hopper-medium"),
        (["algo=cocoa", "base=iql", "dataset=expert"], "cocoa-iql/hopper-expert"),
        (["algo=sac", "env=walker2d"], "sac/walker2d-online"),
    ):
        cfg = config.compose(words)
        assert config.run_directory(cfg) == tmp_path / "runs" / place / config.run_id(cfg)


def test_a_stored_configuration_is_read_back(tmp_path: Path) -> None:
    cfg = config.compose(["algo=cocoa", "base=iql", "seed=3"])
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    assert config.load(tmp_path / "config.yaml") == cfg
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg).replace("seed: 3", "seed: x"))
    with pytest.raises(UsageError, match=r"config.yaml: seed=x: expected whole number"):
        config.load(tmp_path / "config.yaml")


def test_only_rlbench_is_instantiated() -> None:
    with pytest.raises(UsageError, match="neither rlbench's nor declared"):
        config.instantiate({"_target_": "os.system", "command": "true"})


def test_nothing_of_this_needs_torch() -> None:
    code = (
        "import sys; from rlbench import config; cfg = config.compose(['algo=cocoa', 'base=iql']); "
        "config.run_directory(cfg); config.expand(['seed=1,2'], True); print('torch' in sys.modules)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"


# -- plug-ins


@pytest.fixture
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A user's folder with an algorithm of their own, in a module whose name no other test has imported."""
    module = f"plugin_{zlib.crc32(request.node.name.encode())}"
    (tmp_path / f"{module}.py").write_text(
        '"""Mine."""\nfrom rlbench.types import Fraction\nraise_at_import = None\n\n\n'
        'class Mine:\n    """My method.\n\n'
        '    Args:\n        task: the problem.\n        gamma: discount.\n    """\n\n'
        "    def __init__(self, task, *, gamma: Fraction) -> None:\n        self.task, self.gamma = task, gamma\n"
    )
    conf = tmp_path / "conf"
    (conf / "algo").mkdir(parents=True)
    (conf / "algo" / "mine.yaml").write_text(
        f"_target_: {module}.Mine\nname: mine\nabout: {{title: Mine, needs: {{env: control, data: none}}}}\n"
        "defaults:\n  - override /dataset@_global_.dataset: none\n"
        "budget: {steps: 10, eval_every: 5}\ngamma: 0.5  # me\n"
    )
    (conf / "plugins.yaml").write_text(f"plugins: [{module}]\n")
    path = list(sys.path)
    yield conf
    sys.path[:] = path
    config.declared.discard(module)


def mine(folder: Path, *words: str) -> DictConfig:
    return config.compose(["algo=mine", *words], [folder])


def test_a_plugin_is_composed_checked_and_built(folder: Path) -> None:
    cfg = mine(folder, "algo.gamma=0.25")
    assert cfg.steps == 10
    assert config.instantiate(cfg.algo, task="T").gamma == 0.25
    assert suggestion(answer("algo=mine", "algo.gama=1", config_dirs=[folder])) == "algo.gamma"
    assert suggestion(answer("algo=mime", config_dirs=[folder])) == "algo=mine"


def test_a_plugin_is_not_imported_to_be_checked(folder: Path) -> None:
    (source,) = folder.parent.glob("plugin_*.py")
    source.write_text(source.read_text().replace("raise_at_import = None", "raise SystemExit"))
    assert mine(folder).algo.gamma == 0.5


def test_a_plugin_must_be_declared(folder: Path) -> None:
    (folder / "plugins.yaml").unlink()
    text = answer("algo=mine", config_dirs=[folder])
    assert "neither rlbench's nor declared as a plug-in" in text
    assert "plugins.yaml" in text


def test_a_file_cannot_declare_its_own_module(folder: Path) -> None:
    (folder / "plugins.yaml").unlink()
    path = folder / "algo" / "mine.yaml"
    path.write_text(path.read_text() + f"plugins: [{read_target(path)}]\n")
    assert "neither rlbench's nor declared" in answer("algo=mine", config_dirs=[folder])


def read_target(path: Path) -> str:
    return path.read_text().partition("_target_: ")[2].partition(".")[0]


def test_a_plugins_run_is_read_back_without_its_folder(folder: Path, tmp_path: Path) -> None:
    cfg = mine(folder)
    (tmp_path / "config.yaml").write_text(OmegaConf.to_yaml(cfg))
    code = (
        "import sys; from pathlib import Path; from rlbench import config; "
        "cfg = config.load(Path(sys.argv[1]), sys.argv[2:]); "
        "print(config.instantiate(cfg.algo, task=1).gamma, config.run_id(cfg))"
    )
    for words in ([], ["hardware.device=cpu"], ["eval.episodes=3"]):  # as resume, export and eval read it
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "config.yaml", *words], capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.stderr) == (
            f"0.5 {config.run_id(config.load(tmp_path / 'config.yaml', words))}\n",
            "",
        )


def test_a_mistake_in_a_file_names_the_file(folder: Path) -> None:
    path = folder / "algo" / "mine.yaml"
    text = path.read_text()
    path.write_text(text.replace("gamma: 0.5", "gama: 0.5"))
    assert f"{path}: no key 'algo.gama'\ndid you mean algo.gamma?" == answer("algo=mine", config_dirs=[folder])


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("gamma: 0.5", "gamma: 5", "algo.gamma=5: expected number in [0, 1]"),
        ("gamma: 0.5  # me\n", "", "algo.gamma is missing"),
        (".Mine", ".Yours", "no class Yours"),
        ("name: mine\n", "", "a file of algo/ has name:, this one has not"),
        ("budget: {steps: 10, eval_every: 5}\n", "", "has budget:"),
        ("gamma: 0.5", "gamma: {", "mine.yaml"),
        ("gamma: 0.5", "gamma: ${nothing}", "nothing"),
    ],
)
def test_other_mistakes_in_a_file(folder: Path, old: str, new: str, said: str) -> None:
    path = folder / "algo" / "mine.yaml"
    path.write_text(path.read_text().replace(old, new))
    assert said in answer("algo=mine", config_dirs=[folder])


@pytest.mark.parametrize("word", ["env.name=a/b", "env.name=.."])
def test_a_folder_of_the_results_has_a_name_of_its_own(word: str) -> None:
    said = answer("algo=bc", "env=disc2d", "dataset=disc", word)
    assert said == f"{word}: a folder is named so: a letter or digit first, and no /"


def test_a_folder_cannot_replace_what_there_is(folder: Path) -> None:
    (folder / "algo" / "iql.yaml").write_text("name: iql\n")
    assert "there is a algo=iql already" in answer("algo=iql", config_dirs=[folder])


def test_a_file_in_another_encoding_is_named(folder: Path) -> None:
    (folder / "algo" / "mine.yaml").write_bytes(b"# caf\xe9\nname: mine\n")
    with pytest.raises(UsageError, match=r"mine\.yaml: .*utf-8"):
        mine(folder)


def test_a_folder_without_choices_is_refused(tmp_path: Path) -> None:
    assert "is no folder" in answer("algo=iql", config_dirs=[tmp_path / "nowhere"])
    assert "holds none of algo/" in answer("algo=iql", config_dirs=[tmp_path])
