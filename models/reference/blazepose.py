"""BlazePose in numpy: an independent reference for what the `pose` operator computes.

    python blazepose.py VIDEO --frames 10,20 [--model lite|full|heavy] [--tiles N] --json OUT [--draw FOLDER]
    python blazepose.py --i420 FILE --size 1280x720 [--matrix bt601|bt709] --frames 0,1 --json OUT

Every frame is treated by itself: detector, then one landmark run per detection. `next_region` is where the landmarks of
the following frame would be looked for, so a test can also follow a person without the detector.

Conventions, all of which a second implementation must share to agree to float rounding:

- Coordinates are pixels of the frame, continuous: the frame spans [0, width] x [0, height], and the centre of the first
  pixel is (0.5, 0.5). y points down. Rotation is in radians, positive turns x towards y (clockwise on the screen).
- A region is a square (centre, size, rotation). Model input pixel (row i, column j) of n x n samples the region at
  u = (j + 0.5)/n - 0.5, v = (i + 0.5)/n - 0.5, that is the frame at centre + size * R(rotation) (u, v).
  Samples are bilinear in float; what lies outside the frame is black. `taps` > 1 averages taps x taps samples per model
  pixel, spread evenly over it, so that shrinking does not alias.
- The detector looks at squares of the frame's short side, spread along the long one (`tiles`), because it does not see
  small people; `suppress` then leaves one detection a person: no non-maximum suppression is done per tile.
- Detector input is RGB scaled to -1..1 (black is -1), landmark input RGB scaled to 0..1. Frames are RGB 0..255.
- I420 to RGB: limited range, no rounding, clipped to 0..255, chroma by nearest sample (row >> 1, column >> 1):
  y' = 255/219 (Y - 16); r = y' + 2 (1 - Kr) c (V - 128); b = y' + 2 (1 - Kb) c (U - 128);
  g = (y' - Kr r - Kb b) / (1 - Kr - Kb) with unclipped r and b; c = 255/224; BT.601 Kr, Kb = 0.299, 0.114,
  BT.709 Kr, Kb = 0.2126, 0.0722.

cv2 is used only to read a video (its own BGR conversion, 8 bits) and to draw.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Iterator

import numpy as np
import onnxruntime

DETECTOR_SIZE = 224
LANDMARK_SIZE = 256
# Detector grid: (stride in model pixels, anchors per cell). 28 x 28 x 2 + 14 x 14 x 2 + 7 x 7 x 6 = 2254.
ANCHOR_LAYERS = ((8, 2), (16, 2), (32, 6))
REGION_SCALE = 1.25
# Detections with hips closer than this share of the smaller region are one person.
SAME_HIPS = 0.2
# Rows of the 39 landmarks: 33 joints, then the centre and the scale point of the next region; the last four are unused.
JOINTS = 33
REGION_CENTRE, REGION_SCALE_POINT = 33, 34

LIMBS = (
    (11, 12), (11, 13), (13, 15), (12, 14), (14, 16), (11, 23), (12, 24), (23, 24),
    (23, 25), (25, 27), (27, 31), (24, 26), (26, 28), (28, 32), (0, 7), (0, 8),
)  # fmt: skip


@dataclass(frozen=True)
class Region:
    """A square in the frame that a model looks at."""

    centre: tuple[float, float]
    size: float
    rotation: float = 0.0

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Maps points [..., 2] of the region, -0.5..0.5 from its centre, to pixels of the frame."""
        return np.asarray(self.centre) + self.size * points @ rotation_matrix(self.rotation).T


@dataclass(frozen=True)
class Detection:
    """A person as the detector sees them, in pixels of the frame."""

    score: float
    box: np.ndarray  # x1 y1 x2 y2: the face and shoulders' box, not the whole body
    keypoints: np.ndarray  # [4, 2]: hip centre, full-body scale and rotation, shoulder centre, upper-body scale


@dataclass(frozen=True)
class Pose:
    """What the landmark model says of a region."""

    score: float  # that there is a person, 0..1
    region: Region
    landmarks: np.ndarray  # [33, 3] pixels of the frame; z on the same scale, 0 at the hips, negative towards the camera
    visibility: np.ndarray  # [33] 0..1
    presence: np.ndarray  # [33] 0..1
    world: np.ndarray  # [33, 3] meters from the hip centre, turned upright with the frame
    next_region: Region


def rotation_matrix(angle: float) -> np.ndarray:
    return np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(np.asarray(logits, np.float64), -100, 100)))


