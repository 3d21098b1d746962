"""Converts the weights of a MobileNetV2 without its classifier to ONNX: `python mobilenetv2_to_onnx.py IN.pt OUT.onnx`.

The network is that of Sandler et al., "MobileNetV2", 2018, table 2, up to the mean over the last 7 x 7 x 1280: an
embedding of 1280 values, none below 0. Tensor names are those of torchvision's first MobileNetV2 (`features.N.conv.M`).
Every batch normalization is folded into the convolution before it. The same weights and library versions give the same
bytes.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from torch_weights import BrokenWeights, read_weights

# Fixed, so that a newer onnx package writes the same file.
OPSET = 13
IR_VERSION = 8

# Pixels each way of the input.
SIZE = 224
# Added to the variance by torch.nn.BatchNorm2d.
EPSILON = 1e-5
# Expansion, channels, blocks, stride of the first: table 2 of the paper.
BLOCKS = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
STEM, LAST = 32, 1280


def layers():
    """Every convolution in order: (name of its weights, of its normalization, shape, stride, groups, ReLU6 behind it, block).

    Convolutions of one block have its number; the stem and the last one have None. A block whose input fits its output
    adds the two.
    """
    yield "features.0.0", "features.0.1", (STEM, 3, 3, 3), 2, 1, True, None
    channels, number = STEM, 1
    for expansion, out, count, first_stride in BLOCKS:
        for block in range(count):
            stride, hidden, prefix, at = first_stride if block == 0 else 1, channels * expansion, f"features.{number}.conv.", 0
            if expansion != 1:
                yield prefix + "0", prefix + "1", (hidden, channels, 1, 1), 1, 1, True, number
                at = 3
            yield prefix + str(at), prefix + str(at + 1), (hidden, 1, 3, 3), stride, hidden, True, number
            yield prefix + str(at + 3), prefix + str(at + 4), (out, hidden, 1, 1), 1, 1, False, number
            channels, number = out, number + 1
    yield f"features.{number}.0", f"features.{number}.1", (LAST, channels, 1, 1), 1, 1, True, None


def convert(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """The network with these weights: `images` [1, 3, 224, 224] to `embedding` [1, 1280]."""
    nodes, initializers = [], []

    def constant(value: np.ndarray) -> str:
        initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), f"constant_{len(initializers)}"))
        return initializers[-1].name

    def node(kind: str, inputs: list[str], output: str | None = None, **attributes) -> str:
        output = output or f"value_{len(nodes)}"
        nodes.append(helper.make_node(kind, inputs, [output], name=f"node_{len(nodes)}", **attributes))
        return output

    low, high = constant(np.array(0, np.float32)), constant(np.array(6, np.float32))
    value, begun, entry, channels, strided = "images", None, "images", 3, False
    for name, norm, shape, stride, groups, active, block in layers():
        if block != begun:
            # A block begins: what it starts from may be added to its end.
            begun, entry, entry_channels, strided = block, value, channels, False
        strided |= stride != 1
        kernel, bias = _folded(weights, name, norm, shape)
        pads = [shape[2] // 2] * 4
        value = node("Conv", [value, constant(kernel), constant(bias)], strides=[stride] * 2, group=groups, kernel_shape=shape[2:], pads=pads)
        channels = shape[0]
        if active:
            value = node("Clip", [value, low, high])
        elif not strided and channels == entry_channels:
            value = node("Add", [entry, value])
    value = node("GlobalAveragePool", [value])
    node("Flatten", [value], "embedding")
    graph = helper.make_graph(
        nodes,
        "mobilenetv2",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, LAST])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _folded(weights: dict[str, np.ndarray], name: str, norm: str, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Kernel and bias of a convolution with the normalization behind it: kernel * g, beta - mean * g, g = gamma / deviation."""

    def tensor(key: str, expected: tuple[int, ...]) -> np.ndarray:
        if key not in weights:
            raise BrokenWeights(f"it holds no {key}: it is no MobileNetV2 of full width")
        if weights[key].shape != expected:
            raise BrokenWeights(f"{key} has shape {weights[key].shape}, not {expected}: it is no MobileNetV2 of full width")
        return weights[key].astype(np.float64)

    of_norm = shape[:1]
    gain = tensor(f"{norm}.weight", of_norm) / np.sqrt(tensor(f"{norm}.running_var", of_norm) + EPSILON)
    kernel = tensor(f"{name}.weight", shape) * gain[:, None, None, None]
    bias = tensor(f"{norm}.bias", of_norm) - tensor(f"{norm}.running_mean", of_norm) * gain
    return kernel.astype(np.float32), bias.astype(np.float32)


def convert_file(source: Path, destination: Path) -> onnx.ModelProto:
    """Converts the file `source`, writes `destination`, and returns the model."""
    model = convert(read_weights(source))
    destination.write_bytes(model.SerializeToString(deterministic=True))
    return model


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 1
    try:
        convert_file(Path(sys.argv[1]), Path(sys.argv[2]))
    except (BrokenWeights, OSError) as error:
        print(f"mobilenetv2_to_onnx: {sys.argv[1]}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
