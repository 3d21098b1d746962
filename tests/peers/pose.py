"""BlazePose by onnxruntime, with crops by OpenCV: the same models and the same rules as `operators/pose`.

The detector looks at whole frames and at squares along them in turn; whoever was found is followed from frame to frame by
their own landmarks, so that most frames cost one landmark run a person. Coordinates are pixels of the frame.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

DETECTOR_SIZE = 224
LANDMARK_SIZE = 256
JOINTS = 33
LIMBS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]


@dataclass(frozen=True)
class Settings:
    """The keys of `operators/pose`, with its defaults."""

    max_people: int = 3
    detect_every: int = 15
    tiles: int = 3
    detect_score: float = 0.5
    pose_score: float = 0.5


@dataclass(frozen=True)
class Region:
    """A square around a person: centre, side, radians clockwise."""

    x: float
    y: float
    size: float
    rotation: float = 0.0

    @staticmethod
    def of(centre, scale_point) -> Region:
        dx, dy = float(scale_point[0] - centre[0]), float(scale_point[1] - centre[1])
        rotation = math.pi / 2 - math.atan2(-dy, dx)
        rotation -= 2 * math.pi * math.floor((rotation + math.pi) / (2 * math.pi))
        return Region(float(centre[0]), float(centre[1]), 2 * math.hypot(dx, dy) * 1.25, rotation)

    def usable(self, width: int, height: int) -> bool:
        def near(at: float, side: int) -> bool:
            return -self.size / 4 < at < side + self.size / 4

        sized = 8 < self.size < 2 * max(width, height)
        return sized and near(self.x, width) and near(self.y, height) and math.isfinite(self.rotation)

    def same_person(self, other: Region) -> bool:
        least, most = min(self.size, other.size), max(self.size, other.size)
        return math.hypot(self.x - other.x, self.y - other.y) < 0.15 * most and least > 0.6 * most

    def matrix(self, side: int) -> np.ndarray:
        """Takes points of the model's input (pixels, corner at 0) to the frame: 2x3."""
        scale = self.size / side
        cos, sin = math.cos(self.rotation) * scale, math.sin(self.rotation) * scale
        half = side / 2
        return np.array([
            [cos, -sin, self.x - cos * half + sin * half],
            [sin, cos, self.y - sin * half - cos * half],
        ])  # fmt: skip


@dataclass
class Person:
    """Someone seen in a frame."""

    score: float
    joints: np.ndarray  # [33, 4]: x, y, z in pixels, visibility
    world: np.ndarray  # [33, 3]: meters from between the hips
    next: Region
    box: np.ndarray  # x1 y1 x2 y2


def sigmoid(logits: np.ndarray) -> np.ndarray:
    # Clipped: exp of a float32 overflows at 88.
    return 1 / (1 + np.exp(-np.clip(logits, -80, 80)))


def anchors() -> np.ndarray:
    """Centers of the detector's 2254 anchors, 0..1 of its input."""
    centers = []
    for stride, count in ((8, 2), (16, 2), (32, 6)):
        cells = DETECTOR_SIZE // stride
        y, x = np.divmod(np.arange(cells * cells), cells)
        centers.append(np.repeat((np.column_stack([x, y]) + 0.5) / cells, count, axis=0))
    return np.concatenate(centers).astype(np.float32)


