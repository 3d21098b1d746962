"""The arithmetic around the packaged CenterNet in numpy: heat map and sides in, boxes out; for comparison with operators/detect.

The network is a TTFNet (Liu et al. 2020, "Training-Time-Friendly Network for Real-Time Object Detection", section 3) on a
MobileNetV3: for each class a heat map whose peaks are middles of objects, and for each cell how far the sides of the box lie
from it. Its published graph picks the 100 highest peaks itself; here, as in the operator, that is done outside.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

SIZE = 512
STRIDE = 4


def peaks(heatmap: np.ndarray, least: float) -> list[tuple[int, int, int]]:
    """(class, row, column) of each cell of [rows, columns, classes] that is the highest of its 3x3 and at least `least`."""
    rows, columns, _ = heatmap.shape
    padded = np.pad(heatmap, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    highest = np.max([padded[y : y + rows, x : x + columns] for y in range(3) for x in range(3)], axis=0)
    found = np.argwhere((heatmap == highest) & (heatmap >= least))
    return [(int(c), int(y), int(x)) for y, x, c in found]


def decode(heatmap: np.ndarray, sides: np.ndarray, least: float = 0.25, most: int = 100) -> np.ndarray:
    """[n, 6]: x1, y1, x2, y2 in pixels of the model's 512, score, class; the surest first."""
    rows = []
    for label, y, x in peaks(heatmap, least):
        left, top, right, bottom = sides[y, x]
        middle = (STRIDE * x, STRIDE * y)
        rows.append((middle[0] - left, middle[1] - top, middle[0] + right, middle[1] + bottom, heatmap[y, x, label], label))
    return np.array(sorted(rows, key=lambda row: -row[4])[:most], np.float64).reshape(-1, 6)


class CenterNet:
    """The converted model. `folder` holds centernet.onnx."""

    def __init__(self, folder: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(Path(folder) / "centernet.onnx"), options, ["CPUExecutionProvider"])

    def heads(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Heat maps [n, 128, 128, 80] and sides [n, 128, 128, 4] of [n, 512, 512, 3] RGB, 0 to 255."""
        return tuple(self.session.run(["heatmap", "sides"], {"images": pictures.astype(np.float32)}))
