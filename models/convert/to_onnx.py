"""Writes a float model, read by tflite_graph.py or tfjs_graph.py, as ONNX.

    python to_onnx.py IN.tflite OUT.onnx [--keep OUTPUT ...] [--batch]

Inputs and outputs keep the names, the order and the NHWC shapes of the graph; inside, images are NCHW, and a Transpose
is written only where the two meet. Constants (fp16, sparse) are folded to fp32. `--keep` names the outputs wanted; what
only the others needed is left out. `--batch` leaves the first dimension of inputs and outputs open: the model, made for
one picture, then takes any number of them at once. The same input, options and library versions give the same bytes.
(Models of TensorFlow.js are converted by fetch.py: where to cut them is written in models.yml.)

Dependencies: numpy, onnx, tflite. To support another operator: decode its options in the reader, add a handler to
HANDLERS here, and a case to test_converter.py.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from graph import Graph, Operator, UnsupportedModel, densify
from tflite_graph import read_graph

# Fixed, so that a newer onnx package writes the same file.
OPSET = 13
IR_VERSION = 8

NHWC_TO_NCHW = (0, 3, 1, 2)
NCHW_TO_NHWC = (0, 2, 3, 1)

# Name of the open first dimension.
BATCH = "N"


def convert(graph: Graph, keep: list[str] | None = None, batch: bool = False) -> onnx.ModelProto:
    """Converts a graph. `keep` names the outputs wanted, in any order (None: all); they come out in the original order.
    With `batch` the first dimension of inputs and outputs, 1 in the graph, is left open.

    Raises `UnsupportedModel`, naming the operator or the output that is the trouble.
    """
    outputs = _chosen_outputs(graph, keep)
    if batch:
        for tensor in (graph.tensors[number] for number in graph.inputs + outputs):
            if tensor.shape[:1] != (1,):
                raise UnsupportedModel(f"{tensor.name!r} has shape {tensor.shape}: no batch of 1 comes first, so it cannot be left open")
    emitter = _Emitter(graph, batch)
    needed = _needed_operators(graph, outputs)
    for number, operator in enumerate(graph.operators):
        if number not in needed:
            continue
        handler = HANDLERS.get(operator.kind)
        if handler is None:
            name = graph.tensors[operator.outputs[0]].name
            raise UnsupportedModel(
                f"operator {number} {operator.kind} (makes {name!r}) is not supported; supported: {', '.join(sorted(HANDLERS))}"
            )
        try:
            handler(emitter, operator)
        except UnsupportedModel as error:
            raise UnsupportedModel(f"operator {number} {operator.kind}: {error}") from error
    return emitter.finish(outputs)


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """What TensorFlow's SAME adds before and after one axis; an odd one goes after."""
    output = -(-size // stride)
    total = max((output - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)
    return total // 2, total - total // 2


class _Emitter:
    """Collects ONNX nodes. Every tensor is known in NHWC, in NCHW or in both; the other form is made when asked for."""

    def __init__(self, graph: Graph, batch: bool):
        self.graph = graph
        self.batch = batch
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.constants = {i: t.data for i, t in enumerate(graph.tensors) if t.data is not None and t.sparsity is None}
        self.nhwc = {i: graph.tensors[i].name for i in graph.inputs}
        self.nchw: dict[int, str] = {}

    def shape(self, tensor: int) -> tuple[int, ...]:
        return self.graph.tensors[tensor].shape

    def constant(self, tensor: int, what: str) -> np.ndarray:
        """The value of a tensor that must be known now; `what` says which one, for the error."""
        if tensor not in self.constants:
            raise UnsupportedModel(f"{what} ({self.graph.tensors[tensor].name!r}) is not a constant")
        return self.constants[tensor]

    def initializer(self, value: np.ndarray) -> str:
        name = f"constant_{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value).reshape(np.shape(value)), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str | None = None, **attributes) -> str:
        name = f"node_{len(self.nodes)}"
        output = output or f"value_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def as_nhwc(self, tensor: int) -> str:
        """The tensor's ONNX name, laid out as the original has it."""
        if tensor not in self.nhwc:
            if tensor in self.constants:
                self.nhwc[tensor] = self.initializer(_as_float32(self.constants[tensor]))
            else:
                self.nhwc[tensor] = self.node("Transpose", [self.nchw[tensor]], perm=NCHW_TO_NHWC)
        return self.nhwc[tensor]

    def as_nchw(self, tensor: int) -> str:
        """The ONNX name of a four-dimensional tensor, channels first."""
        if tensor not in self.nchw:
            if len(self.shape(tensor)) != 4:
                name = self.graph.tensors[tensor].name
                raise UnsupportedModel(f"{name!r} has shape {self.shape(tensor)}, an image of four dimensions is needed")
            if tensor in self.constants:
                self.nchw[tensor] = self.initializer(_as_float32(self.constants[tensor]).transpose(NHWC_TO_NCHW))
            else:
                self.nchw[tensor] = self.node("Transpose", [self.nhwc[tensor]], perm=NHWC_TO_NCHW)
        return self.nchw[tensor]

    def broadcast_nchw(self, tensor: int) -> str:
        """As `as_nchw`; a constant of fewer dimensions gets those that broadcasting adds before its own."""
        rank = len(self.shape(tensor))
        if rank < 4 and tensor in self.constants and tensor not in self.nchw:
            value = _as_float32(self.constants[tensor])
            self.nchw[tensor] = self.initializer(value.reshape((1,) * (4 - rank) + value.shape).transpose(NHWC_TO_NCHW))
        return self.as_nchw(tensor)

    def activated(self, value: str, activation: str) -> str:
        if activation == "NONE":
            return value
        if activation == "RELU":
            return self.node("Relu", [value])
        if activation == "RELU6":
            return self.node("Clip", [value, self.initializer(np.float32(0)), self.initializer(np.float32(6))])
        raise UnsupportedModel(f"fused activation {activation} is not supported; supported: NONE, RELU, RELU6")

    def pads(self, tensor: int, kernel, strides, dilations, padding: str) -> list[int]:
        """ONNX pads [top, left, bottom, right] of a window that slides over the tensor's rows and columns."""
        if padding == "VALID":
            return [0, 0, 0, 0]
        _, height, width, _ = self.shape(tensor)
        top, bottom = same_padding(height, kernel[0], strides[0], dilations[0])
        left, right = same_padding(width, kernel[1], strides[1], dilations[1])
        return [top, left, bottom, right]

    def finish(self, outputs: list[int]) -> onnx.ModelProto:
        for tensor in outputs:
            self.node("Identity", [self.as_nhwc(tensor)], output=self.graph.tensors[tensor].name)
        model = helper.make_model(
            helper.make_graph(
                self.nodes,
                "graph",
                [self._described(tensor) for tensor in self.graph.inputs],
                [self._described(tensor) for tensor in outputs],
                self.initializers,
            ),
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name=f"sideline {self.graph.format}_to_onnx",
        )
        onnx.checker.check_model(model)
        return model

    def _described(self, tensor: int) -> onnx.ValueInfoProto:
        shape = [BATCH, *self.shape(tensor)[1:]] if self.batch else self.shape(tensor)
        return helper.make_tensor_value_info(self.graph.tensors[tensor].name, TensorProto.FLOAT, shape)


def _binary(emitter: _Emitter, op: Operator) -> None:
    """What is done to two tensors element by element; a constant may have fewer dimensions."""
    images = all(len(emitter.shape(tensor)) == 4 or tensor in emitter.constants for tensor in op.inputs)
    images = images and len(emitter.shape(op.outputs[0])) == 4
    layout, known = (emitter.broadcast_nchw, emitter.nchw) if images else (emitter.as_nhwc, emitter.nhwc)
    result = emitter.node("Add" if op.kind == "ADD" else "Mul", [layout(tensor) for tensor in op.inputs])
    known[op.outputs[0]] = emitter.activated(result, op.options["activation"])


def _concatenation(emitter: _Emitter, op: Operator) -> None:
    rank = len(emitter.shape(op.outputs[0]))
    axis = op.options["axis"] % rank
    if rank == 4:
        layout, known, axis = emitter.as_nchw, emitter.nchw, NHWC_TO_NCHW.index(axis)
    else:
        layout, known = emitter.as_nhwc, emitter.nhwc
    joined = emitter.node("Concat", [layout(tensor) for tensor in op.inputs], axis=axis)
    known[op.outputs[0]] = emitter.activated(joined, op.options["activation"])


def _convolution(emitter: _Emitter, op: Operator) -> None:
    image = op.inputs[0]
    weights = _as_float32(emitter.constant(op.inputs[1], "the kernel"))
    if op.kind == "CONV_2D":  # [out, height, width, in]
        weights, group = weights.transpose(0, 3, 1, 2), 1
    else:  # [1, height, width, out]
        weights, group = weights.transpose(3, 0, 1, 2), emitter.shape(image)[3]
    kernel, strides, dilations = weights.shape[2:], op.options["strides"], op.options["dilations"]
    inputs = [emitter.as_nchw(image), emitter.initializer(weights)]
    if len(op.inputs) > 2 and op.inputs[2] >= 0:
        inputs.append(emitter.initializer(_as_float32(emitter.constant(op.inputs[2], "the bias"))))
    result = emitter.node(
        "Conv",
        inputs,
        kernel_shape=kernel,
        strides=strides,
        dilations=dilations,
        pads=emitter.pads(image, kernel, strides, dilations, op.options["padding"]),
        group=group,
    )
    emitter.nchw[op.outputs[0]] = emitter.activated(result, op.options["activation"])


def _densify(emitter: _Emitter, op: Operator) -> None:
    sparse = emitter.graph.tensors[op.inputs[0]]
    if sparse.data is None or sparse.sparsity is None:
        raise UnsupportedModel(f"{sparse.name!r} is not a sparse constant")
    emitter.constants[op.outputs[0]] = densify(sparse.shape, sparse.sparsity, sparse.data)


def _dequantize(emitter: _Emitter, op: Operator) -> None:
    value = emitter.constant(op.inputs[0], "its input")
    if value.dtype.kind != "f":
        raise UnsupportedModel(f"integer weights ({value.dtype}) are not supported, only fp16 constants")
    emitter.constants[op.outputs[0]] = value.astype(np.float32)


def _depth_to_space(emitter: _Emitter, op: Operator) -> None:
    emitter.nchw[op.outputs[0]] = emitter.node(
        "DepthToSpace", [emitter.as_nchw(op.inputs[0])], blocksize=op.options["block_size"], mode="DCR"
    )


def _unary(emitter: _Emitter, op: Operator) -> None:
    source, result = op.inputs[0], op.outputs[0]
    known = emitter.nchw if source in emitter.nchw else emitter.nhwc  # element by element: either layout will do
    if op.kind == "LOGISTIC":
        known[result] = emitter.node("Sigmoid", [known[source]])
    else:
        known[result] = emitter.activated(known[source], op.kind)


def _mean(emitter: _Emitter, op: Operator) -> None:
    """Over rows and columns, whose dimensions stay."""
    emitter.nchw[op.outputs[0]] = emitter.node("GlobalAveragePool", [emitter.as_nchw(op.inputs[0])])


def _hard_swish(emitter: _Emitter, op: Operator) -> None:
    source, result = op.inputs[0], op.outputs[0]
    known = emitter.nchw if source in emitter.nchw else emitter.nhwc
    # ONNX has an operator of that name from opset 14 on. So written, ONNX Runtime keeps its own layout from one convolution
    # to the next.
    gate = emitter.node("HardSigmoid", [known[source]], alpha=1 / 6, beta=0.5)
    known[result] = emitter.node("Mul", [known[source], gate])


def _max_pool(emitter: _Emitter, op: Operator) -> None:
    image, kernel, strides = op.inputs[0], op.options["kernel"], op.options["strides"]
    result = emitter.node(
        "MaxPool",
        [emitter.as_nchw(image)],
        kernel_shape=kernel,
        strides=strides,
        pads=emitter.pads(image, kernel, strides, (1, 1), op.options["padding"]),
    )
    emitter.nchw[op.outputs[0]] = emitter.activated(result, op.options["activation"])


def _pad(emitter: _Emitter, op: Operator) -> None:
    amounts = emitter.constant(op.inputs[1], "the padding").astype(np.int64)  # [4, 2], NHWC, before and after
    amounts = amounts[list(NHWC_TO_NCHW)].T.reshape(-1)  # ONNX: all befores, then all afters
    emitter.nchw[op.outputs[0]] = emitter.node(
        "Pad", [emitter.as_nchw(op.inputs[0]), emitter.initializer(amounts)], mode="constant"
    )


def _reshape(emitter: _Emitter, op: Operator) -> None:
    shape = np.array(emitter.shape(op.outputs[0]), np.int64)
    if emitter.batch:
        if not emitter.shape(op.inputs[0])[:1] == emitter.shape(op.outputs[0])[:1] == (1,):
            raise UnsupportedModel(f"reshapes {emitter.shape(op.inputs[0])} to {tuple(shape)}: mixes the pictures of a batch")
        shape[0] = -1  # as many as there are
    emitter.nhwc[op.outputs[0]] = emitter.node("Reshape", [emitter.as_nhwc(op.inputs[0]), emitter.initializer(shape)])


def _resize_bilinear(emitter: _Emitter, op: Operator) -> None:
    if op.options["align_corners"]:
        coordinates = "align_corners"
    else:
        coordinates = "half_pixel" if op.options["half_pixel_centers"] else "asymmetric"
    count, height, width, channels = emitter.shape(op.outputs[0])
    if emitter.batch:  # sizes would fix the number of pictures, scales do not
        _, rows, columns, _ = emitter.shape(op.inputs[0])
        if height % rows or width % columns:
            raise UnsupportedModel(f"enlarges {rows}x{columns} to {height}x{width}: only whole factors can be left open for a batch")
        size = ["", emitter.initializer(np.array([1, 1, height // rows, width // columns], np.float32))]
    else:
        size = ["", "", emitter.initializer(np.array([count, channels, height, width], np.int64))]
    emitter.nchw[op.outputs[0]] = emitter.node(
        "Resize",
        [emitter.as_nchw(op.inputs[0]), *size],
        mode="linear",
        coordinate_transformation_mode=coordinates,
    )


HANDLERS = {
    "ADD": _binary,
    "CONCATENATION": _concatenation,
    "CONV_2D": _convolution,
    "DENSIFY": _densify,
    "DEPTH_TO_SPACE": _depth_to_space,
    "DEPTHWISE_CONV_2D": _convolution,
    "DEQUANTIZE": _dequantize,
    "HARD_SWISH": _hard_swish,
    "LOGISTIC": _unary,
    "MAX_POOL_2D": _max_pool,
    "MEAN": _mean,
    "MUL": _binary,
    "PAD": _pad,
    "RELU": _unary,
    "RELU6": _unary,
    "RESHAPE": _reshape,
    "RESIZE_BILINEAR": _resize_bilinear,
}


def _as_float32(value: np.ndarray) -> np.ndarray:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _chosen_outputs(graph: Graph, keep: list[str] | None) -> list[int]:
    names = [graph.tensors[tensor].name for tensor in graph.outputs]
    unknown = sorted(set(keep or []) - set(names))
    if unknown:
        raise UnsupportedModel(f"no output is named {', '.join(unknown)}; the model has: {', '.join(names)}")
    return [tensor for tensor, name in zip(graph.outputs, names) if not keep or name in keep]


def _needed_operators(graph: Graph, outputs: list[int]) -> set[int]:
    """The numbers of the operators that the outputs depend on."""
    wanted, needed = set(outputs), set()
    for number, operator in reversed(list(enumerate(graph.operators))):
        if wanted.intersection(operator.outputs):
            needed.add(number)
            wanted.update(operator.inputs)
    return needed


def write_onnx(model: onnx.ModelProto, destination: Path) -> None:
    """Writes a converted model; the same model gives the same bytes."""
    destination.write_bytes(model.SerializeToString(deterministic=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("source", type=Path, metavar="IN.tflite")
    parser.add_argument("destination", type=Path, metavar="OUT.onnx")
    parser.add_argument("--keep", nargs="+", metavar="OUTPUT", help="outputs to keep; default: all")
    parser.add_argument("--batch", action="store_true", help="leave the first dimension open")
    arguments = parser.parse_args()
    try:
        model = convert(read_graph(arguments.source), arguments.keep, arguments.batch)
        write_onnx(model, arguments.destination)
    except (UnsupportedModel, OSError) as error:
        print(f"to_onnx: {arguments.source}: {error}", file=sys.stderr)
        return 2
    print(f"{arguments.destination}: {len(model.graph.node)} nodes")
    for direction, values in (("input", model.graph.input), ("output", model.graph.output)):
        for value in values:
            print(f"  {direction} {value.name} {[d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
