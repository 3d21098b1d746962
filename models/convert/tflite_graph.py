"""Reads a TensorFlow Lite file into a `Graph` (graph.py), no flatbuffers beyond this file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tflite

from graph import DenseLevel, Graph, Operator, Sparsity, SparseLevel, Tensor, UnsupportedModel


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
