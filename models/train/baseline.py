"""The peer: extremely randomized trees on the same windows of the same motion, judged as train.py judges the networks.

    python models/train/baseline.py moves.parquet

Vicon by leaving each person out; the sets that no model is trained on by trees that saw all open recordings of people.
"""

import argparse
import json
import pathlib

import numpy as np
import yaml
from sklearn.ensemble import ExtraTreesClassifier

import data
import figures

HERE = pathlib.Path(__file__).parent


def features(recordings, where, frames):
    """Mean, spread and extremes over the window of every value and of every joint's speed and pull; what was not seen is 0."""
    rows, _ = data.cut(recordings, where, frames)
    rows = np.nan_to_num(rows.numpy())
    norms = np.linalg.norm(rows, axis=-1).reshape(len(rows), frames, -1)
    values = np.concatenate([rows.reshape(len(rows), frames, -1), norms], 2)
    return np.concatenate([values.mean(1), values.std(1), values.min(1), values.max(1)], 1)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings")
    parser.add_argument("--labels", default=HERE / "labels.yml", type=pathlib.Path)
    options = parser.parse_args()
    settings = yaml.safe_load(options.labels.read_text())
    labels, frames = settings["labels"], max(settings["frames"].values())
    # Of people alone: the trees do not learn from generated bouts.
    recordings = [recording for recording in data.read(options.recordings) if recording.kind != "synthetic"]
    where = data.windows(recordings, int(data.RATE / 2), frames)
    allowed = data.truths(recordings, where, labels, frames, settings["focus"])
    where, allowed = where[allowed.any(1)], allowed[allowed.any(1)]
    # Trees learn one label: of several that are right, the first. All of them are right when it is judged.
    first = allowed.argmax(1)
    values = features(recordings, where, frames)
    sets = np.array([recordings[at].set for at, _ in where])
    persons = np.array([f"{recordings[at].set}:{recordings[at].person}" for at, _ in where])
    open_ones = np.array([recordings[at].licence == "open" for at, _ in where])
    probabilities = np.zeros_like(allowed)
    tests = [persons == person for person in sorted(set(persons[sets == "vicon"]))] + [~open_ones]
    for test in tests:
        trees = ExtraTreesClassifier(400, random_state=settings["seed"]).fit(values[open_ones & ~test], first[open_ones & ~test])
        probabilities[np.ix_(test, trees.classes_)] = trees.predict_proba(values[test])
    judged = np.any(tests, 0)
    print(json.dumps(figures.figures(probabilities[judged], allowed[judged], sets[judged], labels), indent=1))


if __name__ == "__main__":
    main()
