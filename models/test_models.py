"""Tests of the fetcher, the references and what is fetched; run `python -m unittest discover -s models`.

Those that need a fetched model or clip are skipped where it is not there; `cargo xtask test` lists them.
"""

import math
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

MODELS = Path(__file__).resolve().parent
sys.path[:0] = [str(MODELS / "convert"), str(MODELS / "reference")]

import numpy as np
import onnxruntime

import blazepose
import centernet
import fetch
import movenet
import skips

CATALOGUE = fetch.load_catalogue(fetch.CATALOGUE)


class Fetch(unittest.TestCase):
    ENTRY = {"name": "n", "registry": "npm", "package": "p", "version": "1", "package_sha256": "0", "member": "m", "convert": [], "path": "n", "sha256": "0"}

    def test_catalogue_entries_all_have_the_same_keys_and_known_steps(self):
        for entry in CATALOGUE:
            committed = entry["registry"] == fetch.IN_THE_REPOSITORY
            packaged = {"package", "package_sha256", "member", "convert"}
            absent = packaged if committed else {"package_sha256"} if entry["registry"] == fetch.DEBIAN else set()
            detector = {"decoder", "labels"}
            self.assertEqual(set(entry) - detector, set(CATALOGUE[0]) - absent, entry["name"])
            self.assertIn(len(set(entry) & detector), (0, 2), entry["name"])
            self.assertIn(entry["registry"], [*fetch.REGISTRIES, fetch.IN_THE_REPOSITORY])
            for step in entry.get("convert", []):
                self.assertIn(step["step"], fetch.STEPS)
        self.assertEqual(len({entry["name"] for entry in CATALOGUE}), len(CATALOGUE))

    def test_failures_say_what_is_wrong_and_how_to_mend_it(self):
        def downloads(*command, **_):
            (folder / "p.tgz").write_bytes(b"another package")
            return mock.Mock(returncode=0)

        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for outcome, message in (
                (FileNotFoundError(), "'npm' is not there; install"),
                ([mock.Mock(returncode=1, stderr="npm error code ENOTFOUND", stdout="")], "(?s)registry can be reached.*ENOTFOUND"),
                (downloads, "the package has SHA-256 .*, models.yml says 0"),
            ):
                with mock.patch("subprocess.run", side_effect=outcome):
                    with self.assertRaisesRegex(fetch.FetchError, message):
                        fetch.download(self.ENTRY, folder)

    def test_wrong_result_is_not_put_in_place(self):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "m").write_bytes(b"content")
            with self.assertRaisesRegex(fetch.FetchError, "n: the result has SHA-256 .* use the versions"):
                fetch.produce(self.ENTRY, folder, folder)

    def test_what_is_there_is_not_fetched_again(self):
        with tempfile.TemporaryDirectory() as temporary:
            (Path(temporary) / "n").write_bytes(b"content")
            entry = {**self.ENTRY, "sha256": fetch.sha256(Path(temporary) / "n")}
            with mock.patch("subprocess.run", side_effect=AssertionError("downloads")):
                fetch.fetch([entry], Path(temporary))

    def test_what_is_in_the_repository_is_verified_and_never_downloaded(self):
        with tempfile.TemporaryDirectory() as temporary:
            repository, elsewhere = Path(temporary) / "repository", Path(temporary) / "elsewhere"
            repository.mkdir()
            (repository / "own").write_bytes(b"weights")
            entry = {"name": "own", "registry": "repository", "version": "1", "path": "own", "sha256": fetch.sha256(repository / "own")}
            with mock.patch("subprocess.run", side_effect=AssertionError("downloads")), mock.patch("fetch.REPOSITORY", repository):
                fetch.fetch([entry], repository)
                fetch.fetch([entry], elsewhere)
                self.assertEqual((elsewhere / "own").read_bytes(), b"weights")
                (repository / "own").write_bytes(b"changed")
                with self.assertRaisesRegex(fetch.FetchError, "own has SHA-256 .*, models.yml says .*git checkout -- own"):
                    fetch.fetch([entry], repository)
                (repository / "own").unlink()
                with self.assertRaisesRegex(fetch.FetchError, "own is missing.*git checkout -- own"):
                    fetch.fetch([entry], repository)

    def test_put_in_place_replaces_and_leaves_nothing_beside(self):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            (folder / "new").write_bytes(b"new")
            (folder / "there").write_bytes(b"old")
            fetch.put_in_place(folder / "new", folder / "there")
            self.assertEqual((folder / "there").read_bytes(), b"new")
            self.assertEqual(sorted(p.name for p in folder.iterdir()), ["new", "there"])


