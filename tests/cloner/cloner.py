"""A plug-in that shares its minibatches among the processes of a run: behaviour cloning by PyTorch's own wrappers."""

import os
import time
from pathlib import Path
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as checkpoint
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from rlbench.data.sampling import Batch, Minibatches, training_rows
from rlbench.task import ControlTask
from rlbench.types import Count, NonNegative, Positive

WHOLE = checkpoint.StateDictOptions(full_state_dict=True, cpu_offload=True)


class Cloner:
    """A network fitted to the data's actions, one seed.

    Args:
        task: the problem.
        batch_size: transitions in a minibatch, all processes together.
        learning_rate: step size.
        wrapper: ddp: a copy of the network in each process; fsdp: a part of it in each.
        seconds: how long a step takes besides.
        trap: a file in which the second process writes its number, to wait there for its end; empty: none.
    """

    def __init__(
        self,
        task: ControlTask,
        *,
        batch_size: Count,
        learning_rate: Positive,
        wrapper: Literal["ddp", "fsdp"],
        seconds: NonNegative,
        trap: str,
    ) -> None:
        self.task = task
        self.seconds = seconds
        self.trap = trap
        self.rank, self.count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        torch.manual_seed(task.seeds[0])
        self.network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 2))
        self.module: nn.Module = self.network
        if self.count > 1 and wrapper == "ddp":
            self.module = DistributedDataParallel(self.network)
        elif self.count > 1:
            fully_shard(self.network)
        self.optimiser = torch.optim.Adam(self.module.parameters(), learning_rate)
        self.minibatches = Minibatches(training_rows(task), batch_size, task.streams("minibatches"))

    def train(self, n: int) -> dict[str, Tensor]:
        for _ in range(n):
            time.sleep(self.seconds)
            if self.trap and self.rank == 1:
                Path(self.trap).write_text(str(os.getpid()))
                time.sleep(1000)
            share = Batch.of_rows(self.minibatches.next()[:, self.rank :: self.count], 2, 2)
            loss = (self.module(share.observation[0]) - share.action[0]).square().mean()
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
        return {"train/loss": self.mean(loss.detach())}

    def mean(self, value: Tensor) -> Tensor:
        """Over the processes."""
        value = value.reshape(1) / self.count
        if self.count > 1:
            dist.all_reduce(value)
        return value

    def gradient(self) -> Tensor:
        """Of the last minibatch, whole, in one row."""
        parts = [parameter.grad for parameter in self.network.parameters() if parameter.grad is not None]
        return torch.cat([(p.full_tensor() if isinstance(p, DTensor) else p).reshape(-1) for p in parts] or [Tensor()])

    def evaluate(self) -> dict[str, Any]:
        return self.task.evaluate(lambda features: self.module(features[0])[None].clamp(-1, 1))

    def state_dict(self) -> dict[str, Any]:
        network, optimiser = checkpoint.get_state_dict(self.network, self.optimiser, options=WHOLE)
        return {
            "network": dict(network),
            "optimiser": optimiser,
            "gradient": self.gradient(),
            "minibatches": self.minibatches.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        checkpoint.set_state_dict(
            self.network,
            self.optimiser,
            model_state_dict=state["network"],
            optim_state_dict=state["optimiser"],
            options=WHOLE,
        )
        self.minibatches.load_state_dict(state["minibatches"])
