"""A model as the readers give it and the writer takes it: tensors and operators in plain Python.

The readers are tflite_graph.py and tfjs_graph.py, the writer is to_onnx.py. Operators are named, laid out and optioned as
TensorFlow Lite has them (CONV_2D, kernels [out, height, width, in]); a reader of another format translates. Constants are
numpy arrays of the shape the file states. Sparse constants stay as their list of values beside a `Sparsity`; `densify`
expands them (the DENSIFY operator does nothing else).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


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
    """A model with one sub-graph, operators in the order they run. `format` is that of the file it was read from."""

    tensors: list[Tensor]
    operators: list[Operator]
    inputs: list[int]
    outputs: list[int]
    format: str = "tflite"


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
