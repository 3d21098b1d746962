"""Reads a TensorFlow Lite file into plain Python: tensors, constants and operators, no flatbuffers beyond this file.

`read_graph(path)` gives a `Graph`. Constants are numpy arrays of the shape the file states. Sparse constants stay as
their list of values beside a `Sparsity`; `densify` expands them (the DENSIFY operator does nothing else).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tflite


class UnsupportedModel(Exception):
    """The model needs something this converter does not do; the message names the operator or tensor."""


@dataclass(frozen=True)
class DenseLevel:
    """One level of a sparse tensor's index tree where every one of `size` positions is present."""

    size: int


@dataclass(frozen=True)
class SparseLevel:
    """One level of a sparse tensor's index tree in CSR form: children of parent p are indices[segments[p]:segments[p + 1]]."""

    segments: np.ndarray
    indices: np.ndarray


@dataclass(frozen=True)
class Sparsity:
    """How the values of a sparse tensor are laid out (TensorFlow Lite schema, `SparsityParameters`)."""

    traversal_order: list[int]  # a permutation of the dimensions, the dense blocks' dimensions counted after the rank
    block_map: list[int]  # block dimension k subdivides dimension block_map[k]
    levels: list[DenseLevel | SparseLevel]  # one per entry of traversal_order


@dataclass
class Tensor:
    """A value of the graph. `data` is None for what is computed at run time."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    data: np.ndarray | None = None
    sparsity: Sparsity | None = None


@dataclass
class Operator:
    """One step: `kind` as TensorFlow Lite names it (CONV_2D), tensor numbers (-1: input left out), decoded options."""

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: dict[str, object] = field(default_factory=dict)


@dataclass
class Graph:
    """A model with one sub-graph, operators in the order they run."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]


def read_graph(path: Path) -> Graph:
    """Reads a model file. Raises `UnsupportedModel` if it is no such file, or has types or sub-graphs we do not know."""
    content = Path(path).read_bytes()
    if content[4:8] != b"TFL3":
        raise UnsupportedModel("not a TensorFlow Lite file (no TFL3 mark at byte 4)")
    model = tflite.Model.GetRootAsModel(content, 0)
    if model.SubgraphsLength() != 1:
        raise UnsupportedModel(f"{model.SubgraphsLength()} sub-graphs, only one is supported")
    subgraph = model.Subgraphs(0)
    return Graph(
        tensors=[_read_tensor(model, subgraph.Tensors(i)) for i in range(subgraph.TensorsLength())],
        operators=[_read_operator(model, subgraph.Operators(i)) for i in range(subgraph.OperatorsLength())],
        inputs=[subgraph.Inputs(i) for i in range(subgraph.InputsLength())],
        outputs=[subgraph.Outputs(i) for i in range(subgraph.OutputsLength())],
    )


def densify(shape: tuple[int, ...], sparsity: Sparsity, values: np.ndarray) -> np.ndarray:
    """Expands a sparse tensor to a dense array of `shape`, zeros where nothing is stored.

    The index tree is walked level by level. `path` holds, for every node reached so far, its coordinate on each level;
    `position` its running number on the last level, which at the end is the number of its value.
    """
    rank = len(shape)
    path = np.zeros((1, 0), np.int64)
    position = np.zeros(1, np.int64)
    for level in sparsity.levels:
        if isinstance(level, DenseLevel):
            children = np.full(len(position), level.size)
            coordinate = np.tile(np.arange(level.size), len(position))
            position = np.repeat(position, children) * level.size + coordinate
        else:
            first = level.segments[position]
            children = level.segments[position + 1] - first
            nth_child = np.arange(children.sum()) - np.repeat(np.cumsum(children) - children, children)
            position = np.repeat(first, children) + nth_child
            coordinate = level.indices[position]
        path = np.column_stack([np.repeat(path, children, axis=0), coordinate])

    # A dimension cut into blocks has two levels: block number times block size, plus the place inside the block.
    block_size = [1] * rank
    for level_of_block, dimension in enumerate(sparsity.block_map, start=rank):
        block_size[dimension] = sparsity.levels[level_of_block].size
    index = np.zeros((len(path), rank), np.int64)
    for level, dimension in enumerate(sparsity.traversal_order):
        if dimension < rank:
            index[:, dimension] += path[:, level] * block_size[dimension]
        else:
            index[:, sparsity.block_map[dimension - rank]] += path[:, level]

    dense = np.zeros(shape, values.dtype)
    dense[tuple(index.T)] = values[position]
    return dense


_DTYPES = {
    tflite.TensorType.FLOAT32: np.dtype(np.float32),
    tflite.TensorType.FLOAT16: np.dtype(np.float16),
    tflite.TensorType.INT32: np.dtype(np.int32),
    tflite.TensorType.INT64: np.dtype(np.int64),
}

_OPERATOR_NAMES = {code: name for name, code in vars(tflite.BuiltinOperator).items() if isinstance(code, int)}

