"""Who is who: SORT (Bewley et al., 2016), a Kalman filter over boxes and an assignment by overlap; and who the fighters are."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment

MATCH = 0.1  # least overlap of a box with a track's predicted one
CONFIRM = 2  # frames in a row before a track counts
BUFFER = 30  # frames a lost track is kept
NEW = 0.7  # least score that begins a track
WARM_UP = 0.3  # seconds for which everybody is watched before the fighters are named


def overlaps(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes [n, 4] with boxes [m, 4]: [n, m]."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    return shared / np.maximum(area_a[:, None] + area_b[None] - shared, 1e-6)


class Sort:
    """All tracks in arrays: state [n, 8] (centre, size and their velocities a frame) and covariance [n, 8, 8]."""

    TRANSITION = np.eye(8) + np.eye(8, k=4)

    def __init__(self):
        self.state, self.covariance = np.zeros((0, 8)), np.zeros((0, 8, 8))
        self.ids, self.hits, self.missed = (np.zeros(0, int) for _ in range(3))
        self.next_id = 1
        self.frames = 0
        self.begun: float | None = None
        self.fighters: dict[int, str] = {}
        self.watched: dict[int, list[np.ndarray]] = {}

    def boxes(self) -> np.ndarray:
        centre, size = self.state[:, :2], self.state[:, 2:4]
        return np.concatenate([centre - size / 2, centre + size / 2], axis=1)

    def update(self, boxes: np.ndarray, scores: np.ndarray, seconds: float) -> tuple[np.ndarray, list[dict]]:
        """Takes the boxes [n, 4] of a frame; gives each its track (0: none yet) and a row for every track."""
        self.frames += 1
        self.predict()
        given = np.zeros(len(boxes), int)
        matched = np.zeros(len(self.ids), bool)
        if len(boxes) and len(self.ids):
            shared = overlaps(self.boxes(), boxes)
            for track, box in zip(*linear_sum_assignment(-shared)):
                if shared[track, box] > MATCH:
                    given[box], matched[track] = self.ids[track], True
                    self.correct(track, boxes[box])
        self.hits[matched] += 1
        self.missed[matched] = 0
        self.missed[~matched] += 1
        # A track that was never confirmed does not survive being missed.
        keep = (self.missed == 0) | ((self.hits >= CONFIRM) & (self.missed <= BUFFER))
        self.choose(keep)
        for box in np.flatnonzero((given == 0) & (scores >= NEW)):
            given[box] = self.begin(boxes[box])
        self.name(seconds)
        return given, self.rows()

    def predict(self) -> None:
        self.state = self.state @ self.TRANSITION.T
        deviation = np.concatenate([self.state[:, 2:4] / 20, self.state[:, 2:4] / 20] + [self.state[:, 2:4] / 160] * 2, axis=1)
        self.covariance = self.TRANSITION @ self.covariance @ self.TRANSITION.T
        self.covariance[:, range(8), range(8)] += deviation**2

    def correct(self, track: int, box: np.ndarray) -> None:
        measured = np.concatenate([(box[:2] + box[2:]) / 2, box[2:] - box[:2]])
        covariance = self.covariance[track]
        noise = np.diag(np.tile(self.state[track, 2:4] / 20, 2) ** 2)
        gain = np.linalg.solve(covariance[:4, :4] + noise, covariance[:4]).T
        self.state[track] += gain @ (measured - self.state[track, :4])
        self.covariance[track] = covariance - gain @ covariance[:4]

    def begin(self, box: np.ndarray) -> int:
        size = box[2:] - box[:2]
        state = np.concatenate([(box[:2] + box[2:]) / 2, size, np.zeros(4)])
        covariance = np.diag(np.concatenate([np.tile(size / 10, 2), np.tile(size / 16, 2)]) ** 2)
        self.state = np.concatenate([self.state, state[None]])
        self.covariance = np.concatenate([self.covariance, covariance[None]])
        self.ids = np.append(self.ids, self.next_id)
        # What is there in the first frame is confirmed at once.
        self.hits = np.append(self.hits, CONFIRM if self.frames == 1 else 1)
        self.missed = np.append(self.missed, 0)
        self.next_id += 1
        return self.next_id - 1

    def choose(self, keep: np.ndarray) -> None:
        self.state, self.covariance = self.state[keep], self.covariance[keep]
        self.ids, self.hits, self.missed = self.ids[keep], self.hits[keep], self.missed[keep]

    def name(self, seconds: float) -> None:
        """After the warm-up the two tallest are the fighters, from left to right."""
        if self.fighters:
            return
        for track, box in zip(self.ids, self.boxes()):
            self.watched.setdefault(int(track), []).append(box)
        if self.begun is None and len(self.ids):
            self.begun = seconds
        if self.begun is None or seconds - self.begun < WARM_UP:
            return
        mean = {track: np.mean(boxes, axis=0) for track, boxes in self.watched.items()}
        tallest = sorted(mean, key=lambda track: mean[track][1] - mean[track][3])[:2]
        for number, track in enumerate(sorted(tallest, key=lambda track: mean[track][0]), 1):
            self.fighters[track] = f"fighter_{number}"

    def rows(self) -> list[dict]:
        rows = []
        for track, box, hits, missed in zip(self.ids.tolist(), self.boxes().tolist(), self.hits, self.missed):
            state = "tentative" if hits < CONFIRM else "confirmed" if missed == 0 else "lost"
            rows.append({"track": track, "fighter": self.fighters.get(track, ""), "state": state, "box": box})
        return rows
