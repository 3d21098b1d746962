"""Accuracy, macro-F1, calibration: of windows whose truth may be one of several labels."""

import numpy as np

# The classes of the baseline that leaves one person out.
EIGHT = ("elbow", "front_kick", "hammer_fist", "knee", "jab", "push", "side_kick", "idle")


def figures(probabilities, allowed, sets, labels):
    """By set: {"windows", "accuracy", "macro_f1", "ece"}; of `vicon` also `vicon8`, the eight classes alone."""
    found = {}
    for name in sorted(set(sets)):
        mine = sets == name
        found[name] = one(probabilities[mine], allowed[mine])
        eight = [label in EIGHT for label in labels]
        inside = mine & (allowed[:, eight].sum(1) > 0)
        if name == "vicon" and inside.any():
            # Only these are asked for, and so only these can be the answer: the punches count as one.
            punch = [label in ("cross", "hook", "uppercut") for label in labels]
            kept = probabilities[inside] * (np.array(eight) | np.array(punch))
            found["vicon8"] = one(kept / kept.sum(1, keepdims=True), allowed[inside])
    return found


def one(probabilities, allowed):
    best = probabilities.argmax(1)
    right = allowed[np.arange(len(best)), best] > 0
    # A truth of several labels is a class of its own; an answer among them is that class.
    truths = sorted({row.tobytes() for row in allowed})
    groups = [np.frombuffer(row, allowed.dtype) > 0 for row in truths]
    f1 = []
    for group in groups:
        true = (allowed > 0) @ group.astype(float) == group.sum()
        said = group[best]
        f1.append(2 * (true & said & right).sum() / max(1, true.sum() + said.sum()))
    return {"windows": len(best), "accuracy": round(float(right.mean()), 4), "macro_f1": round(float(np.mean(f1)), 4),
            "ece": round(ece(probabilities.max(1), right), 4)}


def ece(confidence, right, bins=15):
    """Expected calibration error (Guo et al., 2017, equation 3)."""
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(sum(abs(right[at == b].mean() - confidence[at == b].mean()) * (at == b).mean() for b in range(bins) if (at == b).any()))


def line(probabilities, allowed, sets):
    right = allowed[np.arange(len(allowed)), probabilities.argmax(1)] > 0
    sets = np.array(sets)
    return "  ".join(f"{name} {right[sets == name].mean():.3f}" for name in sorted(set(sets)))


def text(report):
    rows = []
    for model, sets in report.items():
        rows += [f"{model:12} {name:10} {f['windows']:6}  accuracy {f['accuracy']:.3f}  macro-F1 {f['macro_f1']:.3f}  ECE {f['ece']:.3f}"
                 for name, f in sets.items()]
    return "\n".join(rows)
