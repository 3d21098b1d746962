"""Tests of the converter and its readers; run `python -m unittest discover -s models`."""

import base64
import json
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent / "convert"))

import numpy as np
import onnxruntime

import tfjs_graph
from graph import DenseLevel, Graph, Operator, SparseLevel, Sparsity, Tensor, UnsupportedModel, densify
from mediapipe_assets import BrokenBundle, read_index
from to_onnx import convert, same_padding, write_onnx


def graph_of(kind, inputs, output_shape, options, sparsity=None):
    """A graph of one operator. `inputs` are shapes (given at run time, named in_0, ...) or arrays (constants)."""
    tensors, given = [], []
    for number, value in enumerate(inputs):
        if isinstance(value, tuple):
            given.append(number)
            tensors.append(Tensor(f"in_{number}", value, np.dtype(np.float32)))
        else:
            tensors.append(Tensor(f"constant_in_{number}", value.shape, value.dtype, value))
    tensors.append(Tensor("out", output_shape, np.dtype(np.float32)))
    return Graph(tensors, [Operator(kind, list(range(len(inputs))), [len(inputs)], options)], given, [len(inputs)])


def run(graph, batch=False, **feeds):
    model = convert(graph, batch=batch).SerializeToString()
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(None, {name: value.astype(np.float32) for name, value in feeds.items()})[0]


def random(*shape):
    return np.random.default_rng(7).normal(size=shape).astype(np.float32)


class Convolution(unittest.TestCase):
    OPTIONS = {"strides": (2, 2), "dilations": (1, 1), "padding": "SAME", "activation": "RELU6"}

    def test_same_padding_puts_the_odd_one_after(self):
        self.assertEqual(same_padding(224, 3, 2, 1), (0, 1))
        self.assertEqual(same_padding(5, 3, 1, 1), (1, 1))
        self.assertEqual(same_padding(5, 3, 1, 2), (2, 2))
        self.assertEqual(same_padding(4, 1, 2, 1), (0, 0))

    def expected(self, image, weights, bias, depthwise):
        """By the definition: NHWC, stride 2, SAME on an even size: nothing before, one row and column after."""
        padded = np.pad(image, ((0, 0), (0, 1), (0, 1), (0, 0)))
        rows = (image.shape[1] + 1) // 2
        result = np.zeros((1, rows, rows, len(bias)))
        for y in range(rows):
            for x in range(rows):
                window = padded[0, 2 * y : 2 * y + 3, 2 * x : 2 * x + 3]
                if depthwise:
                    result[0, y, x] = (window * weights[0]).sum((0, 1)) + bias
                else:
                    result[0, y, x] = (weights * window).sum((1, 2, 3)) + bias
        return np.clip(result, 0, 6)

    def test_convolution_with_stride_padding_bias_and_activation(self):
        image, weights, bias = random(1, 6, 6, 3), random(4, 3, 3, 3), random(4)
        graph = graph_of("CONV_2D", [image.shape, weights, bias], (1, 3, 3, 4), self.OPTIONS)
        np.testing.assert_allclose(run(graph, in_0=image), self.expected(image, weights, bias, False), atol=1e-5)

    def test_depthwise_convolution_with_fp16_weights(self):
        image, bias = random(1, 6, 6, 5), random(5)
        weights = random(1, 3, 3, 5).astype(np.float16)
        graph = graph_of("DEPTHWISE_CONV_2D", [image.shape, weights, bias], (1, 3, 3, 5), self.OPTIONS)
        expected = self.expected(image, weights.astype(np.float32), bias, True)
        np.testing.assert_allclose(run(graph, in_0=image), expected, atol=1e-5)

    def test_kernel_that_is_no_constant_is_refused(self):
        graph = graph_of("CONV_2D", [(1, 6, 6, 3), (4, 3, 3, 3)], (1, 3, 3, 4), self.OPTIONS)
        with self.assertRaisesRegex(UnsupportedModel, "operator 0 CONV_2D: the kernel .*in_1.* is not a constant"):
            convert(graph)

    def test_unknown_activation_is_refused(self):
        options = {**self.OPTIONS, "activation": "TANH"}
        graph = graph_of("CONV_2D", [(1, 6, 6, 3), random(4, 3, 3, 3)], (1, 3, 3, 4), options)
        with self.assertRaisesRegex(UnsupportedModel, "CONV_2D: fused activation TANH"):
            convert(graph)