class Reference(unittest.TestCase):
    def test_anchors(self):
        anchors = blazepose.anchors()
        self.assertEqual(anchors.shape, (2254, 2))
        np.testing.assert_allclose(anchors[[0, 1, 2]], [[0.5 / 28, 0.5 / 28], [0.5 / 28, 0.5 / 28], [1.5 / 28, 0.5 / 28]])
        np.testing.assert_allclose(anchors[-1], [6.5 / 7, 6.5 / 7])

    def test_sampling_a_region_of_the_models_size_copies_pixels(self):
        frame = np.random.default_rng(1).integers(0, 256, (8, 10, 3)).astype(np.float32)
        np.testing.assert_array_equal(blazepose.sample(frame, blazepose.Region((5, 4), 4), 4), frame[2:6, 3:7])

    def test_sampling_turned_by_a_quarter(self):
        frame = np.random.default_rng(1).integers(0, 256, (6, 6, 3)).astype(np.float32)
        turned = blazepose.sample(frame, blazepose.Region((3, 3), 6, math.pi / 2), 6)
        np.testing.assert_allclose(turned, np.rot90(frame), atol=1e-3)

    def test_outside_the_frame_is_black(self):
        sampled = blazepose.sample(np.full((2, 4, 3), 9.0), *blazepose.whole_frame(4, 2), 4)
        np.testing.assert_allclose(sampled[:, 0, 0], [0, 9, 9, 0])

    def test_region_of_an_upright_and_of_a_lying_person(self):
        upright = blazepose.region_of(np.array([50.0, 50.0]), np.array([50.0, 10.0]))
        self.assertEqual((upright.centre, upright.size, upright.rotation), ((50, 50), 100, 0))
        lying = blazepose.region_of(np.array([50.0, 50.0]), np.array([90.0, 50.0]))
        self.assertAlmostEqual(lying.rotation, math.pi / 2)

    def test_landmarks_return_to_where_the_region_took_them_from(self):
        region = blazepose.Region((100, 60), 256, 0.3)
        rows = np.zeros((39, 5))
        rows[:, :2] = 128
        rows[34, 1] = 28  # 100 px above the centre of the region
        world = np.zeros((39, 3))
        world[0] = [0, -1, 0.5]
        pose = blazepose.decode_pose(rows.ravel(), 0.9, world.ravel(), region)
        np.testing.assert_allclose(pose.landmarks[0, :2], (100, 60))
        np.testing.assert_allclose(pose.world[0], [math.sin(0.3), -math.cos(0.3), 0.5])
        self.assertAlmostEqual(pose.next_region.size, 250)
        self.assertAlmostEqual(pose.next_region.rotation, 0.3)

    def test_overlapping_detections_leave_the_best(self):
        boxes = ([0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10])
        # The hips lie far apart, so that the boxes alone decide.
        hips = [[[x, 50], [x, 40], [0, 0], [0, 0]] for x in (0, 100, 200)]
        found = [blazepose.Detection(s, np.array(b, float), np.array(h, float)) for s, b, h in zip((0.6, 0.9, 0.7), boxes, hips)]
        self.assertEqual([d.score for d in blazepose.suppress(found)], [0.9, 0.7])

    def test_boxes_apart_with_the_same_hips_are_one_person(self):
        boxes, scores = ([0, 0, 10, 10], [8, 0, 18, 10], [8, 20, 18, 30]), (0.6, 0.9, 0.7)
        hips = [[[x, 50], [x, 10], [0, 0], [0, 0]] for x in (0, 19, 40)]  # regions of 100 px: one person within 20 px
        found = [blazepose.Detection(s, np.array(b, float), np.array(h, float)) for s, b, h in zip(scores, boxes, hips)]
        self.assertEqual([d.score for d in blazepose.suppress(found)], [0.9, 0.7])

    def test_tiles_reach_both_ends(self):
        for width, height in ((1920, 1080), (1088, 1920)):
            squares = blazepose.tiles(width, height, 3)
            along = [s.centre[0 if width > height else 1] for s in squares]
            self.assertEqual((along[0] - squares[0].size / 2, along[-1] + squares[0].size / 2), (0, 1920))

    def test_i420_white_black_and_red(self):
        for matrix, red in (("bt601", (81, 90, 240)), ("bt709", (63, 102, 240))):
            for yuv, rgb in (((235, 128, 128), 255), ((16, 128, 128), 0), (red, (255, 0, 0))):
                planes = np.repeat(np.array(yuv, np.uint8), [4, 1, 1])
                np.testing.assert_allclose(blazepose.i420_to_rgb(planes, 2, 2, matrix)[0, 0], rgb, atol=2)


