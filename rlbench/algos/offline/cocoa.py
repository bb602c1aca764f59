"""COCOA: compositional conservatism, an addition to offline algorithms that changes only what their networks read.

Song, Lee and Kim, "Compositional Conservatism: A Transductive Approach in Offline Reinforcement Learning" (ICLR 2024).
A state s is rewritten as an anchor s~ that the data cover and a difference D = s - s~ that they cover too; actor and
critics of the base algorithm are bilinear in the two (`rlbench.nets.transductive`), its losses are untouched. An
unfamiliar state thereby becomes an unfamiliar combination of familiar parts.

Stages, each cached: (1) a forward ensemble p(s', r | s, a), (2) a reverse ensemble p(s | s', a) (both `dynamics.py`),
(3) trajectories that the reverse model makes diverge from the data, (4) an anchor seeker that clones their actions,
which lead back. (5) The anchor of s: h deterministic steps of the forward model under the seeker; all of it is frozen.
(6) The base algorithm is trained on the features `[s, s~]`; those of the dataset or of a rollout are computed once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from torch import Tensor

from rlbench.algos.actor_critic import ControlAlgorithm
from rlbench.algos.offline.anchors import (
    CANDIDATES,
    CVAE,
    AnchoredFeatures,
    ClosestAnchors,
    CVAEFit,
    Imagination,
    NoisyAnchors,
    RandomAnchors,
    SeekerFit,
    SoughtAnchors,
    seeker_network,
)
from rlbench.algos.offline.dynamics import Dynamics
from rlbench.errors import UsageError
from rlbench.nets.optim import Params
from rlbench.nets.transductive import TransductiveNetworks
from rlbench.rng import SeedStreams
from rlbench.task import ControlTask
from rlbench.types import Count, NonNegative, NonNegativeInt, Positive

Direction = Literal["dataset", "gaussian", "opposed", "cvae"]


class COCOA:
    """A base algorithm that sees each state as an anchor and a difference.

    Args:
        task: the problem.
        base: the algorithm whose networks are replaced.
        dynamics: how the forward and the reverse model are learned.
        anchor_mode: how a state gets its anchor: rollout (the method), or an ablation: closest_delta, random (a dataset
            state), noise (the state plus uniform noise), none (the state itself).
        horizon: h, model steps from a state to its anchor (rollout).
        anchor_noise: largest noise, in standard deviations of the dataset's states (noise).
        embedding_dims: hidden widths of the embeddings of anchor and difference.
        embedding_width: terms of the bilinear form a feature.
        imagination_length: L, steps of an imagined trajectory.
        imagination_scale: of a trajectory's direction.
        imagination_noise: standard deviation of the noise on its actions.
        direction: a trajectory's direction: dataset (the action of another transition), gaussian, opposed (the dataset
            action most opposed to the transition's own), cvae (a behaviour model's proposal).
        seeker_hidden_dims: widths of the hidden layers of the anchor seeker.
        seeker_learning_rate: Adam's step size for the seeker (and for the behaviour model of cvae).
        seeker_batch_size: pairs in a minibatch.
        seeker_epochs: most epochs.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        base: Callable[[ControlTask], ControlAlgorithm],
        dynamics: Callable[[ControlTask], Dynamics],
        anchor_mode: Literal["rollout", "closest_delta", "random", "noise", "none"],
        horizon: NonNegativeInt,
        anchor_noise: NonNegative,
        embedding_dims: list[int],
        embedding_width: Count,
        imagination_length: Count,
        imagination_scale: NonNegative,
        imagination_noise: NonNegative,
        direction: Direction,
        seeker_hidden_dims: list[Count],
        seeker_learning_rate: Positive,
        seeker_batch_size: Count,
        seeker_epochs: Count,
    ) -> None:
        if not embedding_dims:
            raise UsageError("algo.embedding_dims=[] leaves the embeddings without a layer: give at least one width")
        states = task.tensor(task.dataset.observation)
        features: AnchoredFeatures
        if anchor_mode == "none" or (anchor_mode == "rollout" and horizon == 0):
            features = AnchoredFeatures(states.shape[1])
        elif anchor_mode == "noise":
            features = NoisyAnchors(anchor_noise * states.std(0))
        elif anchor_mode == "random":
            features = RandomAnchors(states)
        elif anchor_mode == "closest_delta":
            # The same for all seeds, so that none depends on those it is trained with.
            picked = states[SeedStreams((0,), "anchors", task.device).integers(len(states), 3, CANDIDATES)[0]]
            features = ClosestAnchors(picked[0], picked[1] - picked[2])
        else:
            models = dynamics(task)
            imagination = {
                "length": imagination_length,
                "scale": imagination_scale,
                "noise": imagination_noise,
                "direction": direction,
            }
            training = {"learning_rate": seeker_learning_rate, "batch_size": seeker_batch_size, "epochs": seeker_epochs}
            params = seek(models, imagination, {"hidden_dims": list(seeker_hidden_dims), **training}, training)
            seeker = seeker_network(states.shape[1], seeker_hidden_dims, task.networks.action_dim)
            features = SoughtAnchors(models.forward(), seeker, params, horizon)
        networks = TransductiveNetworks(
            task.networks.observation_dim, task.networks.action_dim, embedding_dims, embedding_width
        )
        self.base = base(task.with_features(features, networks))

    @property
    def task(self) -> ControlTask:
        return self.base.task

    @property
    def step(self) -> int:
        return self.base.step

    @property
    def actor_params(self) -> Params:
        return self.base.actor_params

    def action(self, params: Params, features: Tensor) -> Tensor:
        return self.base.action(params, features)

    def next_batch(self) -> Tensor:
        return self.base.next_batch()

    def capture(self, *, compiled: bool, after: int = 0, say: Callable[[str], None] = print) -> None:
        self.base.capture(compiled=compiled, after=after, say=say)

    def train(self, n: int) -> dict[str, Tensor]:
        return self.base.train(n)

    def evaluate(self) -> dict[str, Any]:
        return self.base.evaluate()

    def state_dict(self) -> dict[str, Any]:
        return self.base.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.base.load_state_dict(state)