class OtherOperators(unittest.TestCase):
    def test_add_of_images_and_of_vectors(self):
        for shape in ((1, 2, 3, 4), (1, 5)):
            graph = graph_of("ADD", [shape, shape], shape, {"activation": "RELU"})
            a, b = random(*shape), -0.5 * random(*shape) + 0.1
            np.testing.assert_allclose(run(graph, in_0=a, in_1=b), np.maximum(a + b, 0), atol=1e-6)

    def test_concatenation_keeps_the_meaning_of_the_axis(self):
        for a, b, axis in (((1, 2, 3, 4), (1, 2, 3, 2), -1), ((1, 2, 3, 4), (1, 5, 3, 4), 1), ((1, 7, 2), (1, 3, 2), 1)):
            joined = np.concatenate([random(*a), random(*b)], axis)
            graph = graph_of("CONCATENATION", [a, b], joined.shape, {"axis": axis, "activation": "NONE"})
            np.testing.assert_array_equal(run(graph, in_0=random(*a), in_1=random(*b)), joined)

    def test_products_with_images_vectors_and_numbers(self):
        image = random(1, 2, 3, 4)
        for other in (random(1, 1, 1, 4), random(4), np.float32(0.5).reshape(())):
            graph = graph_of("MUL", [image.shape, np.asarray(other)], image.shape, {"activation": "RELU6"})
            np.testing.assert_allclose(run(graph, in_0=image), np.clip(image * other, 0, 6), atol=1e-6)

    def test_mean_over_rows_and_columns(self):
        image = random(1, 5, 3, 4)
        graph = graph_of("MEAN", [image.shape], (1, 1, 1, 4), {})
        np.testing.assert_allclose(run(graph, in_0=image), image.mean(axis=(1, 2), keepdims=True), atol=1e-6)

    def test_what_is_done_to_each_element(self):
        image = 5 * random(1, 2, 3, 4)
        for kind, expected in (
            ("RELU", np.maximum(image, 0)),
            ("RELU6", np.clip(image, 0, 6)),
            ("HARD_SWISH", image * np.clip(image + 3, 0, 6) / 6),
        ):
            np.testing.assert_allclose(run(graph_of(kind, [image.shape], image.shape, {}), in_0=image), expected, atol=1e-5)

    def test_pad_of_rows_columns_and_channels(self):
        amounts = np.array([[0, 0], [1, 2], [0, 3], [0, 4]], np.int32)
        image = random(1, 2, 3, 4)
        graph = graph_of("PAD", [image.shape, amounts], (1, 5, 6, 8), {})
        np.testing.assert_array_equal(run(graph, in_0=image), np.pad(image, amounts))

    def test_reshape_reads_images_channels_last(self):
        image = random(1, 2, 3, 4)
        tensors = [Tensor(n, s, np.dtype(np.float32)) for n, s in (("in_0", (1, 2, 3, 4)), ("mid", (1, 2, 3, 4)), ("out", (1, 24)))]
        # The Add leaves the image channels first inside; the reshape must not see that.
        operators = [Operator("ADD", [0, 0], [1], {"activation": "NONE"}), Operator("RESHAPE", [1], [2])]
        np.testing.assert_allclose(run(Graph(tensors, operators, [0], [2]), in_0=image), 2 * image.reshape(1, 24))

    def test_max_pool(self):
        image = random(1, 4, 4, 2)
        options = {"kernel": (2, 2), "strides": (2, 2), "padding": "SAME", "activation": "NONE"}
        expected = image.reshape(1, 2, 2, 2, 2, 2).max(axis=(2, 4))
        np.testing.assert_array_equal(run(graph_of("MAX_POOL_2D", [(1, 4, 4, 2)], (1, 2, 2, 2), options), in_0=image), expected)

    def test_depth_to_space(self):
        image = random(1, 2, 2, 8)
        expected = image.reshape(1, 2, 2, 2, 2, 2).transpose(0, 1, 3, 2, 4, 5).reshape(1, 4, 4, 2)
        np.testing.assert_array_equal(run(graph_of("DEPTH_TO_SPACE", [(1, 2, 2, 8)], (1, 4, 4, 2), {"block_size": 2}), in_0=image), expected)

    def test_resize_bilinear_with_each_rule_for_coordinates(self):
        ramp = np.arange(4.0).reshape(1, 1, 4, 1)
        sizes = np.array([1, 8], np.int32)
        rules = {
            (False, False): [0, 0.5, 1, 1.5, 2, 2.5, 3, 3],
            (False, True): [0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3],
            (True, False): np.arange(8) * 3 / 7,
        }
        for (align, half), expected in rules.items():
            options = {"align_corners": align, "half_pixel_centers": half}
            graph = graph_of("RESIZE_BILINEAR", [(1, 1, 4, 1), sizes], (1, 1, 8, 1), options)
            np.testing.assert_allclose(run(graph, in_0=ramp).ravel(), expected, atol=1e-6)

    def test_logistic(self):
        np.testing.assert_allclose(run(graph_of("LOGISTIC", [(1, 3)], (1, 3), {}), in_0=np.zeros((1, 3))), 0.5)

    def test_unsupported_operator_is_named(self):
        with self.assertRaisesRegex(UnsupportedModel, "operator 0 SOFTMAX .*'out'.* is not supported; supported: ADD"):
            convert(graph_of("SOFTMAX", [(1, 3)], (1, 3), {}))


