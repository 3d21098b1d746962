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
            # Only these are asked for, and so only these can be the answer.
            punch = [label in ("cross", "hook", "uppercut") for label in labels]
            kept = probabilities[inside] * (np.array(eight) | np.array(punch))
            found["vicon8"] = one(kept / kept.sum(1, keepdims=True), allowed[inside])
    return found


def one(probabilities, allowed):
    """Classes are what the truth can be: one label, or several that the data do not tell apart. The answer is the class whose
    labels are likeliest together; a label of no class stands for itself."""
    allowed = allowed > 0
    classes = sorted({tuple(row) for row in allowed}, reverse=True)
    classes += [tuple(np.eye(allowed.shape[1], dtype=bool)[at]) for at in np.flatnonzero(~np.any(classes, 0))]
    classes = np.array(classes)
    # A label that two classes hold counts for the truth's own, else for the first.
    first = classes & (np.cumsum(classes, 0) == 1)
    truth = np.array([np.flatnonzero((classes == row).all(1))[0] for row in allowed])
    shares = probabilities @ first.T
    for at, row in enumerate(truth):
        shared = classes[row] & ~first[row]
        shares[at, row] += probabilities[at, shared].sum()
        shares[at] -= (probabilities[at] * shared) @ np.where(np.arange(len(classes))[:, None] == row, False, first).T
    best = shares.argmax(1)
    right = best == truth
    f1 = [2 * (right & (truth == row)).sum() / max(1, (truth == row).sum() + (best == row).sum()) for row in sorted(set(truth))]
    confidence = shares.max(1) / shares.sum(1)
    return {"windows": len(best), "accuracy": round(float(right.mean()), 4), "macro_f1": round(float(np.mean(f1)), 4),
            "ece": round(ece(confidence, right), 4)}


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
