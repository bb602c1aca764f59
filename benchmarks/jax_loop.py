"""JAX's side of a race: TD3+BC and IQL in the manner of unifloral, a loop of updates compiled as a whole.

Ours, from the papers. Runs where JAX and Optax are installed beside rlbench (`pip install jax optax`);
`python -m benchmarks.speed races` then finds it. A step is one update of the critics: as in unifloral, TD3+BC makes two
of them on one minibatch, then one of the actor.

python -m benchmarks.jax_loop ALGO SECONDS
"""

import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import numpy as np
import optax
from jax import numpy as jnp

from benchmarks.race import serve

ROWS, OBSERVATION, ACTION, BATCH, HIDDEN = 300_000, 11, 3, 256, [256, 256]
GAMMA, TAU = 0.99, 0.005
Params = list[tuple[Any, Any]]
ADAM = optax.adam(3e-4)


class Algorithm(NamedTuple):
    """Parameters and moments from a random key; what becomes of them in an update; how many of the critics that has."""

    start: Callable[[Any], Any]
    update: Callable[[Any, Any, Any], Any]
    critic_updates: int


def made(key: Any, sizes: Sequence[int]) -> Params:
    """Weights and biases, uniform within 1 / sqrt(fan in)."""
    params: Params = []
    for fan_in, fan_out in pairwise(sizes):
        key, *keys = jax.random.split(key, 3)
        bound = fan_in**-0.5
        weight, bias = (
            jax.random.uniform(each, shape, minval=-bound, maxval=bound)
            for each, shape in zip(keys, ((fan_in, fan_out), (fan_out,)), strict=True)
        )
        params.append((weight, bias))
    return params


def pair(key: Any) -> Params:
    """Two critics."""
    critic: Params = jax.vmap(lambda each: made(each, [OBSERVATION + ACTION, *HIDDEN, 1]))(jax.random.split(key))
    return critic


def mlp(params: Params, x: Any) -> Any:
    for weight, bias in params[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = params[-1]
    return x @ weight + bias


def critics(params: Params, s: Any, a: Any) -> Any:
    """Two values, `[2, B]`."""
    return jax.vmap(mlp, (0, None))(params, jnp.concatenate([s, a], -1)).squeeze(-1)


def stepped(params: Params, moments: Any, loss: Callable[[Params], Any]) -> tuple[Params, Any]:
    """One of Adam's steps."""
    changes, moments = ADAM.update(jax.grad(loss)(params), moments)
    return optax.apply_updates(params, changes), moments


follow = partial(jax.tree.map, lambda old, new: (1 - TAU) * old + TAU * new)


def td3_bc_start(key: Any) -> Any:
    one, two = jax.random.split(key)
    actor, critic = made(one, [OBSERVATION, *HIDDEN, ACTION]), pair(two)
    return actor, ADAM.init(actor), critic, ADAM.init(critic), actor, critic


def td3_bc(state: Any, batch: Any, key: Any) -> Any:
    """TD3+BC (Fujimoto and Gu, 2021)."""
    actor, actor_moments, critic, critic_moments, target_actor, target = state
    s, a, r, s2, done = batch
    for each in jax.random.split(key):
        noise = (0.2 * jax.random.normal(each, a.shape)).clip(-0.5, 0.5)
        a2 = (jnp.tanh(mlp(target_actor, s2)) + noise).clip(-1, 1)
        y = r + (1 - done) * GAMMA * critics(target, s2, a2).min(0)

        def critic_loss(params: Params, y: Any = y) -> Any:
            return jnp.square(critics(params, s, a) - y).mean(1).sum()

        critic, critic_moments = stepped(critic, critic_moments, critic_loss)

    def actor_loss(params: Params) -> Any:
        pi = jnp.tanh(mlp(params, s))
        q = critics(critic, s, pi)[0]
        return jnp.square(pi - a).mean() - 2.5 * q.mean() / jax.lax.stop_gradient(jnp.abs(q).mean())

    actor, actor_moments = stepped(actor, actor_moments, actor_loss)
    return actor, actor_moments, critic, critic_moments, follow(target_actor, actor), follow(target, critic)


def iql_start(key: Any) -> Any:
    one, two, three = jax.random.split(key, 3)
    actor = (made(one, [OBSERVATION, *HIDDEN, ACTION]), jnp.zeros(ACTION))
    critic, value = pair(two), made(three, [OBSERVATION, *HIDDEN, 1])
    return actor, ADAM.init(actor), critic, ADAM.init(critic), value, ADAM.init(value), critic


def iql(state: Any, batch: Any, key: Any) -> Any:
    """IQL (Kostrikov et al., 2022)."""
    del key  # nothing is random in it
    actor, actor_moments, critic, critic_moments, value, value_moments, target = state
    s, a, r, s2, done = batch
    q = critics(target, s, a).min(0)
    advantage = q - mlp(value, s).squeeze(-1)
    y = r + (1 - done) * GAMMA * mlp(value, s2).squeeze(-1)

    def value_loss(params: Params) -> Any:
        error = q - mlp(params, s).squeeze(-1)
        return (jnp.abs(0.7 - (error < 0)) * jnp.square(error)).mean()

    def critic_loss(params: Params) -> Any:
        return jnp.square(critics(params, s, a) - y).mean(1).sum()

    def actor_loss(params: Any) -> Any:
        net, log_std = params
        z = (a - jnp.tanh(mlp(net, s))) / jnp.exp(log_std)
        log_prob = (-0.5 * jnp.square(z) - log_std).sum(-1)
        return -(jnp.exp(3.0 * advantage).clip(max=100.0) * log_prob).mean()

    value, value_moments = stepped(value, value_moments, value_loss)
    critic, critic_moments = stepped(critic, critic_moments, critic_loss)
    actor, actor_moments = stepped(actor, actor_moments, actor_loss)
    return actor, actor_moments, critic, critic_moments, value, value_moments, follow(target, critic)


ALGORITHMS = {"td3_bc": Algorithm(td3_bc_start, td3_bc, 2), "iql": Algorithm(iql_start, iql, 1)}


def loop(name: str) -> Callable[[int], None]:
    """Updates of the critics, on transitions without structure."""
    algorithm = ALGORITHMS[name]
    rng = np.random.default_rng(0)
    numbers = (
        rng.normal(size=(ROWS, OBSERVATION)), rng.uniform(-1, 1, (ROWS, ACTION)), rng.normal(size=ROWS),
        rng.normal(size=(ROWS, OBSERVATION)), np.arange(ROWS) % 1000 == 999,
    )  # fmt: skip
    data = [jnp.asarray(column, dtype=jnp.float32) for column in numbers]

    def one(state: Any, key: Any, data: Any) -> Any:
        drawn, noise = jax.random.split(key)
        index = jax.random.randint(drawn, (BATCH,), 0, ROWS)
        return algorithm.update(state, [column[index] for column in data], noise)

    def several(state: Any, key: Any, data: Any, count: Any) -> Any:
        return jax.lax.fori_loop(0, count, lambda i, state: one(state, jax.random.fold_in(key, i), data), state)

    compiled = jax.jit(several)
    state, key = algorithm.start(jax.random.key(0)), jax.random.key(1)

    def steps(count: int) -> None:
        nonlocal state, key
        key, each = jax.random.split(key)
        state = jax.block_until_ready(compiled(state, each, data, -(-count // algorithm.critic_updates)))

    steps(1)  # compiles
    return steps


if __name__ == "__main__":
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # JAX takes a thread for each core that it may use
    serve(loop(sys.argv[1]), float(sys.argv[2]), 0.0)