class Sparse(unittest.TestCase):
    def test_csr_matrix(self):
        levels = [DenseLevel(3), SparseLevel(np.array([0, 2, 2, 3]), np.array([0, 3, 1]))]
        dense = densify((3, 4), Sparsity([0, 1], [], levels), np.array([5, 6, 7], np.float16))
        np.testing.assert_array_equal(dense, [[5, 0, 0, 6], [0, 0, 0, 0], [0, 7, 0, 0]])
        self.assertEqual(dense.dtype, np.float16)

    def test_matrix_in_blocks(self):
        # 2 x 4 in blocks of 1 x 2: row 0 holds block 1, row 1 holds block 0.
        levels = [DenseLevel(2), SparseLevel(np.array([0, 1, 2]), np.array([1, 0])), DenseLevel(2)]
        dense = densify((2, 4), Sparsity([0, 1, 2], [1], levels), np.array([1, 2, 3, 4], np.float32))
        np.testing.assert_array_equal(dense, [[0, 0, 1, 2], [3, 4, 0, 0]])

    def test_sparse_fp16_constant_is_folded_and_used(self):
        levels = [DenseLevel(1), SparseLevel(np.array([0, 2]), np.array([0, 2]))]
        sparse = Tensor("s", (1, 3), np.dtype(np.float16), np.array([1, 2], np.float16), Sparsity([0, 1], [], levels))
        plain = [Tensor(n, (1, 3), np.dtype(np.float32)) for n in ("dense", "wide", "in_0", "out")]
        operators = [Operator("DENSIFY", [0], [1]), Operator("DEQUANTIZE", [1], [2]), Operator("ADD", [2, 3], [4], {"activation": "NONE"})]
        graph = Graph([sparse, *plain], operators, [3], [4])
        np.testing.assert_array_equal(run(graph, in_0=np.ones((1, 3))), [[2, 1, 3]])


