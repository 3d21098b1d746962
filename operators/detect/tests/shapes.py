"""Writes detectors of random weights in the exact shapes that exports have: `python shapes.py FOLDER`; beside each a picture
(NAME.rgb) of its input's size and what is in it (NAME.json): size, and boxes with score and class.

Every file is a few strided convolutions over the picture, put together as the real network's outputs are: what they find is
noise, but that of one picture, so that whoever shows or reads them wrongly reads something else.
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

RANDOM = np.random.default_rng(11)


class Net:
    def __init__(self, name, shape):
        self.input = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        self.nodes, self.weights = [], []

    def constant(self, value):
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(value, name))
        return name

    def node(self, kind, inputs, output=None, **attributes):
        output = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def cells(self, channels, stride):
        """[N, channels, cells]: a convolution as wide as its stride."""
        kernel = RANDOM.normal(0, 0.05, (channels, 3, stride, stride)).astype(np.float32)
        conv = self.node("Conv", [self.input.name, self.constant(kernel)], strides=[stride, stride])
        return self.node("Reshape", [conv, self.constant(np.array([0, channels, -1], np.int64))])

    def write(self, path, outputs, metadata=None):
        values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs]
        graph = helper.make_graph(self.nodes, "g", [self.input], values, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        if metadata:
            helper.set_model_props(model, metadata)
        onnx.checker.check_model(model)
        onnx.save(model, path)


def yolov8(path, rows, columns, classes, batch=1, metadata=None):
    """Ultralytics' `yolo export format=onnx`: images [1, 3, 640, 640] -> output0 [1, 4 + classes, 8400]."""
    net = Net("images", [batch, 3, rows, columns])
    grid = net.node("Concat", [net.cells(4 + classes, stride) for stride in (8, 16, 32)], axis=2)
    sure = net.node("Sigmoid", [grid])
    # Boxes of some tens of pixels within the picture, classes 0 to 1.
    scale = np.ones((1, 4 + classes, 1), np.float32)
    scale[0, :4, 0] = (columns, rows, columns / 8, rows / 4)
    net.node("Mul", [sure, net.constant(scale)], output="output0")
    anchors = sum((rows // stride) * (columns // stride) for stride in (8, 16, 32))
    net.write(path, [("output0", [batch, 4 + classes, anchors])], metadata)


def yolox(path, size, classes):
    """YOLOX's tools/export_onnx.py: images [1, 3, 416, 416] -> output [1, 3549, 5 + classes]."""
    net = Net("images", [1, 3, size, size])
    grid = net.node("Concat", [net.cells(5 + classes, stride) for stride in (8, 16, 32)], axis=2)
    rows = net.node("Transpose", [grid], perm=[0, 2, 1])
    small = net.node("Mul", [rows, net.constant(np.float32(0.001))])
    sure = net.node("Sigmoid", [small])
    net.node("Identity", [sure], output="output")
    net.write(path, [("output", [1, sum((size // stride) ** 2 for stride in (8, 16, 32)), 5 + classes])])


def rfdetr(path, size, queries, classes):
    """RF-DETR's `model.export()`: input [1, 3, 560, 560] -> dets [1, 300, 4], labels [1, 300, 91]."""
    net = Net("input", [1, 3, size, size])
    first = [net.constant(np.array([value], np.int64)) for value in (0, queries, 2)]
    cells = net.node("Slice", [net.cells(4 + classes, size // 20), *first])
    rows = net.node("Transpose", [cells], perm=[0, 2, 1])
    cut = lambda a, b: [net.constant(np.array([value], np.int64)) for value in (a, b, 2)]  # noqa: E731
    boxes = net.node("Sigmoid", [net.node("Slice", [rows, *cut(0, 4)])])
    net.node("Mul", [boxes, net.constant(np.array([1, 1, 0.1, 0.2], np.float32))], output="dets")
    net.node("Slice", [rows, *cut(4, 4 + classes)], output="labels")
    net.write(path, [("dets", [1, queries, 4]), ("labels", [1, queries, classes])])


def chosen(path):
    """An export that has chosen its boxes itself: output0 [1, 300, 6]."""
    net = Net("images", [1, 3, 640, 640])
    first = [net.constant(np.array([value], np.int64)) for value in (0, 300, 2)]
    rows = net.node("Slice", [net.cells(6, 32), *first])
    net.node("Transpose", [rows], output="output0", perm=[0, 2, 1])
    net.write(path, [("output0", [1, 300, 6])])


def told(path, outputs, names, size=640, by_brightness=False, beside=None):
    """A model that says the same of every picture: `outputs` by their names. With `by_brightness` it says so much of it as the
    picture is bright, of a black one nothing. `beside`: the file that its weights go to."""
    net = Net("images", [1, 3, size, size])
    mean = net.node("ReduceMean", ["images"], keepdims=0)
    zero = net.node("Mul", [mean, net.constant(np.float32(0))])
    for name, values in outputs.items():
        if by_brightness:
            light = net.node("Min", [mean, net.constant(np.float32(1))])
            net.node("Mul", [net.constant(values), light], output=name)
        else:
            net.node("Add", [net.constant(values), zero], output=name)
    net.write(path, [(name, list(values.shape)) for name, values in outputs.items()], names)
    if beside:
        model = onnx.load(path)
        onnx.save_model(model, path, save_as_external_data=True, location=beside, size_threshold=100)


def another_meaning(folder):
    """Exports whose outputs have the shapes that a decoder reads, and another meaning; and one that needs a file beside it."""
    names = {"names": '{"0": "Player", "1": "Ball"}'}
    player, ball = (100, 150, 200, 350), (400, 300, 420, 320)
    boxes, scores = np.zeros((1, 8400, 4), np.float32), np.zeros((1, 8400, 2), np.float32)
    boxes[0, 5], boxes[0, 6], scores[0, 5, 0], scores[0, 6, 1] = player, ball, 0.9, 0.8
    told(folder / "yolonas.onnx", {"boxes": boxes, "scores": scores}, names)
    rows = np.zeros((1, 8400, 7), np.float32)
    rows[0, 10], rows[0, 11] = (150, 250, 100, 200, 0.95, 0.95, 0), (410, 310, 20, 20, 0.9, 0, 0.9)
    told(folder / "decoded.onnx", {"output": rows}, names)
    told(folder / "dark.onnx", {"output": rows}, names, by_brightness=True)
    told(folder / "broken.onnx", {"output0": np.full((1, 6, 8400), np.nan, np.float32)}, names)
    told(folder / "hundred.onnx", {"output0": np.zeros((1, 100, 6), np.float32)}, names)
    columns = np.zeros((1, 6, 8400), np.float32)
    columns[0, :5, 9], columns[0, :4, 7], columns[0, 5, 7] = (150, 250, 100, 200, 0.9), (410, 310, 20, 20), 0.8
    told(folder / "whole.onnx", {"output0": columns}, names)
    told(folder / "beside.onnx", {"output0": columns}, names, beside="weights.pb")


LEAST = 0.25


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def rows_of_yolov8(output):
    """x1 y1 x2 y2, then the classes' scores, of each anchor."""
    x, y, width, height = output[0, :4]
    return np.stack([x - width / 2, y - height / 2, x + width / 2, y + height / 2], 1), output[0, 4:].T


def rows_of_yolox(output, size):
    """As YOLOX's own demo does: grids and strides, then exp."""
    grids, strides = [], []
    for stride in (8, 16, 32):
        cells = np.stack(np.meshgrid(np.arange(size // stride), np.arange(size // stride)), 2).reshape(-1, 2)
        grids.append(cells)
        strides.append(np.full((len(cells), 1), stride))
    grids, strides = np.concatenate(grids), np.concatenate(strides)
    rows = output[0]
    middle, length = (rows[:, :2] + grids) * strides, np.exp(rows[:, 2:4]) * strides
    return np.concatenate([middle - length / 2, middle + length / 2], 1), rows[:, 4:5] * rows[:, 5:]


def rows_of_rfdetr(dets, labels, size):
    middle, length = dets[0, :, :2] * size, dets[0, :, 2:] * size
    return np.concatenate([middle - length / 2, middle + length / 2], 1), sigmoid(labels[0])


def expect(path, shape, rows):
    """Runs a model on a picture as its makers do, and writes picture and boxes. `shape`: of the picture, rows and columns."""
    picture = RANDOM.integers(0, 256, (*shape, 3), np.uint8)
    path.with_suffix(".rgb").write_bytes(picture.tobytes())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    boxes, scores = rows(lambda image: session.run(None, {session.get_inputs()[0].name: image[None].astype(np.float32)}), picture)
    best = scores.argmax(1)
    sure = scores.max(1)
    found = [[*map(float, box), float(score), int(label)] for box, score, label in zip(boxes, sure, best) if score >= LEAST]
    found.sort(key=lambda row: -row[4])
    path.with_suffix(".json").write_text(json.dumps({"size": [shape[1], shape[0]], "boxes": found}))


def main():
    folder = Path(sys.argv[1])
    names = {"names": "{0: 'player', 1: 'goalkeeper', 2: 'referee', 3: 'ball'}"}
    planes = lambda picture: picture.transpose(2, 0, 1)  # noqa: E731

    yolov8(folder / "yolov8.onnx", 640, 640, 80)
    expect(folder / "yolov8.onnx", (640, 640), lambda run, p: rows_of_yolov8(run(planes(p) / 255)[0]))
    yolov8(folder / "named.onnx", 384, 640, 4, metadata=names)
    expect(folder / "named.onnx", (384, 640), lambda run, p: rows_of_yolov8(run(planes(p) / 255)[0]))
    yolov8(folder / "several.onnx", 320, 320, 4, batch="batch", metadata=names)
    expect(folder / "several.onnx", (320, 320), lambda run, p: rows_of_yolov8(run(planes(p) / 255)[0]))
    yolox(folder / "yolox.onnx", 416, 80)
    expect(folder / "yolox.onnx", (416, 416), lambda run, p: rows_of_yolox(run(planes(p[..., ::-1]))[0], 416))
    rfdetr(folder / "rfdetr.onnx", 560, 300, 91)
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expect(folder / "rfdetr.onnx", (560, 560), lambda run, p: rows_of_rfdetr(*run(planes((p / 255 - mean) / deviation)), 560))
    chosen(folder / "chosen.onnx")
    another_meaning(folder)


main()
