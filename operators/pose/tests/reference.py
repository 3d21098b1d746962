"""Writes the results of models/reference/blazepose.py and movenet.py for raw I420 frames, as JSON for tests/reference.rs.

    python reference.py REFERENCES MODELS I420 WIDTHxHEIGHT FRAMES OUT

The landmark model is unstable for fast-moving people: rounding its input to 8 bits moves single joints by 30 pixels. So two
implementations can be compared to a pixel only with the same input. Besides its own sampling (RGB of the whole frame first,
chroma by nearest sample) the reference therefore uses the one that `sideline-inference` documents: luma and chroma
interpolated at each point, chroma sited as in H.264, then converted. The results of both are written.
"""

import json
import sys
from pathlib import Path

import numpy as np

references, models, raw, size, count, out = sys.argv[1:]
sys.path.insert(0, references)

import blazepose
import movenet

WIDTH, HEIGHT = (int(n) for n in size.split("x"))
KR, KB = 0.2126, 0.0722


def interpolate(plane: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolates bilinearly at (x, y), where integers are samples; clamps to the border."""
    rows, columns = plane.shape
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    fx, fy = x - left, y - top

    def at(dx: int, dy: int) -> np.ndarray:
        return plane[np.clip(top + dy, 0, rows - 1), np.clip(left + dx, 0, columns - 1)].astype(np.float64)

    return (at(0, 0) * (1 - fx) + at(1, 0) * fx) * (1 - fy) + (at(0, 1) * (1 - fx) + at(1, 1) * fx) * fy


def sample_planes(planes: list, region, size: int, taps: int = 1) -> np.ndarray:
    """Samples a region of I420 planes as RGB 0..255, black outside."""
    steps = (np.arange(size) + 0.5) / size - 0.5
    position = region.to_frame(np.stack(np.meshgrid(steps, steps), axis=-1))
    x, y = position[..., 0] - 0.5, position[..., 1] - 0.5
    # The share of the point's four luma neighbors that lies in the frame.
    inside = [np.clip(np.minimum(p + 1, last - p), 0, 1) for p, last in ((x, WIDTH), (y, HEIGHT))]
    share = inside[0] * inside[1]
    luma = (interpolate(planes[0], x, y) - 16) * 255 / 219
    # H.264, chroma_sample_loc_type 0: on even luma columns, between two luma rows.
    cb, cr = ((interpolate(plane, x / 2, (y - 0.5) / 2) - 128) * 255 / 224 for plane in planes[1:])
    red, blue = luma + 2 * (1 - KR) * cr, luma + 2 * (1 - KB) * cb
    green = (luma - KR * red - KB * blue) / (1 - KR - KB)
    return (np.clip(np.stack([red, green, blue], axis=-1) * share[..., None], 0, 255)).astype(np.float32)


def pose_json(pose) -> dict:
    return {
        "score": pose.score,
        "landmarks": pose.landmarks.tolist(),
        "visibility": pose.visibility.tolist(),
        "world": pose.world.tolist(),
        "next_region": blazepose.region_json(pose.next_region),
    }


model = blazepose.BlazePose(Path(models), "lite")
coco = movenet.MoveNet(Path(models))
sample_rgb = blazepose.sample
frames = []
for number, rgb in blazepose.read_i420(Path(raw), WIDTH, HEIGHT, "bt709", list(range(int(count)))):
    with open(raw, "rb") as file:
        file.seek(number * WIDTH * HEIGHT * 3 // 2)
        data = np.frombuffer(file.read(WIDTH * HEIGHT * 3 // 2), np.uint8)
    y, u, v = np.split(data, [WIDTH * HEIGHT, WIDTH * HEIGHT * 5 // 4])
    planes = [y.reshape(HEIGHT, WIDTH), u.reshape(HEIGHT // 2, WIDTH // 2), v.reshape(HEIGHT // 2, WIDTH // 2)]
    people = []
    for detection in model.detect(rgb, blazepose.tiles(WIDTH, HEIGHT, 2), taps=4):
        region = blazepose.region_of(detection.keypoints[0], detection.keypoints[1])
        blazepose.sample = movenet.sample = sample_planes
        same = model.pose(planes, region)
        # MoveNet expects the frame's orientation.
        seventeen = coco.pose(planes, blazepose.Region(region.centre, region.size))
        blazepose.sample = sample_rgb
        people.append({
            "region": blazepose.region_json(region),
            "planes": pose_json(same),
            "rgb": pose_json(model.pose(rgb, region)),
            "movenet": {"joints": seventeen.joints.tolist(), "scores": seventeen.scores.tolist()},
        })
    frames.append(people)
Path(out).write_text(json.dumps(frames))