class KeptOutputs(unittest.TestCase):
    def setUp(self):
        tensors = [Tensor(n, (1, 2), np.dtype(np.float32)) for n in ("in_0", "a", "b")]
        self.graph = Graph(tensors, [Operator("LOGISTIC", [0], [1]), Operator("SOFTMAX", [0], [2])], [0], [1, 2])

    def test_what_only_other_outputs_need_is_left_out(self):
        model = convert(self.graph, ["a"])
        self.assertEqual([o.name for o in model.graph.output], ["a"])
        self.assertEqual([n.op_type for n in model.graph.node], ["Sigmoid", "Identity"])

    def test_unknown_output_is_refused(self):
        with self.assertRaisesRegex(UnsupportedModel, "no output is named c; the model has: a, b"):
            convert(self.graph, ["a", "c"])


class Batch(unittest.TestCase):
    """A model made for one picture gives for several what it gives for each."""

    def check(self, graph, *shape):
        pictures = random(3, *shape)
        together = run(graph, batch=True, in_0=pictures)
        np.testing.assert_allclose(together, np.concatenate([run(graph, in_0=p[None]) for p in pictures]), atol=1e-6)

    def test_convolution_resize_and_reshape(self):
        options = {**Convolution.OPTIONS, "activation": "NONE"}
        self.check(graph_of("CONV_2D", [(1, 6, 6, 3), random(4, 3, 3, 3)], (1, 3, 3, 4), options), 6, 6, 3)
        options = {"align_corners": False, "half_pixel_centers": True}
        sizes = np.array([4, 9], np.int32)
        self.check(graph_of("RESIZE_BILINEAR", [(1, 2, 3, 2), sizes], (1, 4, 9, 2), options), 2, 3, 2)
        self.check(graph_of("RESHAPE", [(1, 2, 3, 2)], (1, 12), {}), 2, 3, 2)

    def test_what_mixes_pictures_or_has_no_batch_is_refused(self):
        for graph, message in (
            (graph_of("RESHAPE", [(1, 2, 3)], (2, 3), {}), "'out' has shape .2, 3.: no batch of 1"),
            (graph_of("LOGISTIC", [(2, 3)], (2, 3), {}), "'in_0' has shape .2, 3.: no batch of 1"),
            (
                graph_of("RESIZE_BILINEAR", [(1, 2, 2, 1), np.array([3, 3])], (1, 3, 3, 1), {"align_corners": False, "half_pixel_centers": True}),
                "enlarges 2x2 to 3x3: only whole factors",
            ),
        ):
            with self.assertRaisesRegex(UnsupportedModel, message):
                convert(graph, batch=True)


