"""How a track moves: the 198 values, 20 joint angles and a norm, as `operators/motion` defines them, in numpy.

Velocities and accelerations of 33 joints, hip-centered, in torso lengths a second: those of a quadratic fitted to the last
tenth of a second. NaN is 'not seen'.
"""

from __future__ import annotations

from collections import deque

import numpy as np

VISIBILITY = 0.5
WINDOW = 0.1005  # seconds, with half a millisecond for rounded times
TORSO_MEMORY = 2.0
MAX_GAP = 0.5
ANGLES = np.array([
    [11, 13, 15], [12, 14, 16], [13, 11, 23], [14, 12, 24], [12, 11, 13], [11, 12, 14], [13, 15, 19], [14, 16, 20],
    [11, 23, 25], [12, 24, 26], [24, 23, 25], [23, 24, 26], [23, 25, 27], [24, 26, 28], [25, 27, 31], [26, 28, 32],
    [7, 11, 23], [8, 12, 24], [0, 11, 12], [0, 12, 11],
])  # fmt: skip


def weights(times: np.ndarray) -> np.ndarray:
    """What samples at these times (newest last, at 0) are multiplied with for the derivatives at 0: [2, n]."""
    if len(times) == 2:
        slope = 1 / (times[1] - times[0])
        return np.array([[-slope, slope], [np.nan, np.nan]])
    # Solved on -1..0, or the powers of small times would lose digits.
    span = -times[0]
    fit = np.linalg.pinv(np.vander(times / span, 3, increasing=True))
    return np.stack([fit[1] / span, 2 * fit[2] / span**2])


class Person:
    """The recent past of one track."""

    def __init__(self):
        self.times: deque[float] = deque()
        self.samples: deque[np.ndarray] = deque()
        self.runs = np.zeros(33, int)  # samples in a row, up to the newest, in which each joint was seen
        self.torsos: deque[tuple[float, float]] = deque()

    def see(self, joints: np.ndarray, world: np.ndarray, now: float) -> dict:
        """Takes in a pose; the row of the table `motion`."""
        place = world - (world[23] + world[24]) / 2
        place = np.where(joints[:, 3:4] >= VISIBILITY, place, np.nan)
        while len(self.samples) >= 3 and self.times[0] < now - WINDOW:
            self.times.popleft(), self.samples.popleft()
        self.times.append(now), self.samples.append(place)
        self.runs = np.where(np.isnan(place[:, 0]), 0, np.minimum(self.runs + 1, len(self.samples)))
        torso = self.torso(place, now)

        derivatives = np.full((2, 33, 3), np.nan)
        times, samples = np.array(self.times) - now, np.array(self.samples)
        for run in np.unique(self.runs[self.runs >= 2]):
            chosen = self.runs == run
            derivatives[:, chosen] = np.tensordot(weights(times[-run:]), samples[-run:, chosen], axes=1) / torso
        velocity = derivatives[0]
        norm = float(np.sqrt(np.nansum(velocity**2))) if (self.runs >= 2).any() else float("nan")
        return {
            "velocity": velocity, "acceleration": derivatives[1], "joint_angles": angles(place), "velocity_norm": norm,
        }  # fmt: skip

    def torso(self, place: np.ndarray, now: float) -> float:
        length = float(np.linalg.norm((place[11] + place[12] - place[23] - place[24]) / 2))
        while self.torsos and now - self.torsos[0][0] > TORSO_MEMORY:
            self.torsos.popleft()
        if np.isfinite(length) and length > 0:
            self.torsos.append((now, length))
        return float(np.median([length for _, length in self.torsos])) if self.torsos else float("nan")


def angles(place: np.ndarray) -> np.ndarray:
    a, b, c = (place[ANGLES[:, i]] for i in range(3))
    one, two = a - b, c - b
    sine = np.linalg.norm(np.cross(one, two), axis=1)
    return np.arctan2(sine, (one * two).sum(axis=1))


class Motion:
    """All tracks."""

    def __init__(self):
        self.people: dict[int, Person] = {}

    def update(self, poses: list[tuple[int, np.ndarray, np.ndarray]], now: float) -> dict[int, dict]:
        """Takes (track, joints, world) of a frame; a row for each track."""
        self.people = {track: person for track, person in self.people.items() if now - person.times[-1] <= MAX_GAP}
        return {
            track: self.people.setdefault(track, Person()).see(joints, world, now) for track, joints, world in poses if track
        }
