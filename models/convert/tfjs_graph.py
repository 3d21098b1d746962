"""Reads a convolutional TensorFlow.js graph model into a `Graph` (graph.py): model.json and its weight files beside it.

Such a file holds no shapes but those of inputs and constants, so they are worked out here, and with them what only one
picture at a time would need is left behind: the part read begins at a node of the caller's choice (its preparation of
pictures comes before) and ends at others (the search for maxima comes after, and is done in the operator).
"""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np

from graph import Graph, Operator, Tensor, UnsupportedModel

_DTYPES = {"float32": np.float32, "int32": np.int32, "bool": np.bool_}
_PACKED = {"float16": np.float16}
_CONVOLUTIONS = ("Conv2D", "_FusedConv2D")
_DEPTHWISE = ("DepthwiseConv2dNative", "FusedDepthwiseConv2dNative")
_ACTIVATIONS = {(): "NONE", ("Relu",): "RELU", ("Relu6",): "RELU6"}
# What is done to each element alone, or to two that lie at one place: TensorFlow's name -> TensorFlow Lite's.
_UNARY = {"Relu": "RELU", "Relu6": "RELU6", "Sigmoid": "LOGISTIC"}
_BINARY = {"Add": "ADD", "AddV2": "ADD", "BiasAdd": "ADD", "Mul": "MUL"}
_OTHERS = ("ConcatV2", "Identity", "Mean", "ResizeBilinear")


