"""MoveNet (single pose, lightning) in numpy: what comes before and after its network, as a reference for the `pose` operator.

The network says for every cell of a 48 x 48 grid over its input: how likely each of 17 joints lies there (heat map), how
likely a person's middle does (centre), from a person's middle where each joint is (regression, cells, y before x), and
where in the cell a joint lies (offset). `decode` picks one person, the most likely middle near the picture's own, and of
each joint the most likely cell near the place that this person's middle names (TensorFlow's blog, "Next-Generation Pose
Detection with MoveNet and TensorFlow.js", 2021). It is the published graph's own arithmetic, written out.

Conventions (pixels, regions, sampling) are those of blazepose.py. Input is RGB scaled to -1..1, outside the frame black.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from blazepose import Region, sample

SIZE = 192
CELLS = 48
JOINTS = 17
# The weight of a cell falls with its distance (in cells) from where the person, or the joint, is looked for.
NEAR = 1.8

HEADS = ("heatmap", "centre", "regression", "offset")
# COCO's joints, in the model's order.
NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip
# Which of MediaPipe's 33 joints each of them is.
AS_MEDIAPIPE = (0, 2, 5, 7, 8, 11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28)


@dataclass(frozen=True)
class Pose:
    """What the model says of a region."""

    joints: np.ndarray  # [17, 2] x, y in pixels of the frame
    scores: np.ndarray  # [17] 0..1


def decode(heatmap: np.ndarray, centre: np.ndarray, regression: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """One person of one picture's heads ([48, 48, channels]): [17, 3], y and x in 0..1 of the input, score."""
    rows, columns = np.indices((CELLS, CELLS))

    def near(row, column) -> np.ndarray:
        return np.hypot(rows - row, columns - column) + NEAR

    middle = np.unravel_index(np.argmax(centre[..., 0] / near(CELLS / 2, CELLS / 2)), (CELLS, CELLS))
    places = regression[middle].reshape(JOINTS, 2) + middle
    joints = np.zeros((JOINTS, 3))
    for joint, (row, column) in enumerate(places):
        cell = np.unravel_index(np.argmax(heatmap[..., joint] / near(row, column)), (CELLS, CELLS))
        joints[joint, :2] = (cell + offset[cell].reshape(JOINTS, 2)[joint]) / CELLS
        joints[joint, 2] = heatmap[cell][joint]
    return joints


class MoveNet:
    """The ONNX file and the arithmetic around it."""

    def __init__(self, folder: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        file = str(Path(folder) / "movenet_lightning.onnx")
        self._session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def heads(self, pictures: np.ndarray) -> list[np.ndarray]:
        """The heads for RGB pictures [n, 192, 192, 3], 0..255."""
        return self._session.run(list(HEADS), {"image": (pictures / np.float32(127.5) - 1).astype(np.float32)})

    def pose(self, frame: np.ndarray, region: Region) -> Pose:
        """The joints of the person in a region of an RGB frame [height, width, 3], 0..255."""
        joints = decode(*(head[0] for head in self.heads(sample(frame, region, SIZE)[None])))
        return Pose(region.to_frame(joints[:, 1::-1] - 0.5), joints[:, 2])
