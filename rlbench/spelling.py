"""The nearest right word for a wrong one: slips of the fingers, and the names that other projects use."""

from collections.abc import Iterable
from difflib import SequenceMatcher

ALSO_CALLED: dict[str, list[str]] = {
    "algo": ["algorithm", "agent", "method", "policy_type"],
    "env": ["environment", "env_id", "env_name", "task", "task_name", "gym_id"],
    "dataset": ["data", "dataset_name", "dataset_id", "data_path", "buffer"],
    "hardware": ["accelerator", "gpu", "cuda", "trainer"],
    "tracking": ["logger", "logging", "tracker", "wandb_mode"],
    "search": ["sweeper", "optuna", "tune", "tuner", "hpo", "hyperparameter_search"],
    "preset": ["debug", "profile", "mode"],
    "experiment": ["recipe", "exp", "study"],
    "base": ["base_algo", "base_algorithm", "backbone"],
    "seed": ["random_seed", "seed_start", "train_seed"],
    "seeds": ["n_seeds", "num_seeds", "nseeds", "repeats", "replicates"],
    "steps": [
        *("max_steps", "num_steps", "n_steps", "total_steps", "total_timesteps", "max_timesteps", "num_timesteps"),
        *("timesteps", "train_steps", "training_steps", "gradient_steps", "num_updates", "n_updates", "updates"),
        *("iterations", "n_iterations", "num_train_steps", "max_iters", "epochs", "n_epochs", "num_epochs", "epoch"),
    ],
    "eval.every": ["eval_freq", "eval_every", "eval_interval", "eval_period", "evaluation_interval", "eval_frequency"],
    "eval.episodes": [
        *("eval_episodes", "n_episodes", "num_episodes", "n_eval_episodes", "num_eval_episodes", "eval_eps"),
        *("test_episodes", "eval_trials", "n_trials"),
    ],
    "log.every": ["log_freq", "log_every", "log_interval", "logging_steps", "log_frequency", "print_freq"],
    "checkpoint.every_seconds": ["save_freq", "save_every", "save_interval", "checkpoint_freq", "checkpoint_interval"],
    "checkpoint.keep": ["keep_last", "save_total_limit", "max_checkpoints"],
    "rerun": ["overwrite", "force", "restart", "clean"],
    "hardware.device": ["device", "accelerator_type"],
    "hardware.threads": ["num_threads", "n_threads", "torch_threads", "cpus"],
    "search.trials": ["n_trials", "num_trials", "max_trials", "budget"],
    "search.metric": ["objective", "target", "monitor"],
    "search.reduction_factor": ["eta"],
    "search.grace": ["min_resource", "grace_period", "warmup", "n_warmup_steps"],
    "wandb.mode": ["wandb", "use_wandb", "offline"],
    "wandb.project": ["wandb_project", "project_name", "wandb_project_name"],
    "wandb.group": ["wandb_group", "group_name", "exp_name"],
    "wandb.entity": ["wandb_entity"],
    "wandb.tags": ["wandb_tags"],
    "dataset.path": ["file", "dataset_path", "hdf5", "dataset_file"],
    "dataset.size": ["num_samples", "n_transitions", "dataset_size", "max_transitions"],
    "learning_rate": ["lr", "step_size", "stepsize", "optimizer_lr", "lrate"],
    "gamma": ["discount", "discount_factor", "gam"],
    "tau": ["polyak", "target_update_rate", "soft_target_tau", "ema", "target_tau", "soft_update"],
    "batch_size": ["batch", "bs", "batchsize", "minibatch_size", "mini_batch_size", "train_batch_size"],
    "hidden_dims": ["hidden_dim", "hidden_size", "hidden_sizes", "hidden_units", "hidden_layers", "hidden", "net_arch"],
    "buffer_size": ["replay_size", "replay_buffer_size", "capacity", "buffer_capacity", "memory_size"],
    "start_steps": ["learning_starts", "warmup_steps", "random_steps", "start_timesteps", "initial_steps"],
    "hindsight_goals": ["n_sampled_goal", "replay_k", "her_k"],
    "num_critics": ["n_critics", "critics", "n_qs", "num_qs", "ensemble_size", "num_q", "n_ensemble"],
    "normalize_states": ["normalize", "normalize_observations", "normalize_obs", "obs_norm", "norm_obs"],
    "normalize_rewards": ["normalize_reward", "reward_norm", "norm_reward", "reward_scale"],
    "temperature": ["beta", "inverse_temperature"],
    "best_fraction": ["frac", "top_fraction", "bc_fraction", "percentile"],
    "gpu": ["cuda", "cuda:0", "nvidia"],
    "medium_replay": ["mr", "replay"],
    "medium_expert": ["me"],
    "offline": ["dryrun"],
    "none": ["null", "no"],
}
PARTS = {"lr": "learning_rate", "q": "critic", "qf": "critic", "vf": "value", "pi": "actor", "n": "num"}


def closest(word: str, candidates: Iterable[str], most: int = 3) -> list[str]:
    """The candidates that a person may have meant by a word, the likeliest first; none where nothing is near.

    Args:
        word: what was typed, a plain word or a dotted key.
        candidates: the right words, dotted keys among them: their last part alone is recognised too.
        most: how many at most.
    """
    typed = word.lower()
    head, _, last = typed.rpartition(".")
    renamed = "_".join(PARTS.get(part, part) for part in last.split("_"))
    canonical = {right for right, others in ALSO_CALLED.items() if not {typed, last, renamed}.isdisjoint(others)}
    canonical.add(renamed)
    scores: dict[str, float] = {}
    for candidate in candidates:
        place, _, leaf = candidate.rpartition(".")
        score = unlike(typed, candidate)
        if candidate != leaf:
            score = min(score, (0.1 if typed == last else 0.3) + unlike(last, leaf))
        elsewhere = 0.1 * unlike(head, place) if head else 0
        if candidate in canonical or leaf in canonical:
            score = min(score, 0.05 + 0.01 * unlike(typed, candidate) + elsewhere)
        elif any(leaf.endswith(f"_{right}") for right in canonical):
            score = min(score, 0.08 + elsewhere)
        if score <= 0.5:
            scores[candidate] = score
    best = sorted(scores, key=lambda candidate: scores[candidate])
    return [candidate for candidate in best if scores[candidate] <= scores[best[0]] + 0.15][:most]


def unlike(typed: str, right: str) -> float:
    """0 for equal words, 1 for words without a common letter."""
    return 1 - SequenceMatcher(None, right.replace("-", "_"), typed.replace("-", "_"), autojunk=False).ratio()