def seek(models: Dynamics, imagination: dict[str, Any], seeker: dict[str, Any], behaviour: dict[str, Any]) -> Params:
    """Stages 3 and 4: the anchor seeker's parameters, `[S, ...]`.

    Args:
        models: stage 2.
        imagination: length, scale, noise and direction.
        seeker: how it is trained.
        behaviour: how the behaviour model of the direction `cvae` is trained.
    """
    task, seeds = models.task, models.seeds
    following, action = (task.tensor(x) for x in (task.dataset.next_observation, task.dataset.action))
    proposes = imagination["direction"] == "cvae"
    key = {**models.key, "imagination": imagination, **({"behaviour": behaviour} if proposes else {})}

    def behaviour_model() -> CVAE:
        def fit() -> CVAEFit:
            return CVAEFit(following, action, seeds, **behaviour)

        net = CVAE(following.shape[1], action.shape[1])
        cvae_key = {"data": task.dataset.fingerprint, "seeds": list(seeds), "training": behaviour}
        net.params = task.artefacts.fit("behaviour_model", cvae_key, fit)["params"]
        return net

    def imagine() -> Imagination:
        cvae = behaviour_model() if proposes else None
        return Imagination(models.reverse(), following, action, seeds, behaviour=cvae, **imagination)

    def fit() -> SeekerFit:
        pairs = task.artefacts.fit("imagination", key, imagine)["pairs"]
        return SeekerFit(pairs, following.shape[1], seeds, **seeker)

    params = task.artefacts.fit("anchor_seeker", {**key, "seeker": seeker}, fit)["params"]
    if len(seeds) < len(task.seeds):
        return {name: value.expand(len(task.seeds), -1, -1) for name, value in params.items()}
    return params