def sample(frame: np.ndarray, region: Region, size: int, taps: int = 1) -> np.ndarray:
    """Samples a region of an RGB frame [height, width, 3] to float32 [size, size, 3]; see the conventions above."""
    steps = (np.arange(size * taps) + 0.5) / (size * taps) - 0.5
    u, v = np.meshgrid(steps, steps)
    position = region.to_frame(np.stack([u, v], axis=-1)) - 0.5  # now whole numbers are pixel centers
    corner = np.floor(position).astype(int)
    weight = position - corner
    height, width = frame.shape[:2]
    total = np.zeros(u.shape + (3,))
    for dx in (0, 1):
        for dy in (0, 1):
            x, y = corner[..., 0] + dx, corner[..., 1] + dy
            share = (weight[..., 0] if dx else 1 - weight[..., 0]) * (weight[..., 1] if dy else 1 - weight[..., 1])
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            pixels = frame[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
            total += pixels * (share * inside)[..., None]
    return total.reshape(size, taps, size, taps, 3).mean(axis=(1, 3)).astype(np.float32)


def anchors() -> np.ndarray:
    """Centers of the detector's 2254 anchors, 0..1 of its input: row by row, several per cell, coarser grids last."""
    centers = []
    for stride, count in ANCHOR_LAYERS:
        cells = DETECTOR_SIZE // stride
        y, x = np.divmod(np.arange(cells * cells), cells)
        centers.append(np.repeat((np.column_stack([x, y]) + 0.5) / cells, count, axis=0))
    return np.concatenate(centers)


def decode_detections(boxes: np.ndarray, logits: np.ndarray, region: Region, threshold: float) -> list[Detection]:
    """Decodes raw detector output ([2254, 12], [2254]) for the region it looked at. Overlaps are not yet suppressed."""
    scores = sigmoid(logits)
    chosen = np.flatnonzero(scores > threshold)
    # 12 values: box centre, box size, four key points; all in model pixels, all but the size relative to the anchor.
    values = boxes[chosen].reshape(-1, 6, 2).astype(np.float64) / DETECTOR_SIZE
    values[:, [0, 2, 3, 4, 5]] += anchors()[chosen, None]
    centre, extent, keypoints = values[:, 0], values[:, 1], values[:, 2:]
    corners = region.to_frame(np.stack([centre - extent / 2, centre + extent / 2], axis=1) - 0.5)
    keypoints = region.to_frame(keypoints - 0.5)
    return [
        Detection(float(score), box.reshape(4), points)
        for score, box, points in zip(scores[chosen], corners, keypoints)
    ]


def intersection_over_union(a: np.ndarray, b: np.ndarray) -> float:
    extent = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)
    shared = extent[0] * extent[1]
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def region_of(centre: np.ndarray, scale_point: np.ndarray) -> Region:
    """The region of a person whose hip centre and scale point are known: the point lies straight up when upright."""
    dx, dy = scale_point - centre
    rotation = math.pi / 2 - math.atan2(-dy, dx)
    rotation -= 2 * math.pi * math.floor((rotation + math.pi) / (2 * math.pi))  # to [-pi, pi)
    return Region((float(centre[0]), float(centre[1])), 2 * math.hypot(dx, dy) * REGION_SCALE, rotation)


def same_person(a: Detection, b: Detection, overlap: float) -> bool:
    """Whether two detections overlap by more than `overlap`, or have hips closer than SAME_HIPS of the smaller region.

    The second rule is for tiles: the box of one person may differ too much between two tiles for the first.
    """
    if intersection_over_union(a.box, b.box) > overlap:
        return True
    smaller = min(region_of(*d.keypoints[:2]).size for d in (a, b))
    return math.dist(a.keypoints[0], b.keypoints[0]) < SAME_HIPS * smaller


def suppress(detections: list[Detection], overlap: float = 0.3) -> list[Detection]:
    """Keeps the best detection of every person, best first; of equal scores the earlier one."""
    kept: list[Detection] = []
    for candidate in sorted(detections, key=lambda d: -d.score):
        if not any(same_person(candidate, other, overlap) for other in kept):
            kept.append(candidate)
    return kept


