"""Tests of the conversion of PyTorch weights and of MobileNetV2; run `python -m unittest discover -s models`."""

import io
import pickle
import sys
import tempfile
import unittest
import zipfile
from pathlib import Path

MODELS = Path(__file__).resolve().parent
sys.path.insert(0, str(MODELS / "convert"))

import numpy as np
import onnxruntime

import mobilenetv2_to_onnx
from torch_weights import BrokenWeights, read_weights


class TorchWeights(unittest.TestCase):
    """Files as `torch.save` writes them, made here by hand: PyTorch itself is not needed."""

    VALUES = np.arange(12, dtype=np.float32)

    class Storage:
        def __init__(self, key):
            self.key = key

    class Tensor:
        def __init__(self, arguments):
            self.arguments = arguments

        def __reduce__(self):
            return TorchWeights.rebuild, self.arguments

    @staticmethod
    def rebuild(*_):
        raise AssertionError("only its name is written")

    def pickled(self, content):
        """A pickle whose stand-ins bear the names of PyTorch's own classes."""
        stand_ins = {self.rebuild: b"ctorch._utils\n_rebuild_tensor_v2\n", np.float32: b"ctorch\nFloatStorage\n"}
        outer = self

        class Pickler(pickle._Pickler):
            def save_global(self, value, name=None):
                self.write(stand_ins[value]) if value in stand_ins else super().save_global(value, name)

            def persistent_id(self, value):
                return ("storage", np.float32, value.key, "cpu", 12) if isinstance(value, outer.Storage) else None

        # The stand-ins are reached through these.
        Pickler.dispatch = {**pickle._Pickler.dispatch, type: Pickler.save_global, type(self.rebuild): Pickler.save_global}
        file = io.BytesIO()
        Pickler(file, 2).dump(content)
        return file.getvalue()

    def old_file(self, folder, content):
        begin = b"".join(self.pickled(part) for part in (0x1950A86A20F9469CFC6C, 1001, {}, content, ["k"]))
        path = Path(folder) / "old.pt"
        path.write_bytes(begin + (12).to_bytes(8, "little") + self.VALUES.tobytes())
        return path

    def zip_file(self, folder, content):
        path = Path(folder) / "new.pt"
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", self.pickled(content))
            archive.writestr("archive/data/k", self.VALUES.tobytes())
        return path

    def tensor(self, offset, shape, strides):
        return self.Tensor((self.Storage("k"), offset, shape, strides, False, {}))

    def test_both_formats_are_read_with_offset_and_strides(self):
        content = {"plain": self.tensor(0, (3, 4), (4, 1)), "turned": self.tensor(1, (2, 3), (1, 4))}
        with tempfile.TemporaryDirectory() as folder:
            for write in (self.old_file, self.zip_file):
                weights = read_weights(write(folder, content))
                np.testing.assert_array_equal(weights["plain"], self.VALUES.reshape(3, 4))
                np.testing.assert_array_equal(weights["turned"], self.VALUES.reshape(3, 4)[:, 1:3].T)

    def test_code_other_files_and_tensors_beyond_their_storage_are_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            other = Path(folder) / "other.pt"
            for content, message in (
                (pickle.dumps(Path("x")), "holds a pathlib.*, which is no tensor"),
                (pickle.dumps(5), "does not begin as a PyTorch file"),
                (b"", "cannot be read as PyTorch weights"),
            ):
                other.write_bytes(content)
                with self.assertRaisesRegex(BrokenWeights, message):
                    read_weights(other)
            with self.assertRaisesRegex(BrokenWeights, "tensor a lies outside its storage"):
                read_weights(self.zip_file(folder, {"a": self.tensor(8, (5,), (1,))}))
            cut = self.old_file(folder, {"a": self.tensor(0, (12,), (1,))})
            cut.write_bytes(cut.read_bytes()[:-4])
            with self.assertRaisesRegex(BrokenWeights, "cut short"):
                read_weights(cut)


class MobileNetV2(unittest.TestCase):
    @staticmethod
    def weights():
        """Random weights of the right shapes, whose values neither die out nor grow from layer to layer."""
        draw, weights = np.random.default_rng(3), {}
        for name, norm, shape, *_ in mobilenetv2_to_onnx.layers():
            weights[f"{name}.weight"] = draw.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
            for key, low, high in (("weight", 0.8, 1.2), ("bias", -0.2, 0.2), ("running_mean", -0.2, 0.2), ("running_var", 0.5, 1.5)):
                weights[f"{norm}.{key}"] = draw.uniform(low, high, shape[0]).astype(np.float32)
        return weights

    @staticmethod
    def layer(image, weights, prefix, convolution, norm, stride=1, active=True):
        """Convolution, normalization and ReLU6 by their definitions; image [channels, rows, columns]."""
        kernel = weights[f"{prefix}{convolution}.weight"].astype(np.float64)
        size = kernel.shape[2]
        padded = np.pad(image, ((0, 0), (size // 2,) * 2, (size // 2,) * 2))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (size, size), (1, 2))[:, ::stride, ::stride]
        if kernel.shape[1] == 1 and image.shape[0] == kernel.shape[0]:
            value = np.einsum("cyxhw,chw->cyx", windows, kernel[:, 0])
        else:
            value = np.tensordot(kernel, windows, axes=([1, 2, 3], [0, 3, 4]))
        gamma, beta, mean, variance = (
            weights[f"{prefix}{norm}.{key}"].astype(np.float64)[:, None, None] for key in ("weight", "bias", "running_mean", "running_var")
        )
        value = (value - mean) / np.sqrt(variance + 1e-5) * gamma + beta
        return np.clip(value, 0, 6) if active else value

    def expected(self, image, weights):
        """The network as the paper draws it (Sandler et al. 2018, figure 4 and table 2)."""
        value, number = self.layer(image, weights, "features.0.", 0, 1, 2), 1
        for expansion, channels, count, stride in ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
            for block in range(count):
                inside, at, prefix = value, 0, f"features.{number}.conv."
                if expansion > 1:
                    inside, at = self.layer(inside, weights, prefix, 0, 1), 3
                inside = self.layer(inside, weights, prefix, at, at + 1, stride if block == 0 else 1)
                inside = self.layer(inside, weights, prefix, at + 3, at + 4, active=False)
                value, number = (value + inside if block > 0 else inside), number + 1
        return self.layer(value, weights, "features.18.", 0, 1).mean(axis=(1, 2))

    def test_the_converted_network_computes_what_its_definition_says(self):
        weights, image = self.weights(), np.random.default_rng(5).normal(size=(3, 224, 224)).astype(np.float32)
        model = mobilenetv2_to_onnx.convert(weights).SerializeToString(deterministic=True)
        self.assertEqual(model, mobilenetv2_to_onnx.convert(weights).SerializeToString(deterministic=True))
        session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
        found = session.run(None, {"images": image[None]})[0][0]
        expected = self.expected(image.astype(np.float64), weights)
        self.assertGreater(expected.std(), 0.01)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)

    def test_weights_of_another_network_are_refused(self):
        weights = self.weights()
        with self.assertRaisesRegex(BrokenWeights, "features.1.conv.0.weight has shape .1, 1, 3, 3., not .32, 1, 3, 3."):
            mobilenetv2_to_onnx.convert({**weights, "features.1.conv.0.weight": weights["features.1.conv.0.weight"][:1]})
        del weights["features.18.1.bias"]
        with self.assertRaisesRegex(BrokenWeights, "holds no features.18.1.bias"):
            mobilenetv2_to_onnx.convert(weights)


if __name__ == "__main__":
    unittest.main()