_PADDING = {tflite.Padding.SAME: "SAME", tflite.Padding.VALID: "VALID"}

_ACTIVATIONS = {code: name for name, code in vars(tflite.ActivationFunctionType).items() if isinstance(code, int)}

_INDEX_VECTORS = {
    tflite.SparseIndexVector.Int32Vector: tflite.Int32Vector,
    tflite.SparseIndexVector.Uint16Vector: tflite.Uint16Vector,
    tflite.SparseIndexVector.Uint8Vector: tflite.Uint8Vector,
}


def _convolution_options(o) -> dict:
    return {
        "strides": (o.StrideH(), o.StrideW()),
        "dilations": (o.DilationHFactor(), o.DilationWFactor()),
        "padding": _PADDING[o.Padding()],
        "activation": _ACTIVATIONS[o.FusedActivationFunction()],
    }


def _pool_options(o) -> dict:
    return {
        "kernel": (o.FilterHeight(), o.FilterWidth()),
        "strides": (o.StrideH(), o.StrideW()),
        "padding": _PADDING[o.Padding()],
        "activation": _ACTIVATIONS[o.FusedActivationFunction()],
    }


# Operator -> (class of its options in the schema, how to decode them). Operators without options are not listed.
_OPTIONS = {
    "CONV_2D": (tflite.Conv2DOptions, _convolution_options),
    "DEPTHWISE_CONV_2D": (tflite.DepthwiseConv2DOptions, _convolution_options),
    "MAX_POOL_2D": (tflite.Pool2DOptions, _pool_options),
    "ADD": (tflite.AddOptions, lambda o: {"activation": _ACTIVATIONS[o.FusedActivationFunction()]}),
    "CONCATENATION": (
        tflite.ConcatenationOptions,
        lambda o: {"axis": o.Axis(), "activation": _ACTIVATIONS[o.FusedActivationFunction()]},
    ),
    "RESIZE_BILINEAR": (
        tflite.ResizeBilinearOptions,
        lambda o: {"align_corners": bool(o.AlignCorners()), "half_pixel_centers": bool(o.HalfPixelCenters())},
    ),
    "DEPTH_TO_SPACE": (tflite.DepthToSpaceOptions, lambda o: {"block_size": o.BlockSize()}),
}


def _read_tensor(model, tensor) -> Tensor:
    name = tensor.Name().decode()
    if tensor.Type() not in _DTYPES:
        raise UnsupportedModel(f"tensor {name!r} has element type {tensor.Type()}; supported: {sorted(_DTYPES)}")
    dtype = _DTYPES[tensor.Type()]
    shape = tuple(int(n) for n in tensor.ShapeAsNumpy()) if tensor.ShapeLength() else ()
    sparsity = _read_sparsity(name, tensor.Sparsity()) if tensor.Sparsity() is not None else None

    data = None
    buffer = model.Buffers(tensor.Buffer())
    if buffer.DataLength():
        data = np.frombuffer(buffer.DataAsNumpy().tobytes(), dtype)
        if sparsity is None:
            data = data.reshape(shape)
    return Tensor(name, shape, dtype, data, sparsity)


def _read_sparsity(name: str, parameters) -> Sparsity:
    levels: list[DenseLevel | SparseLevel] = []
    for i in range(parameters.DimMetadataLength()):
        level = parameters.DimMetadata(i)
        if level.Format() == tflite.DimensionType.DENSE:
            levels.append(DenseLevel(level.DenseSize()))
        else:
            levels.append(
                SparseLevel(
                    _read_index_vector(name, level.ArraySegmentsType(), level.ArraySegments()),
                    _read_index_vector(name, level.ArrayIndicesType(), level.ArrayIndices()),
                )
            )
    block_map = parameters.BlockMapAsNumpy().tolist() if parameters.BlockMapLength() else []
    return Sparsity(parameters.TraversalOrderAsNumpy().tolist(), block_map, levels)


def _read_index_vector(name: str, kind: int, table) -> np.ndarray:
    if kind not in _INDEX_VECTORS:
        raise UnsupportedModel(f"tensor {name!r} has a sparse index of unknown kind {kind}")
    vector = _INDEX_VECTORS[kind]()
    vector.Init(table.Bytes, table.Pos)
    return np.asarray(vector.ValuesAsNumpy(), np.int64)


def _read_operator(model, operator) -> Operator:
    code = model.OperatorCodes(operator.OpcodeIndex())
    # Files written before 2020 keep the number in the older, one-byte field; the larger of the two is the right one.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    kind = _OPERATOR_NAMES.get(number, f"operator number {number}")
    options = {}
    if kind in _OPTIONS:
        options_class, decode = _OPTIONS[kind]
        table = operator.BuiltinOptions()
        typed = options_class()
        typed.Init(table.Bytes, table.Pos)
        options = decode(typed)
    return Operator(
        kind,
        [operator.Inputs(i) for i in range(operator.InputsLength())],
        [operator.Outputs(i) for i in range(operator.OutputsLength())],
        options,
    )