class FetchedModels(unittest.TestCase):
    def test_checksums_and_shapes_are_those_of_the_catalogue(self):
        missing = [entry["name"] for entry in CATALOGUE if not (fetch.REPOSITORY / entry["path"]).is_file()]
        for entry in CATALOGUE:
            path = fetch.REPOSITORY / entry["path"]
            if entry["name"] in missing:
                continue
            with self.subTest(entry["name"]):
                self.assertEqual(fetch.sha256(path), entry["sha256"])
                if path.suffix == ".onnx":
                    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
                    # A dimension that is left open comes with its name.
                    for values, stated in ((session.get_inputs(), "inputs"), (session.get_outputs(), "outputs")):
                        self.assertEqual([(v.name, v.shape) for v in values], [(s["name"], s["shape"]) for s in entry[stated]])
        if missing:
            skips.skipped(self, "models", f"not fetched: {', '.join(missing)}")

    def test_both_athletes_are_found_and_stand_where_they_stand(self):
        clip, folder = MODELS / "clips" / "athletes.mp4", MODELS / "onnx"
        if not clip.is_file() or not (folder / "blazepose_detector.onnx").is_file() or not (folder / "blazepose_full_n.onnx").is_file():
            skips.skipped(self, "models", "athletes, blazepose_detector and blazepose_full are not all fetched")
        model = blazepose.BlazePose(folder)
        ((_, frame),) = blazepose.read_video(clip, [10])
        detections = model.detect(frame, blazepose.tiles(1088, 1920, 3))
        poses = sorted((model.pose(frame, blazepose.region_of(*d.keypoints[:2])) for d in detections), key=lambda p: p.region.centre)
        self.assertEqual(len(poses), 2)
        for pose, hips in zip(poses, HIPS_IN_FRAME_10):
            self.assertGreater(pose.score, 0.9)
            np.testing.assert_allclose(pose.landmarks[[23, 24], :2].mean(axis=0), hips, atol=40)


    def test_movenet_agrees_with_the_whole_published_model_run_by_tensorflow_js(self):
        clip, folder = MODELS / "clips" / "athletes.mp4", MODELS / "onnx"
        if not clip.is_file() or not (folder / "movenet_lightning.onnx").is_file():
            skips.skipped(self, "models", "athletes and movenet_lightning are not both fetched")
        ((_, frame),) = blazepose.read_video(clip, [10])
        regions = (blazepose.Region((260, 1000), 1000), blazepose.Region((600, 900), 900))
        pictures = np.stack([np.rint(blazepose.sample(frame, region, movenet.SIZE)) for region in regions])
        heads = movenet.MoveNet(folder).heads(pictures)
        for number, expected in enumerate(MOVENET_BY_TENSORFLOW_JS):
            joints = movenet.decode(*(head[number] for head in heads))
            # That model's last constant, 1/48, is stored in 16 bits: 0.05 px of its 192 at most.
            np.testing.assert_allclose(joints[:, :2] * 192, np.array(expected)[:, :2] * 192, atol=0.06)
            np.testing.assert_allclose(joints[:, 2], np.array(expected)[:, 2], atol=1e-3)


    def test_centernet_agrees_with_the_whole_published_model_run_by_tensorflow_js(self):
        clip, folder = MODELS / "clips" / "athletes.mp4", MODELS / "onnx"
        if not clip.is_file() or not (folder / "centernet.onnx").is_file():
            skips.skipped(self, "models", "athletes and centernet are not both fetched")
        ((_, frame),) = blazepose.read_video(clip, [10])
        regions = (blazepose.Region((544, 960), 1920), blazepose.Region((400, 900), 1000))
        pictures = np.stack([np.rint(blazepose.sample(frame, region, centernet.SIZE)) for region in regions])
        heatmaps, sides = centernet.CenterNet(folder).heads(pictures)
        for number, expected in enumerate(CENTERNET_BY_TENSORFLOW_JS):
            found = centernet.decode(heatmaps[number], sides[number], least=0.25)
            self.assertEqual(found[:, 5].tolist(), [row[5] for row in expected])
            # In that file the sixth of hard swish is stored in 16 bits: that moves what comes out by as much.
            np.testing.assert_allclose(found[:, :4], np.array(expected)[:, :4], atol=1.0)
            np.testing.assert_allclose(found[:, 4], np.array(expected)[:, 4], atol=5e-3)


