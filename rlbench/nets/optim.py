"""Gradients, Adam and Polyak averaging over stacks of parameters (see `rlbench.nets.mlp`)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from rlbench.nets import tracing

Params = dict[str, Tensor]


def gradients(loss: Callable[[Params], tuple[Tensor, dict[str, Tensor]]], params: Params) -> tuple[list[Tensor], dict]:
    """Gradients of `loss(params)` with respect to `params` alone.

    Args:
        loss: returns the loss of each seed `[S]` and a dict of metrics; its sum over seeds is differentiated,
            so that each seed's gradient is its own.
        params: the parameters to differentiate; whatever else the loss closes over gets no gradient.

    Returns:
        The gradients in the order of `params`, and the metrics, detached.
    """
    leaves = {name: value.detach().requires_grad_() for name, value in params.items()}
    value, metrics = loss(leaves)
    total = value if value.numel() == 1 else value.sum()
    grads = torch.autograd.grad(total, list(leaves.values()))  # given its gradient, PyTorch imports SymPy first
    return list(grads), {name: metric.detach() for name, metric in metrics.items()}


class Adam:
    """Adam (Kingma and Ba, 2015) over a parameter dict, updated in place by one fused call."""

    BETA1, BETA2, EPS = 0.9, 0.999, 1e-8
    PIECES, LEAST = 64, 4096
    """Of all parameters together on a GPU, and numbers in one."""

    def __init__(self, params: Params, lr: float) -> None:
        self.params = list(params.values())
        device, self.dtype = self.params[0].device, self.params[0].dtype
        # The fused kernel on a GPU takes rate and count in single precision, whatever that of the parameters.
        self.rate = torch.tensor(lr, device=device, dtype=torch.float32)
        self.mean = [torch.zeros_like(param) for param in self.params]
        self.square = [torch.zeros_like(param) for param in self.params]
        self.count = torch.zeros((), device=device, dtype=torch.float32)
        """Updates so far: one number for all parameters."""

    def set_rate(self, lr: float) -> None:
        """Replace the learning rate from here on (schedules)."""
        self.rate.fill_(lr)

    def reset(self) -> None:
        """Forget all updates so far, as a new optimiser of the same parameters would."""
        for value in (*self.mean, *self.square, self.count):
            value.zero_()

    @property
    def state(self) -> list[Tensor]:
        """What a step changes."""
        return [*self.params, *self.mean, *self.square, self.count]

    @torch.no_grad()
    def step(self, grads: Sequence[Tensor]) -> None:
        """One update."""
        self.count += 1
        if tracing.active:
            return self._plain_step(grads)
        # On the CPU the kernel reads memory in order, whatever the strides.
        grads = [grad.contiguous() for grad in grads]
        params, grads, mean, square = (self._pieces(each) for each in (self.params, grads, self.mean, self.square))
        # The kernel of torch.optim.Adam(fused=True), without the bookkeeping that costs as much again.
        return torch._fused_adam_(
            params,
            grads,
            mean,
            square,
            [],
            [self.count] * len(params),
            lr=self.rate,
            beta1=self.BETA1,
            beta2=self.BETA2,
            weight_decay=0.0,
            eps=self.EPS,
            amsgrad=False,
            maximize=False,
        )

    def _pieces(self, tensors: list[Tensor]) -> list[Tensor]:
        """The same numbers as the fused kernel is to divide them."""
        if not self.count.is_cuda:
            return tensors
        # It gives 65,536 numbers of a tensor to one of a GPU's processors, and would leave most of them idle.
        size = max(self.LEAST, sum(tensor.numel() for tensor in tensors) // self.PIECES)
        return [piece for tensor in tensors for piece in tensor.view(-1).split(size)]

    def _plain_step(self, grads: Sequence[Tensor]) -> None:
        count = self.count.double()  # 1 - 0.999 has few digits left in single precision
        # Not as powers: a compiler would put them into the loops over all numbers, but keeps what took an exponential.
        first, second = (1 - (count * math.log(beta)).exp() for beta in (self.BETA1, self.BETA2))
        step_size = (self.rate * second.sqrt() / first).to(self.dtype)
        eps = (self.EPS * second.sqrt()).to(self.dtype)
        for param, grad, mean, square in zip(self.params, grads, self.mean, self.square, strict=True):
            mean.lerp_(grad, 1 - self.BETA1)
            square.mul_(self.BETA2).addcmul_(grad, grad, value=1 - self.BETA2)
            param.sub_(step_size * mean / (square.sqrt() + eps))

    def state_dict(self) -> dict[str, Any]:
        return {
            "mean": [value.clone() for value in self.mean],
            "square": [value.clone() for value in self.square],
            "count": self.count.clone(),
            "rate": self.rate.clone(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, saved in ((self.mean, state["mean"]), (self.square, state["square"])):
            for value, other in zip(mine, saved, strict=True):
                value.copy_(other)
        self.count.copy_(state["count"])
        self.rate.copy_(state["rate"])


def clipped(grads: Sequence[Tensor], most: float) -> tuple[list[Tensor], Tensor]:
    """Gradients `[S, ...]`, each seed's scaled down to norm `most` where it is larger, and the norms they had, `[S]`.

    As `torch.nn.utils.clip_grad_norm_` does it to a model.
    """
    norm = torch.stack([grad.flatten(1).square().sum(1) for grad in grads]).sum(0).sqrt()
    scale = (most / (norm + 1e-6)).clamp(max=1.0)
    return [grad * scale.view(-1, *[1] * (grad.dim() - 1)) for grad in grads], norm


def polyak(target: Params, source: Params, tau: float) -> None:
    """target <- (1 - tau) target + tau source, in place."""
    torch._foreach_lerp_(list(target.values()), list(source.values()), tau)


def clone(params: Params) -> Params:
    """A copy that shares no memory: the first state of a target network."""
    return {name: value.clone() for name, value in params.items()}


def assign(params: Params, saved: Params) -> None:
    """Copy saved values into the existing tensors (optimisers and captured graphs hold on to those)."""
    if params.keys() != saved.keys():
        raise ValueError(f"parameter names differ: {sorted(params.keys() ^ saved.keys())}")
    for name, value in params.items():
        value.copy_(saved[name])


def cosine(learning_rate: float, step: int, steps: int) -> float:
    """The rate of update `step` (from 0), falling from `learning_rate` to 0 over `steps` updates."""
    return 0.5 * learning_rate * (1 + math.cos(math.pi * min(step / steps, 1.0)))