def read_graph(path: Path, begin: dict, keep: dict[str, str]) -> Graph:
    """Reads the part of a model between the node `begin["node"]`, which becomes the input `begin["name"]` of shape
    `begin["shape"]` (NHWC), and the nodes that `keep` names as {output: node}.

    Raises `UnsupportedModel`, naming the file, node or operator that is the trouble.
    """
    try:
        model = json.loads(Path(path).read_text())
        nodes = {node["name"]: node for node in model["modelTopology"]["node"]}
        weights = _read_weights(Path(path).parent, model["weightsManifest"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnsupportedModel(f"not a TensorFlow.js graph model: {type(error).__name__} {error}") from error
    for node in [begin["node"], *keep.values()]:
        if node not in nodes:
            raise UnsupportedModel(f"there is no node {node!r}")
    reader = _Reader(nodes, weights)
    reader.number[begin["node"]] = reader.add(Tensor(begin["name"], tuple(begin["shape"]), np.dtype(np.float32)))
    for name, node in keep.items():
        reader.read(node)
        reader.tensors[reader.number[node]].name = name
    return Graph(
        reader.tensors, reader.operators, [reader.number[begin["node"]]], [reader.number[n] for n in keep.values()], "tfjs"
    )


def _read_weights(folder: Path, manifest: list) -> dict[str, np.ndarray]:
    """The constants, by name. Each group's files are one run of bytes, the constants one after the other in it."""
    weights = {}
    for group in manifest:
        content = b"".join((folder / name).read_bytes() for name in group["paths"])
        offset = 0
        for weight in group["weights"]:
            packed = weight.get("quantization", {}).get("dtype")
            known, kind = (_PACKED, packed) if packed else (_DTYPES, weight["dtype"])
            if kind not in known:
                raise UnsupportedModel(f"constant {weight['name']!r} is stored as {kind}; supported: {', '.join(known)}")
            dtype = np.dtype(known[kind])
            count = int(np.prod(weight["shape"], dtype=np.int64))
            if offset + count * dtype.itemsize > len(content):
                raise UnsupportedModel(f"constant {weight['name']!r} lies beyond the end of {', '.join(group['paths'])}")
            weights[weight["name"]] = np.frombuffer(content, dtype, count, offset).reshape(weight["shape"])
            offset += count * dtype.itemsize
        if offset != len(content):
            raise UnsupportedModel(f"{', '.join(group['paths'])}: {len(content)} bytes, the constants take {offset}")
    return weights


class _Reader:
    """Walks from the outputs back to the input and appends each operator after those it needs."""

    def __init__(self, nodes: dict, weights: dict[str, np.ndarray]):
        self.nodes, self.weights = nodes, weights
        self.tensors: list[Tensor] = []
        self.operators: list[Operator] = []
        self.number: dict[str, int] = {}

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def read(self, wanted: str) -> None:
        # With a stack of its own: a deep network is deeper than Python's.
        waiting = [wanted]
        while waiting:
            name = waiting[-1]
            if name in self.number:
                waiting.pop()
                continue
            if name not in self.nodes:
                raise UnsupportedModel(f"a node takes {name!r}, which does not exist")
            node = self.nodes[name]
            missing = [source for source in _inputs(node) if source not in self.number]
            if missing:
                waiting += missing
            else:
                self._translate(node)

    def _translate(self, node: dict) -> None:
        kind, name = node["op"], node["name"]
        if kind == "Const":
            value = self.weights.get(name)
            if value is None:
                raise UnsupportedModel(f"constant {name!r} has no weights")
            self.number[name] = self.add(Tensor(name, value.shape, value.dtype, value))
            return
        sources = [self.number[source] for source in _inputs(node)]
        attributes = node.get("attr", {})
        if kind in _CONVOLUTIONS + _DEPTHWISE:
            kind, inputs, options, shape = self._convolution(node, sources, attributes)
        elif (swished := self._hard_swish(node)) is not None:
            kind, inputs, options, shape = "HARD_SWISH", [swished], {}, self.tensors[swished].shape
        elif kind in _BINARY:
            shapes = [self.tensors[source].shape for source in sources]
            kind, inputs, options, shape = _BINARY[kind], sources, {"activation": "NONE"}, np.broadcast_shapes(*shapes)
        elif kind in _UNARY:
            kind, inputs, options, shape = _UNARY[kind], sources, {}, self.tensors[sources[0]].shape
        elif kind == "Identity":
            self.number[name] = sources[0]
            return
        elif kind == "Mean":
            shape = self.tensors[sources[0]].shape
            axes = sorted(int(axis) % len(shape) for axis in self._constant(sources[1], name).reshape(-1))
            if len(shape) != 4 or axes != [1, 2] or not attributes.get("keep_dims", {}).get("b", False):
                raise UnsupportedModel(f"node {name!r}: only the mean over rows and columns of images is supported, their dimensions kept")
            kind, inputs, options, shape = "MEAN", sources[:1], {}, (shape[0], 1, 1, shape[3])
        elif kind == "ConcatV2":
            inputs, axis = sources[:-1], int(self._constant(sources[-1], name))
            shapes = [self.tensors[source].shape for source in inputs]
            joined = sum(shape[axis] for shape in shapes)
            kind, options = "CONCATENATION", {"axis": axis, "activation": "NONE"}
            shape = [joined if i == axis % len(shapes[0]) else size for i, size in enumerate(shapes[0])]
        elif kind == "ResizeBilinear":
            options = {key: attributes.get(key, {}).get("b", False) for key in ("align_corners", "half_pixel_centers")}
            size = self._constant(sources[1], name)
            count, _, _, channels = self.tensors[sources[0]].shape
            kind, inputs, shape = "RESIZE_BILINEAR", sources, (count, int(size[0]), int(size[1]), channels)
        else:
            raise UnsupportedModel(
                f"operator {kind} (node {name!r}) is not supported, nor is an input before the node where reading begins; "
                f"supported: {', '.join(sorted((*_CONVOLUTIONS, *_DEPTHWISE, *_UNARY, *_BINARY, *_OTHERS)))}"
            )
        self.number[name] = self.add(Tensor(name, tuple(shape), np.dtype(np.float32)))
        self.operators.append(Operator(kind, inputs, [self.number[name]], options))

    def _hard_swish(self, node: dict) -> int | None:
        """The x of a product x/6 * relu6(x + 3), which is one operator elsewhere, in either order; else None."""

        def factors(name: str, op: str) -> tuple[float, str] | None:
            """The constant and the other input of a node of two."""
            if self.nodes[name]["op"] != op:
                return None
            for constant, other in (_inputs(self.nodes[name]), reversed(_inputs(self.nodes[name]))):
                data = self.tensors[self.number[constant]].data
                if data is not None and data.size == 1:
                    return float(data.reshape(())), other
            return None

        if node["op"] != "Mul":
            return None
        for part, clipped in (_inputs(node), reversed(_inputs(node))):
            if self.nodes[clipped]["op"] != "Relu6":
                continue
            sixth, shifted = factors(part, "Mul"), factors(_inputs(self.nodes[clipped])[0], "Add")
            # A sixth is stored in 16 bits.
            if sixth and shifted and abs(sixth[0] - 1 / 6) < 1e-4 and shifted[0] == 3 and sixth[1] == shifted[1]:
                return self.number[sixth[1]]
        return None

    def _convolution(self, node: dict, sources: list[int], attributes: dict) -> tuple:
        """A convolution with what is fused to it. TensorFlow's kernels are [height, width, in, out]; depthwise [.., in, 1]."""
        name = node["name"]
        fused = tuple(base64.b64decode(text).decode() for text in attributes.get("fused_ops", {}).get("list", {}).get("s", []))
        biased = fused[:1] == ("BiasAdd",)
        activation = _ACTIVATIONS.get(fused[1:] if biased else fused)
        if activation is None:
            raise UnsupportedModel(f"node {name!r}: {' and '.join(fused)} fused to a convolution are not supported")
        kernel = self._constant(sources[1], name)
        height, width, channels, made = kernel.shape
        if node["op"] in _DEPTHWISE:
            kind, out = "DEPTHWISE_CONV_2D", channels * made
            kernel = kernel.reshape(1, height, width, out)
        else:
            kind, out = "CONV_2D", made
            kernel = kernel.transpose(3, 0, 1, 2)
        strides, dilations = (tuple(_window(attributes, key, name)) for key in ("strides", "dilations"))
        padding = base64.b64decode(attributes["padding"]["s"]).decode()
        if padding not in ("SAME", "VALID"):
            raise UnsupportedModel(f"node {name!r}: padding {padding} is not supported; supported: SAME, VALID")
        count, rows, columns, _ = self.tensors[sources[0]].shape
        if padding == "VALID":
            rows -= (height - 1) * dilations[0]
            columns -= (width - 1) * dilations[1]
        shape = (count, -(-rows // strides[0]), -(-columns // strides[1]), out)
        inputs = [sources[0], self.add(Tensor(f"{name}/kernel", kernel.shape, kernel.dtype, kernel))]
        if biased:
            bias = self._constant(sources[2], name).reshape(-1)
            inputs.append(self.add(Tensor(f"{name}/bias", bias.shape, bias.dtype, bias)))
        options = {"strides": strides, "dilations": dilations, "padding": padding, "activation": activation}
        return kind, inputs, options, shape

    def _constant(self, tensor: int, node: str) -> np.ndarray:
        data = self.tensors[tensor].data
        if data is None:
            raise UnsupportedModel(f"node {node!r}: {self.tensors[tensor].name!r} is not a constant")
        return data


def _inputs(node: dict) -> list[str]:
    """Names of the nodes whose first output a node takes; those it only waits for (^) are left out."""
    return [name.removesuffix(":0") for name in node.get("input", []) if not name.startswith("^")]


def _window(attributes: dict, key: str, node: str) -> list[int]:
    """Rows and columns of an attribute with a number for each dimension of NHWC."""
    values = [int(value) for value in attributes.get(key, {}).get("list", {}).get("i", [1, 1, 1, 1])]
    if len(values) != 4 or values[0] != 1 or values[3] != 1:
        raise UnsupportedModel(f"node {node!r}: {key} {values} are not supported, only those of rows and columns")
    return values[1:3]
