"""Pictures from numbers: what frames a ring keeps, how data hold them, and the shift of what is learned from."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
import torch

from rlbench.data import frames
from rlbench.data.frames import Ring, Sight, numbers
from rlbench.errors import UsageError
from rlbench.nets.pictures import SHIFT
from rlbench.rng import SeedStreams

SHAPE = (3, 6, 6)
WIDTH = 3 * 6 * 6


def streams(seeds: int = 2) -> SeedStreams:
    return SeedStreams(range(seeds), "shift")


def test_the_first_frame_of_an_episode_stands_for_those_before() -> None:
    frame, start = np.array([0, 1, 2, 3, 5, 6]), np.array([0, 0, 0, 0, 5, 5])
    expected = [[0, 0, 0], [0, 0, 1], [0, 1, 2], [1, 2, 3], [5, 5, 5], [5, 5, 6]]
    np.testing.assert_array_equal(numbers(frame, start, 3), expected)


def test_a_ring_gives_back_what_was_seen() -> None:
    """Two seeds whose episodes end at different times, three times round the ring: every picture of the newest rows is
    the stack of frames that was there, and a ring that was saved and loaded has the same ones."""
    rng = np.random.default_rng(0)
    rows, count = 10, 3
    ring = Ring(2, rows, SHAPE, count)
    sight = Sight(streams(), SHAPE, ring=ring)
    stacks: list[deque[np.ndarray]] = []
    lengths = (4, 1)

    def picture(seed: int) -> np.ndarray:
        return np.concatenate(stacks[seed]).astype(np.float32)

    def frame() -> np.ndarray:
        return rng.integers(0, 256, WIDTH).astype(np.uint8)

    for seed in range(2):
        stacks.append(deque([frame()] * count, maxlen=count))
        ring.begin(seed, picture(seed))
    kept: deque[tuple[Any, ...]] = deque(maxlen=rows)
    for step in range(1, 60):
        before = [picture(seed) for seed in range(2)]
        for stack in stacks:
            stack.append(frame())
        after = [picture(seed) for seed in range(2)]
        kept.append((before, after, *ring.follow(np.array(after))))
        for seed, length in enumerate(lengths):
            if step % length == 0:
                stacks[seed] = deque([frame()] * count, maxlen=count)
                ring.begin(seed, picture(seed))
    assert ring.added.min() > 2 * ring.size
    again = Ring(2, rows, SHAPE, count)
    again.load_state_dict(ring.state_dict())
    for look in (sight, Sight(streams(), SHAPE, ring=again)):
        for before, after, seen, following in kept:
            for pictures, found in ((before, seen), (after, following)):
                np.testing.assert_array_equal(look.frames(found).flatten(1).numpy(), np.array(pictures))
    np.testing.assert_array_equal(again.recent, ring.recent)


def test_numbers_are_of_data_or_of_the_ring() -> None:
    data = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    ring = Ring(1, 2, SHAPE, 1)
    ring.begin(0, np.full(WIDTH, 7.0))
    found = Sight(streams(1), SHAPE, data, ring).frames(torch.tensor([[[4.0], [-1.0], [0.0]]]))
    np.testing.assert_array_equal(found[0, :, 0], np.stack([data[4].ravel(), np.full(WIDTH, 7), data[0].ravel()]))


def test_every_picture_is_shifted_by_itself_and_its_frames_alike() -> None:
    """All 81 shifts occur, each frame of a picture has the same one, and seeds draw their own."""
    plane = np.arange(36, dtype=np.uint8).reshape(6, 6)
    data = np.broadcast_to(plane, (2, *SHAPE)).copy()
    sight = Sight(streams(), SHAPE, data)
    found = sight(torch.tensor([0.0, 1.0]).expand(2, 2000, 3, 2)).view(2, 2000, 3 * 2 * 3, 6, 6)
    assert (found == found[:, :, :1]).all()  # steps, frames and colours
    first = found[:, :, 0].long()
    # Pixels 2 and 3 are never beyond the edge for shifts of up to 2.
    shifts = torch.stack([first[..., 2, 2] // 6 - 2, first[..., 2, 2] % 6 - 2], -1)
    assert (shifts[0] != shifts[1]).any()
    assert shifts.amin() == -2  # what is beyond shows the edge
    assert shifts.amax() == SHIFT - 1  # 2 + 4 is beyond too: pixel 5
    counts = torch.bincount((shifts[0, :, 0] + 2) * 6 + shifts[0, :, 1] + 2, minlength=36).view(6, 6) / 2000
    share = torch.tensor([3.0, 1, 1, 1, 1, 2]) / 9
    assert (counts - share[:, None] * share).abs().max() < 0.03


def test_a_table_beyond_exact_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST", 40)
    with pytest.raises(UsageError, match=r"algo\.buffer_size="):
        Ring(2, 10, SHAPE, 1)
