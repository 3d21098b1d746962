"""Tests of training, where its packages are installed: `python -m unittest models/test_train.py`."""

import pathlib
import sys
import unittest

sys.path[:0] = [str(pathlib.Path(__file__).parent / "train"), str(pathlib.Path(__file__).parent)]
import skips

try:
    import numpy as np
    import torch

    import data
    import figures
    import nets
    import train
except ModuleNotFoundError as missing:
    reason = f"{missing}; pip install -r models/train/requirements.txt"
    skips.record(__name__, "training", reason)
    raise unittest.SkipTest(reason)


def recording(strikes=(), frames=90):
    motion = np.zeros((frames, 198), np.float32)
    labels = [("idle",)] * frames
    return data.Recording("s", "staged", "open", "p", "r", motion, np.full((frames, 6), np.nan, np.float32), labels, list(strikes))


class Windows(unittest.TestCase):
    def test_a_window_is_about_the_strike_nearest_to_its_focus(self):
        one = recording([(30, ("jab",)), (45, ("cross",))])
        self.assertEqual(one.labels_at(60, 30, 9), ("cross",))
        self.assertEqual(one.labels_at(44, 30, 9), ("jab",))
        self.assertEqual(one.labels_at(90, 30, 9), ("idle",))

    def test_faster_means_shorter_and_quicker(self):
        one = recording()
        one.motion[:, :99] = 1.0
        one.motion[:, 99:] = 1.0
        rows, _ = data.cut([one], np.array([[0, 90]]), 30, np.array([1.5]))
        self.assertEqual((float(rows[0, 0, 0, 0, 0]), float(rows[0, 0, 1, 0, 0])), (1.5, 2.25))

    def test_a_mirror_image_twice_is_the_same(self):
        self.assertEqual([data.MIRROR[j] for j in data.MIRROR], list(range(len(nets.JOINTS))))


class Networks(unittest.TestCase):
    def test_the_side_from_which_it_is_seen_changes_nothing(self):
        torch.manual_seed(1)
        rows = torch.randn(3, 30, 2, len(nets.JOINTS), 3)
        absent = torch.full((3, 30, 6), float("nan"))
        c, s = np.cos(1.1), np.sin(1.1)
        x, y, z = rows.unbind(-1)
        turned = torch.stack([c * x + s * z, y, c * z - s * x], -1)
        prepared = nets.Prepared(30.0)
        difference = (prepared(rows, absent) - prepared(turned, absent)).abs().max()
        self.assertLess(float(difference), 1e-3)

    def test_what_is_not_seen_gives_no_nan(self):
        for kind in nets.KINDS:
            net = nets.Net(kind, 4, 30, 30.0).eval()
            unseen = torch.full((2, 30, 2, len(nets.JOINTS), 3), float("nan"))
            self.assertTrue(torch.isfinite(net(unseen, torch.full((2, 30, 6), float("nan")))).all())

    def test_any_of_several_labels_is_right(self):
        allowed = torch.tensor([[1.0, 1.0, 0.0]])
        sure = train.partial_loss(torch.tensor([[9.0, -9.0, -9.0]]), allowed, 0.0)
        torn = train.partial_loss(torch.tensor([[9.0, 9.0, -9.0]]), allowed, 0.0)
        wrong = train.partial_loss(torch.tensor([[-9.0, -9.0, 9.0]]), allowed, 0.0)
        self.assertLess(float(sure), 1e-3)
        self.assertLess(float(torn), 1e-3)
        self.assertGreater(float(wrong), 10.0)


class Figures(unittest.TestCase):
    def test_an_answer_within_the_group_is_right(self):
        allowed = np.array([[1, 1, 0], [0, 0, 1]], np.float32)
        probabilities = np.array([[0.2, 0.7, 0.1], [0.6, 0.1, 0.3]])
        one = figures.one(probabilities, allowed)
        self.assertEqual(one["accuracy"], 0.5)
        # The group: one of two said is right, one of one found: 2/3; the third label was never found.
        self.assertAlmostEqual(one["macro_f1"], 1 / 3, places=3)

    def test_a_model_that_is_always_sure_and_half_right_is_off_by_half(self):
        self.assertAlmostEqual(figures.ece(np.ones(10), np.arange(10) % 2 == 0), 0.5)

    def test_evidence_goes_to_who_is_right(self):
        allowed = np.tile(np.eye(2, dtype=np.float32), (60, 1))
        good, bad = np.where(allowed > 0, 0.9, 0.1), np.where(allowed > 0, 0.2, 0.8)
        shares = train.evidence([good, bad], allowed, np.full(120, 1 / 120))
        self.assertTrue((shares[0] > shares[1]).all())
        self.assertTrue(np.allclose(shares.sum(0), 1))


if __name__ == "__main__":
    unittest.main()