def overlap(a, b) -> float:
    """Intersection over union of two boxes x1 y1 x2 y2."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


class BlazePose:
    """Both models, and where each person is looked for in the next frame."""

    def __init__(self, folder: Path, model: str, threads: int, settings: Settings = Settings()):
        def load(name: str) -> onnxruntime.InferenceSession:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads  # 0: onnxruntime's own default
            return onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])

        self.detector = load("blazepose_detector")
        self.landmarks = load(f"blazepose_{model}_n")
        self.anchors = anchors()
        self.settings = settings
        self.regions: list[Region] = []
        self.since_look, self.owed, self.look = 0, 0, 0

    def process(self, frame: np.ndarray) -> list[Person]:
        """The people of a BGR frame, those followed longest first."""
        settings, seen, lost = self.settings, [], None
        for region in self.regions:
            person = self.look_at(frame, region)
            if person is None:
                lost = lost or region
            elif all(distance(other, person) > 0.06 for other in seen):
                seen.append(person)
        if len(seen) < len(self.regions):
            self.owed = settings.tiles + 2
        self.since_look += 1
        if self.time_to_detect(len(seen)):
            self.since_look = 0
            self.owed = max(0, self.owed - 1)
            if lost is not None:
                square = Region(lost.x, lost.y, lost.size * 1.5)
            else:
                square = self.square(frame)
                self.look += 1
            for region in self.detect(frame, square):
                self.take_in(frame, region, seen)
        if len(seen) >= settings.max_people:
            self.owed = 0
        self.regions = [person.next for person in seen]
        return seen

    def time_to_detect(self, seen: int) -> bool:
        every = self.settings.detect_every
        if seen >= self.settings.max_people:
            return self.since_look >= 4 * every
        return seen == 0 or self.owed > 0 or self.since_look >= every

    def square(self, frame: np.ndarray) -> Region:
        """The whole frame, then squares of its short side along the long one."""
        height, width = frame.shape[:2]
        tiles = self.settings.tiles
        place = self.look % (tiles + 1)
        if place == 0:
            return Region(width / 2, height / 2, max(width, height))
        short, long = min(width, height), max(width, height)
        along = long / 2 if tiles == 1 else short / 2 + (long - short) * (place - 1) / (tiles - 1)
        x, y = (along, short / 2) if width >= height else (short / 2, along)
        return Region(x, y, short)

    def detect(self, frame: np.ndarray, square: Region) -> list[Region]:
        """Regions of the people in an upright square of the frame, best first."""
        height, width = frame.shape[:2]
        x1, y1 = round(square.x - square.size / 2), round(square.y - square.size / 2)
        side = round(square.size)
        crop = frame[max(0, y1) : min(height, y1 + side), max(0, x1) : min(width, x1 + side)]
        borders = (max(0, -y1), max(0, y1 + side - height), max(0, -x1), max(0, x1 + side - width))
        if any(borders):
            crop = cv2.copyMakeBorder(crop, *borders, cv2.BORDER_CONSTANT, value=0)
        small = cv2.cvtColor(cv2.resize(crop, (DETECTOR_SIZE,) * 2, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)
        tensor = small.astype(np.float32) * np.float32(1 / 127.5) - np.float32(1)
        values, logits = self.detector.run(["Identity", "Identity_1"], {"input_1": tensor[None]})
        scores = sigmoid(logits[0, :, 0])
        chosen = np.flatnonzero(scores > self.settings.detect_score)
        points = values[0, chosen].reshape(-1, 6, 2) / DETECTOR_SIZE
        points[:, [0, 2, 3, 4, 5]] += self.anchors[chosen, None]
        kept: list[tuple[np.ndarray, Region]] = []
        for i in np.argsort(-scores[chosen], kind="stable"):
            centre, extent = points[i, 0], points[i, 1]
            box = np.concatenate([centre - extent / 2, centre + extent / 2])
            if all(overlap(box, other) <= 0.3 for other, _ in kept):
                hips, scale = (points[i, k] * side + (x1, y1) for k in (2, 3))
                kept.append((box, Region.of(hips, scale)))
        return [region for _, region in kept]

    def take_in(self, frame: np.ndarray, region: Region, seen: list[Person]) -> None:
        """Follows a detected person, if they are new and there is a place."""
        if any(person.next.same_person(region) for person in seen):
            return
        place = None
        if len(seen) >= self.settings.max_people:
            place = min(range(len(seen)), key=lambda i: seen[i].next.size)
            if seen[place].next.size * 1.3 >= region.size:
                return
        first = self.look_at(frame, region)
        person = first and self.look_at(frame, first.next)
        if person is None:
            return
        for other in seen:
            if overlap(person.box, other.box) > 0.5 or other.next.same_person(person.next):
                return
        if place is not None:
            seen.pop(place)
        seen.append(person)

    def look_at(self, frame: np.ndarray, region: Region) -> Person | None:
        """The landmarks of the person in a region, if there is one."""
        height, width = frame.shape[:2]
        if not region.usable(width, height):
            return None
        matrix = region.matrix(LANDMARK_SIZE)
        # OpenCV counts from pixel centers, the matrix from corners.
        centered = matrix.copy()
        centered[:, 2] += centered[:, :2] @ (0.5, 0.5) - 0.5
        crop = cv2.warpAffine(frame, centered, (LANDMARK_SIZE,) * 2, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
        tensor = cv2.cvtColor(crop, cv2.COLOR_BGR2RGB).astype(np.float32) * np.float32(1 / 255)
        values, score, meters = self.landmarks.run(["Identity", "Identity_1", "Identity_4"], {"input_1": tensor[None]})
        score = float(score[0, 0])
        if not score >= self.settings.pose_score:
            return None
        rows = values[0].reshape(39, 5)
        points = rows[:, :2] @ matrix[:, :2].T + matrix[:, 2]
        following = Region.of(points[33], points[34])
        joints = np.empty((JOINTS, 4), np.float32)
        joints[:, :2] = points[:JOINTS]
        joints[:, 2] = rows[:JOINTS, 2] / LANDMARK_SIZE * region.size
        joints[:, 3] = sigmoid(rows[:JOINTS, 3])
        cos, sin = math.cos(region.rotation), math.sin(region.rotation)
        world = meters[0].reshape(39, 3)[:JOINTS].copy()
        world[:, :2] = world[:, :2] @ np.array([[cos, sin], [-sin, cos]], np.float32)
        if not following.usable(width, height):
            return None
        margin = 0.04 * following.size
        low, high = joints[:, :2].min(0) - margin, joints[:, :2].max(0) + margin
        box = np.clip(np.concatenate([low, high]), 0, (width, height, width, height))
        return Person(score, joints, world, following, box)


def distance(a: Person, b: Person) -> float:
    """Mean distance of the limbs' joints, as a share of the larger region."""
    apart = a.joints[LIMBS, :2] - b.joints[LIMBS, :2]
    return float(np.hypot(apart[:, 0], apart[:, 1]).mean()) / max(a.next.size, b.next.size)