# x1, y1, x2, y2, score, class of all that is surer than 0.25 in two crops of `athletes`, frame 10, as the whole graph of npm
# @vladmandic/human 3.3.6 gives it in npm @tensorflow/tfjs 4.22.0, backend cpu.
CENTERNET_BY_TENSORFLOW_JS = (
    (
        (121.2675, 168.0514, 210.3780, 395.4181, 0.7667, 0), (208.3886, 116.0157, 311.4097, 302.5621, 0.5948, 0),
        (310.3267, 128.3494, 340.0331, 229.3792, 0.5256, 0),
    ),
    (
        (70.4656, 122.2018, 241.3933, 512.0231, 0.8260, 0), (240.0594, 16.9545, 432.0446, 372.1751, 0.6805, 0),
        (435.6828, 42.9682, 488.4135, 252.6081, 0.6144, 0), (358.8016, 474.7028, 386.5464, 511.4090, 0.3196, 39),
        (252.6831, 106.3342, 263.4474, 136.3540, 0.2816, 39),
    ),
)

# y, x, score of the 17 joints of two crops of `athletes`, frame 10 (PyPI opencv-python-headless's decoder), as the whole graph of
# npm @vladmandic/human 3.3.6 gives them in npm @tensorflow/tfjs 4.22.0, backend cpu.
MOVENET_BY_TENSORFLOW_JS = (
    (
        (0.21215, 0.43062, 0.5530), (0.19799, 0.41272, 0.4389), (0.20233, 0.44014, 0.5772), (0.21539, 0.37740, 0.5707),
        (0.21707, 0.45503, 0.6671), (0.32200, 0.31251, 0.8363), (0.32083, 0.50358, 0.7482), (0.48852, 0.30631, 0.6870),
        (0.46512, 0.53175, 0.6337), (0.54332, 0.34607, 0.1820), (0.56305, 0.58517, 0.5471), (0.57311, 0.36957, 0.7709),
        (0.56935, 0.49354, 0.7631), (0.75125, 0.39363, 0.7691), (0.75655, 0.49848, 0.7362), (0.92186, 0.40337, 0.7404),
        (0.92320, 0.51449, 0.8116),
    ),
    (
        (0.06098, 0.46416, 0.2854), (0.04121, 0.47761, 0.2419), (0.04310, 0.45385, 0.2704), (0.03842, 0.50869, 0.3163),
        (0.04071, 0.43951, 0.2513), (0.09685, 0.56328, 0.6751), (0.08215, 0.39526, 0.7323), (0.22963, 0.60202, 0.6713),
        (0.17798, 0.34456, 0.4290), (0.34915, 0.64251, 0.6398), (0.26838, 0.28618, 0.6341), (0.34229, 0.49508, 0.7684),
        (0.34724, 0.40941, 0.7066), (0.52552, 0.45510, 0.6465), (0.51159, 0.45162, 0.6499), (0.67719, 0.46615, 0.5750),
        (0.63557, 0.50573, 0.7543),
    ),
)

# Read off the picture by eye.
HIPS_IN_FRAME_10 = ((194, 1075), (555, 750))


if __name__ == "__main__":
    unittest.main()
