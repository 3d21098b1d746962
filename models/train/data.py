"""Recordings of motion, as `sideline-lab eval moves DIR --export FILE.parquet` writes them, cut into windows and varied.

What is varied here is linear in velocities and accelerations, so it can be done after the product's own `motion` has run:
mirror images, view angles, tempo, the noise of a pose model, joints that it loses.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as parquet
import torch

from nets import FEET, INTERACTION, JOINTS, TRUNK

RATE = 30.0
# The place in JOINTS of the joint on the other side of the body: from the shoulders on, left joints have odd numbers.
MIRROR = [JOINTS.index(joint if joint == 0 else joint + (1 if joint % 2 else -1)) for joint in JOINTS]
LIMBS = ((13, 15), (14, 16), (25, 27, 31), (26, 28, 32))


@dataclass
class Recording:
    """One person in one recording, 30 frames a second."""

    set: str
    kind: str
    licence: str
    person: str
    name: str
    motion: np.ndarray  # [frames, 198]
    interaction: np.ndarray  # [frames, 6]
    # Of each frame, the labels it may have: several where the data do not tell them apart, none where nothing is known.
    labels: list[tuple[str, ...]]
    # Strikes whose moments are known: the frame of the peak, and the label.
    strikes: list[tuple[int, tuple[str, ...]]]

    def labels_at(self, end: int, frames: int, focus: int) -> tuple[str, ...]:
        """The labels of the window [end - frames, end): of the strike that is nearest to its focus, else of the focus."""
        middle = max(end - 1 - focus, end - frames)
        # A peak at the very edge of the window is not seen.
        seen = [(abs(peak - middle), labels) for peak, labels in self.strikes if end - frames + 2 <= peak < end - 2]
        return min(seen)[1] if seen else self.labels[middle]


def read(path: str) -> list[Recording]:
    """All recordings of a file.

    Raises KeyError for a column that is not there, and what pyarrow raises for a file that is none.
    """
    table = parquet.read_table(path)
    text = {name: table[name].to_pylist() for name in ("set", "kind", "licence", "person", "recording", "label")}
    strikes = np.stack([table[name].to_numpy() for name in ("strike_start", "strike_peak")], 1)
    values = {name: table[name].combine_chunks().flatten().to_numpy().reshape(len(table), -1) for name in ("motion", "interaction")}
    recordings = []
    begin = 0
    for end in range(1, len(table) + 1):
        same = end < len(table) and all(text[name][end] == text[name][begin] for name in ("set", "person", "recording"))
        if same:
            continue
        rows = slice(begin, end)
        labels = [tuple(filter(None, label.split("|"))) for label in text["label"][rows]]
        known = {int(peak): label for (_, peak), label in zip(strikes[rows], labels) if peak >= 0}
        recordings.append(Recording(
            *(text[name][begin] for name in ("set", "kind", "licence", "person", "recording")),
            values["motion"][rows], values["interaction"][rows], labels, sorted(known.items()),
        ))
        begin = end
    return recordings


def windows(recordings, step, longest, seed=None):
    """Windows of `longest` frames as (recording, end). With a seed the first ends anywhere within the first step."""
    random = np.random.default_rng(seed)
    where = []
    for at, recording in enumerate(recordings):
        first = 0 if seed is None else int(random.integers(step))
        where += [(at, end) for end in range(longest + first, len(recording.motion) + 1, step)]
    return np.array(where, dtype=np.int64).reshape(-1, 2)


def truths(recordings, where, labels, frames, focus):
    """What the last `frames` frames of each window may be: [n, labels] of 0 and 1, all 0 where nothing is known."""
    allowed = np.zeros((len(where), len(labels)), np.float32)
    for row, (at, end) in enumerate(where):
        names = recordings[at].labels_at(int(end), frames, focus)
        if all(name in labels for name in names):
            allowed[row] = [label in names for label in labels]
    return allowed


def cut(recordings, where, longest, tempo=None):
    """Windows as tensors, [n, longest, 2, JOINTS, 3] and [n, longest, 6]; `tempo` plays each so much faster up to its end."""
    rows = np.empty((len(where), longest, 2, len(JOINTS), 3), np.float32)
    interaction = np.empty((len(where), longest, INTERACTION), np.float32)
    for row, (at, end) in enumerate(where):
        recording = recordings[at]
        motion = recording.motion.reshape(-1, 2, 33, 3)
        if tempo is None:
            rows[row] = motion[end - longest : end][:, :, JOINTS]
            interaction[row] = recording.interaction[end - longest : end]
            continue
        times = np.clip(end - 1 - np.arange(longest - 1, -1, -1) * tempo[row], 0, end - 1)
        low = np.minimum(times.astype(int), end - 2)
        share = (times - low)[:, None, None, None].astype(np.float32)
        near = motion[low[0] : end][:, :, JOINTS]
        low = low - low[0]
        rows[row] = near[low] * (1 - share) + near[low + 1] * share
        rows[row] *= np.array([tempo[row], tempo[row] ** 2], np.float32)[:, None, None]
        interaction[row] = recording.interaction[np.round(times).astype(int)]
    return torch.from_numpy(rows), torch.from_numpy(interaction)


def derivatives() -> tuple[np.ndarray, np.ndarray]:
    """What `motion` multiplies the last four samples with: least squares of a quadratic over 0.1 s."""
    times = np.arange(-3, 1) / RATE
    inverse = np.linalg.pinv(np.stack([np.ones(4), times, times**2], 1))
    return inverse[1], 2 * inverse[2]


VELOCITY, ACCELERATION = derivatives()


def vary(rows, interaction, random: torch.Generator):
    """The same moves, seen otherwise: other sides, angles, sizes, noise, and joints that are not seen."""
    n, frames = rows.shape[:2]
    joints = len(JOINTS)

    def chance(share, *shape):
        return torch.rand(n, *shape, generator=random) < share

    def between(low, high, *shape):
        return low + (high - low) * torch.rand(n, *shape, generator=random)

    mirrored = rows[:, :, :, MIRROR] * torch.tensor([-1.0, 1.0, 1.0])
    rows = torch.where(chance(0.5)[:, None, None, None, None], mirrored, rows)
    # Half of them as clean as they were recorded, half as a pose model would see them.
    hard = chance(0.5)
    # The camera's place: any side, and up to 20 degrees above or below.
    yaw, pitch = between(-np.pi, np.pi), between(-0.35, 0.35) * hard
    x, y, z = rows.unbind(-1)
    c, s = (f(yaw)[:, None, None, None] for f in (torch.cos, torch.sin))
    x, z = c * x + s * z, c * z - s * x
    c, s = (f(pitch)[:, None, None, None] for f in (torch.cos, torch.sin))
    y, z = c * y + s * z, c * z - s * y
    # Depth is what a pose model knows least: mostly too little of it, sometimes none.
    depth = torch.where(hard, between(0.5, 1.1) * ~chance(0.2), 1.0)
    rows = torch.stack([x, y, z * depth[:, None, None, None]], -1) * between(0.8, 1.25)[:, None, None, None, None]
    # Noise of places, through the same filter as the places.
    size = (between(0.0, 0.03) * hard)[:, None, None, None] * torch.tensor([1.0, 1.0, 2.0])
    noise = torch.randn(n, frames + 3, joints, 3, generator=random) * size
    for order, weights in enumerate((VELOCITY, ACCELERATION)):
        rows[:, :, order] += sum(float(w) * noise[:, k : k + frames] for k, w in enumerate(weights))
    # What is not seen: single joints for a while, a whole limb; and, in hard and clean ones, the joints that markers lack.
    lost = torch.zeros(n, frames, joints, dtype=torch.bool)
    begin = torch.rand(n, joints, generator=random) * 1.5 - 0.25
    length = torch.rand(n, joints, generator=random) * 0.6
    now = torch.arange(frames)[None, :, None] / frames
    lost |= chance(0.12, joints)[:, None] & (now >= begin[:, None]) & (now < (begin + length)[:, None])
    for limb in LIMBS:
        lost[:, :, [JOINTS.index(joint) for joint in limb]] |= chance(0.04)[:, None, None]
    lost &= hard[:, None, None]
    for group in (TRUNK, FEET):
        lost[:, :, [JOINTS.index(joint) for joint in group]] |= chance(0.5)[:, None, None]
    rows = rows.masked_fill(lost[:, :, None, :, None], float("nan"))
    return rows, interaction.masked_fill(chance(0.5)[:, None, None], float("nan"))