def decode_pose(landmarks: np.ndarray, score: float, world: np.ndarray, region: Region) -> Pose:
    """Decodes raw landmark output ([195], scalar, [117]) for the region it looked at."""
    rows = landmarks.reshape(39, 5).astype(np.float64)  # x, y, z in model pixels; visibility, presence as logits
    points = np.column_stack([
        region.to_frame(rows[:, :2] / LANDMARK_SIZE - 0.5),
        rows[:, 2] / LANDMARK_SIZE * region.size,
    ])  # fmt: skip
    meters = world.reshape(39, 3)[:JOINTS].astype(np.float64)
    meters[:, :2] = meters[:, :2] @ rotation_matrix(region.rotation).T
    return Pose(
        score=float(score),
        region=region,
        landmarks=points[:JOINTS],
        visibility=sigmoid(rows[:JOINTS, 3]),
        presence=sigmoid(rows[:JOINTS, 4]),
        world=meters,
        next_region=region_of(points[REGION_CENTRE, :2], points[REGION_SCALE_POINT, :2]),
    )


def whole_frame(width: int, height: int) -> list[Region]:
    """One square around the whole frame, black above and below or at the sides."""
    return [Region((width / 2, height / 2), float(max(width, height)))]


def tiles(width: int, height: int, count: int) -> list[Region]:
    """`count` squares as high (or wide) as the frame's short side, spread evenly along the long one, ends included."""
    short, long = min(width, height), max(width, height)
    places = np.linspace(short / 2, long - short / 2, count) if count > 1 else [long / 2]
    return [Region((float(p), short / 2) if width >= height else (short / 2, float(p)), float(short)) for p in places]


class BlazePose:
    """The two models. `folder` holds blazepose_detector.onnx and blazepose_<model>_n.onnx."""

    def __init__(self, folder: Path, model: str = "full"):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1

        def load(name: str, file: str) -> onnxruntime.InferenceSession:
            path = folder / file
            if not path.is_file():
                raise FileNotFoundError(f"{path} is missing; run: python models/convert/fetch.py {name}")
            return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        self._detector = load("blazepose_detector", "blazepose_detector.onnx")
        self._landmarks = load(f"blazepose_{model}", f"blazepose_{model}_n.onnx")

    def detect(
        self, frame: np.ndarray, regions: list[Region], threshold: float = 0.5, overlap: float = 0.3, taps: int = 1
    ) -> list[Detection]:
        """Finds persons in the regions of an RGB frame; one seen in two regions is given once."""
        found: list[Detection] = []
        for region in regions:
            tensor = sample(frame, region, DETECTOR_SIZE, taps) / np.float32(127.5) - np.float32(1)
            boxes, logits = self._detector.run(["Identity", "Identity_1"], {"input_1": tensor[None]})
            found += decode_detections(boxes[0], logits[0, :, 0], region, threshold)
        return suppress(found, overlap)

    def pose(self, frame: np.ndarray, region: Region) -> Pose:
        """The landmarks of the person in a region of an RGB frame."""
        tensor = sample(frame, region, LANDMARK_SIZE) / np.float32(255)
        landmarks, score, world = self._landmarks.run(["Identity", "Identity_1", "Identity_4"], {"input_1": tensor[None]})
        return decode_pose(landmarks[0], score[0, 0], world[0], region)


def i420_to_rgb(planes: np.ndarray, width: int, height: int, matrix: str = "bt601") -> np.ndarray:
    """Converts one I420 frame (bytes, rows without padding) to float RGB [height, width, 3]; see the conventions above."""
    kr, kb = {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722)}[matrix]
    rows, columns = (height + 1) // 2, (width + 1) // 2
    y, u, v = np.split(planes.astype(np.float64), [width * height, width * height + rows * columns])
    nearest = np.ix_(np.arange(height) >> 1, np.arange(width) >> 1)
    luma = (y.reshape(height, width) - 16) * 255 / 219
    cb, cr = ((plane.reshape(rows, columns)[nearest] - 128) * 255 / 224 for plane in (u, v))
    r = luma + 2 * (1 - kr) * cr
    b = luma + 2 * (1 - kb) * cb
    g = (luma - kr * r - kb * b) / (1 - kr - kb)
    return np.clip(np.stack([r, g, b], axis=-1), 0, 255)