class TensorFlowJs(unittest.TestCase):
    """A model.json of a depthwise and a plain convolution, an addition, an enlargement and a sigmoid."""

    BEGIN = {"name": "image", "node": "prepared", "shape": [1, 4, 4, 2]}
    KEEP = {"score": "sigmoid", "raw": "sum"}

    def model(self, folder, change=lambda nodes: nodes):
        text = lambda value: base64.b64encode(value.encode()).decode()  # noqa: E731
        window = {"padding": {"s": text("SAME")}, "strides": {"list": {"i": ["1", "2", "2", "1"]}}}
        self.depthwise, self.plain, self.bias = random(3, 3, 2, 1), random(1, 1, 2, 3), random(3)
        fused = {**window, "fused_ops": {"list": {"s": [text("BiasAdd"), text("Relu6")]}}}
        constants = {"dw": self.depthwise, "w": self.plain.astype(np.float16), "b": self.bias, "size": np.array([4, 4], np.int32)}
        nodes = [
            {"name": "prepared", "op": "Cast", "input": ["picture"]},
            *({"name": name, "op": "Const"} for name in constants),
            {"name": "sigmoid", "op": "Sigmoid", "input": ["up", "^nothing"]},
            {"name": "depthwise", "op": "DepthwiseConv2dNative", "input": ["prepared", "dw"], "attr": window | {"strides": {"list": {"i": ["1"] * 4}}}},
            {"name": "plain", "op": "_FusedConv2D", "input": ["depthwise:0", "w", "b"], "attr": fused},
            {"name": "sum", "op": "AddV2", "input": ["plain", "plain"]},
            {"name": "up", "op": "ResizeBilinear", "input": ["sum", "size"], "attr": {"half_pixel_centers": {"b": True}}},
        ]
        weights = [
            {"name": name, "shape": list(value.shape), "dtype": "int32" if value.dtype == np.int32 else "float32"}
            | ({"quantization": {"dtype": "float16"}} if value.dtype == np.float16 else {})
            for name, value in constants.items()
        ]
        (folder / "w.bin").write_bytes(b"".join(value.tobytes() for value in constants.values()))
        manifest = [{"paths": ["w.bin"], "weights": weights}]
        content = {"modelTopology": {"node": change(nodes)}, "weightsManifest": manifest}
        (folder / "model.json").write_text(json.dumps(content))
        return folder / "model.json"

    def read(self, change=lambda nodes: nodes, keep=KEEP, begin=BEGIN):
        with tempfile.TemporaryDirectory() as temporary:
            return tfjs_graph.read_graph(self.model(Path(temporary), change), begin, keep)

    def test_the_part_between_two_cuts_computes_what_it_should(self):
        model = convert(self.read(), batch=True)
        self.assertEqual([o.name for o in model.graph.output], ["score", "raw"])
        self.assertEqual(model.producer_name, "sideline tfjs_to_onnx")
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        images = random(2, 4, 4, 2)
        score, raw = session.run(["score", "raw"], {"image": images})
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.stack([padded[:, y : y + 4, x : x + 4] for y in range(3) for x in range(3)])
        between = (windows * self.depthwise.reshape(9, 1, 1, 1, 2)).sum(0)[:, ::2, ::2]
        expected = 2 * np.clip(between @ self.plain[0, 0].astype(np.float16).astype(np.float32) + self.bias, 0, 6)
        np.testing.assert_allclose(raw, expected, atol=1e-5)
        # Enlarged twice, the first sample lies a quarter before the first pixel's middle: that pixel itself.
        np.testing.assert_allclose(score[:, 0, 0], 1 / (1 + np.exp(-expected[:, 0, 0])), atol=1e-5)

    def test_mean_concatenation_and_hard_swish_are_read(self):
        sixth, three = np.float16(1 / 6).reshape(()), np.float32(3).reshape(())

        def swished(nodes):
            """In place of the sigmoid: a hard swish, beside its mean, one after the other along the channels."""
            constants = [{"name": name, "op": "Const"} for name in ("sixth", "three", "axes", "axis")]
            return [node for node in nodes if node["name"] != "sigmoid"] + constants + [
                {"name": "part", "op": "Mul", "input": ["sixth", "up"]},
                {"name": "shifted", "op": "Add", "input": ["up", "three"]},
                {"name": "clipped", "op": "Relu6", "input": ["shifted"]},
                {"name": "swish", "op": "Mul", "input": ["part", "clipped"]},
                {"name": "mean", "op": "Mean", "input": ["swish", "axes"], "attr": {"keep_dims": {"b": True}}},
                {"name": "scaled", "op": "Mul", "input": ["swish", "mean"]},
                {"name": "joined", "op": "ConcatV2", "input": ["swish", "scaled", "axis"]},
                {"name": "sigmoid", "op": "Identity", "input": ["joined"]},
            ]

        with tempfile.TemporaryDirectory() as temporary:
            path = self.model(Path(temporary), swished)
            content = json.loads(path.read_text())
            more = {"sixth": sixth, "three": three, "axes": np.array([1, 2], np.int32), "axis": np.array(3, np.int32)}
            weights = content["weightsManifest"][0]["weights"]
            for name, value in more.items():
                packed = {"quantization": {"dtype": "float16"}} if value.dtype == np.float16 else {}
                weights.append({"name": name, "shape": list(value.shape), "dtype": "int32" if value.dtype == np.int32 else "float32"} | packed)
            with open(path.parent / "w.bin", "ab") as file:
                file.write(b"".join(value.tobytes() for value in more.values()))
            path.write_text(json.dumps(content))
            graph = tfjs_graph.read_graph(path, self.BEGIN, {"all": "sigmoid", "raw": "up"})
        self.assertIn("HARD_SWISH", [operator.kind for operator in graph.operators])
        model = convert(graph, batch=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        joined, raw = session.run(["all", "raw"], {"image": 3 * random(2, 4, 4, 2)})
        expected = raw * np.clip(raw + 3, 0, 6) / 6
        scaled = expected * expected.mean(axis=(1, 2), keepdims=True)
        np.testing.assert_allclose(joined, np.concatenate([expected, scaled], axis=3), atol=1e-4)

    def test_what_is_not_supported_or_not_there_is_named(self):
        def softmax(nodes):
            return [{**node, "op": "Softmax"} if node["name"] == "sum" else node for node in nodes]

        for options, message in (
            ({"change": softmax}, "operator Softmax .node 'sum'. is not supported.*supported: Add, AddV2"),
            ({"keep": {"score": "sigmoids"}}, "there is no node 'sigmoids'"),
            ({"begin": {**self.BEGIN, "node": "dw"}}, "operator Cast .node 'prepared'|takes 'picture', which does not exist"),
            ({"change": lambda nodes: [n for n in nodes if n["name"] != "up"]}, "takes 'up', which does not exist"),
        ):
            with self.assertRaisesRegex(UnsupportedModel, message):
                self.read(**options)
        with tempfile.TemporaryDirectory() as temporary:
            path = self.model(Path(temporary))
            (path.parent / "w.bin").write_bytes(b"short")
            with self.assertRaisesRegex(UnsupportedModel, "constant 'dw' lies beyond the end of w.bin"):
                tfjs_graph.read_graph(path, self.BEGIN, self.KEEP)
            path.write_text("{}")
            with self.assertRaisesRegex(UnsupportedModel, "not a TensorFlow.js graph model"):
                tfjs_graph.read_graph(path, self.BEGIN, self.KEEP)


class Assets(unittest.TestCase):
    CODE = "var loadPackage = function(m) {}; loadPackage(m);"

    def test_index_is_the_argument_of_the_last_call(self):
        index = read_index(self.CODE + 'loadPackage({"files": [{"filename": "/x/a", "start": 2, "end": 5}], "remote_package_size": 9});', 9)
        self.assertEqual([(a.path, a.start, a.end) for a in index], [("/x/a", 2, 5)])

    def test_script_without_index_wrong_size_and_wrong_place_are_refused(self):
        for call, message in (
            ("", "no call"),
            ('loadPackage({"files": [], "remote_package_size": 8});', "expects 8 bytes, the bundle has 9"),
            ('loadPackage({"files": [{"filename": "a", "start": 2, "end": 10}]});', "a lies at 2..10"),
        ):
            with self.assertRaisesRegex(BrokenBundle, message):
                read_index(self.CODE + call, 9)


class Determinism(unittest.TestCase):
    def test_two_conversions_give_the_same_bytes(self):
        graph = graph_of("CONV_2D", [(1, 6, 6, 3), random(4, 3, 3, 3)], (1, 3, 3, 4), Convolution.OPTIONS)
        with tempfile.TemporaryDirectory() as temporary:
            first, second = Path(temporary) / "1", Path(temporary) / "2"
            write_onnx(convert(graph), first)
            write_onnx(convert(graph), second)
            self.assertEqual(first.read_bytes(), second.read_bytes())


if __name__ == "__main__":
    unittest.main()
