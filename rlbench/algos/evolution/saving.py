"""States of searches as what a checkpoint may hold (tensors, numbers, strings, lists, dicts, None), and back."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from types import UnionType
from typing import Any, cast, get_args, get_origin, get_type_hints

import numpy as np
import torch

from rlbench.algos.evolution.distribution import Distribution


def plain(value: Any) -> Any:
    """A dataclass of arrays, generators, numbers, and lists and dataclasses of such, as plain data."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, np.random.Generator):
        return value.bit_generator.state
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, Distribution):
        return value.state_dict()
    if is_dataclass(value):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    return value


def restored(kind: Any, data: Any) -> Any:
    """What `plain` made of an object of this type, as that object."""
    if kind is np.ndarray:
        return data.numpy().copy()
    if kind is np.random.Generator:
        generator = np.random.default_rng()
        generator.bit_generator.state = data
        return generator
    if isinstance(kind, UnionType):  # with None
        return None if data is None else restored(get_args(kind)[0], data)
    if get_origin(kind) is list:
        return [restored(get_args(kind)[0], each) for each in data]
    if kind is Distribution:
        return Distribution.of_state(data)
    if is_dataclass(kind):
        return cast(type, kind)(**{name: restored(hint, data[name]) for name, hint in get_type_hints(kind).items()})
    return data