def read_i420(path: Path, width: int, height: int, matrix: str, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a raw file of I420 frames one after the other."""
    frame_bytes = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2)
    with open(path, "rb") as file:
        for number in numbers:
            file.seek(number * frame_bytes)
            planes = np.frombuffer(file.read(frame_bytes), np.uint8)
            if len(planes) < frame_bytes:
                raise ValueError(f"{path}: there is no whole frame {number} of {width}x{height}")
            yield number, i420_to_rgb(planes, width, height, matrix)


def read_video(path: Path, numbers: list[int]) -> Iterator[tuple[int, np.ndarray]]:
    """Frames of a video, decoded from its beginning so that the numbers are exact."""
    import cv2

    capture = cv2.VideoCapture(str(path))
    wanted = set(numbers)
    for number in range(max(wanted) + 1):
        done, image = capture.read()
        if not done:
            raise ValueError(f"{path}: cannot be read as a video, or ends before frame {number}")
        if number in wanted:
            yield number, image[:, :, ::-1]


def draw(frame: np.ndarray, detections: list[Detection], poses: list[Pose], path: Path) -> None:
    """Writes a picture of the frame with detection boxes (blue), regions (yellow) and skeletons (green) on it."""
    import cv2

    image = np.ascontiguousarray(frame[:, :, ::-1]).astype(np.uint8)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]])
    for detection in detections:
        x1, y1, x2, y2 = (int(value) for value in detection.box)
        cv2.rectangle(image, (x1, y1), (x2, y2), (255, 0, 0), 2)
    for pose in poses:
        cv2.polylines(image, [pose.region.to_frame(corners).astype(np.int32)], True, (0, 255, 255), 1)
        points = [(int(x), int(y)) for x, y, _ in pose.landmarks]
        for start, end in LIMBS:
            cv2.line(image, points[start], points[end], (0, 255, 0), 2)
        for point in points:
            cv2.circle(image, point, 3, (0, 0, 255), -1)
    cv2.imwrite(str(path), image)


def region_json(region: Region) -> dict:
    return {"centre": list(region.centre), "size": region.size, "rotation": region.rotation}


def frame_json(number: int, detections: list[Detection], poses: list[Pose]) -> dict:
    return {
        "frame": number,
        "detections": [
            {
                "score": detection.score,
                "box": detection.box.tolist(),
                "keypoints": detection.keypoints.tolist(),
                "region": region_json(pose.region),
                "pose_score": pose.score,
                "landmarks": pose.landmarks.tolist(),
                "visibility": pose.visibility.tolist(),
                "presence": pose.presence.tolist(),
                "world": pose.world.tolist(),
                "next_region": region_json(pose.next_region),
            }
            for detection, pose in zip(detections, poses)
        ],
    }


def main() -> int:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("video", type=Path, nargs="?", metavar="VIDEO")
    parser.add_argument("--i420", type=Path, metavar="FILE", help="raw I420 frames instead of a video")
    parser.add_argument("--size", metavar="WxH", help="size of the raw frames")
    parser.add_argument("--matrix", choices=["bt601", "bt709"], default="bt601", help="colors of the raw frames")
    parser.add_argument("--frames", required=True, help="frame numbers from 0, with commas")
    parser.add_argument("--model", choices=["lite", "full", "heavy"], default="full")
    parser.add_argument("--models", type=Path, default=here.parent / "onnx", help="folder of the ONNX files")
    parser.add_argument("--threshold", type=float, default=0.5, help="least detector score")
    parser.add_argument("--tiles", type=int, default=3, help="squares the detector looks at, default 3; 0: the whole frame")
    parser.add_argument("--taps", type=int, default=1, help="detector samples per model pixel and axis")
    parser.add_argument("--json", type=Path, required=True, metavar="OUT")
    parser.add_argument("--draw", type=Path, metavar="FOLDER", help="also write FOLDER/frame_NNNN.png")
    arguments = parser.parse_args()
    if (arguments.video is None) == (arguments.i420 is None):
        parser.error("give either VIDEO or --i420 FILE")
    if arguments.i420 and not arguments.size:
        parser.error("--i420 needs --size WxH")

    numbers = sorted({int(number) for number in arguments.frames.split(",")})
    try:
        model = BlazePose(arguments.models, arguments.model)
        if arguments.i420:
            width, height = (int(n) for n in arguments.size.split("x"))
            frames = read_i420(arguments.i420, width, height, arguments.matrix, numbers)
        else:
            frames = read_video(arguments.video, numbers)
        results = []
        for number, frame in frames:
            height, width = frame.shape[:2]
            regions = tiles(width, height, arguments.tiles) if arguments.tiles else whole_frame(width, height)
            detections = model.detect(frame, regions, arguments.threshold, taps=arguments.taps)
            poses = [model.pose(frame, region_of(d.keypoints[0], d.keypoints[1])) for d in detections]
            results.append(frame_json(number, detections, poses))
            if arguments.draw:
                arguments.draw.mkdir(parents=True, exist_ok=True)
                draw(frame, detections, poses, arguments.draw / f"frame_{number:04d}.png")
            print(f"frame {number}: {len(detections)} detections, pose scores {[round(p.score, 3) for p in poses]}")
    except (OSError, ValueError) as error:
        print(f"blazepose: {error}", file=sys.stderr)
        return 2
    arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
