"""Trains the networks that judge moves, weighs their predictions, and writes what the operators `sequence` and `fusion` load.

    python models/train/train.py DATA                    # folder of recordings; the shipped labels, to models/moves
    python models/train/train.py DATA --labels my.yml    # others

Weights are trained only on recordings whose licence is `open`; all others are judged. Each person of the held-out set is
judged by networks that never saw that person; temperatures, evidence and gate come from these judgments. Seeds are fixed: the
same file, versions and machine give the same weights.
"""

import argparse
import hashlib
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnx
import onnxruntime
import torch
import yaml

import data
import figures
from nets import CORE, INTERACTION, KINDS, Calibrated, Net

HERE = pathlib.Path(__file__).parent
# Held-out set: whose persons are left out in turn.
HELD_OUT = "vicon"
BATCH = 128


class Pool:
    """Windows of the recordings, each varied once: made once, and shared by all that is trained."""

    def __init__(self, recordings, labels, settings):
        self.longest = max(settings["frames"].values())
        numbers = np.random.default_rng(settings["seed"])
        random = torch.Generator().manual_seed(settings["seed"])
        where = data.windows(recordings, settings["step"], self.longest, settings["seed"])
        truth = data.truths(recordings, where, labels, min(settings["frames"].values()), settings["focus"])
        where, truth = where[truth.any(1)], truth[truth.any(1)]
        self.where = where[numbers.choice(len(where), settings["pool"], p=balance(recordings, where, truth, settings["sets"]))]
        self.truths = {kind: torch.from_numpy(data.truths(recordings, self.where, labels, frames, settings["focus"]))
                       for kind, frames in settings["frames"].items()}
        rows, interactions = [], []
        for part in np.array_split(self.where, max(1, settings["pool"] // 500)):
            varied = data.vary(*data.cut(recordings, part, self.longest, numbers.uniform(0.75, 1.33, len(part))), random)
            # Half the bits: noise is larger than what they round away.
            rows.append(varied[0].half())
            interactions.append(varied[1].half())
        self.rows, self.interaction = torch.cat(rows), torch.cat(interactions)


def fit(kind, pool, kept, labels, settings, seed):
    """One network, trained on the windows of the pool whose recordings are `kept` (a truth value for each)."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    frames = settings["frames"][kind]
    net = Net(kind, len(labels), frames, data.RATE)
    mine = torch.from_numpy(np.flatnonzero(kept[pool.where[:, 0]] & pool.truths[kind].any(1).numpy()))
    steps = settings["windows"] // BATCH
    optimizer = torch.optim.AdamW(net.parameters(), 1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    net.train()
    for step in range(steps):
        if step * BATCH % len(mine) < BATCH:
            order = mine[torch.randperm(len(mine), generator=random)]
        at = order[torch.arange(step * BATCH, (step + 1) * BATCH) % len(order)]
        logits = net(pool.rows[at, -frames:].float(), pool.interaction[at, -frames:].float())
        loss = partial_loss(logits, pool.truths[kind][at])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return net.eval()


def balance(recordings, where, truth, shares):
    """A chance for each window: sets by `shares`, and within a set every label as often as another."""
    keys = [(recordings[at].set, row.tobytes()) for (at, _), row in zip(where, truth)]
    counts, labels = {}, {}
    for key in keys:
        counts[key] = counts.get(key, 0) + 1
        labels.setdefault(key[0], set()).add(key[1])
    weights = np.array([shares.get(key[0], 1.0) / len(labels[key[0]]) / counts[key] for key in keys])
    return weights / weights.sum()


def partial_loss(logits, allowed, smooth=0.05):
    """Cross-entropy where the truth is one of several labels (Jin and Ghahramani, 2002): their probabilities are summed."""
    logs = torch.log_softmax(logits, -1)
    right = torch.logsumexp(logs.masked_fill(allowed == 0, -1e9), -1)
    return -((1 - smooth) * right + smooth * logs.mean(-1)).mean()


def judge(net, recordings, where, longest):
    """Logits [n, labels] of windows of `longest` frames; a network that takes fewer sees the last of them."""
    frames = net.frames
    logits = []
    with torch.no_grad():
        for part in np.array_split(where, max(1, len(where) // 512)):
            rows, interaction = data.cut(recordings, part, longest)
            logits.append(net(rows[:, -frames:], interaction[:, -frames:]))
    return torch.cat(logits)


def temperature(logits, allowed, weights):
    """The temperature under which the held-out truth is likeliest (Guo et al., 2017, section 4.2)."""
    tried = torch.exp(torch.linspace(-1.0, 1.5, 51))
    likely = [torch.logsumexp(torch.log_softmax(logits / t, -1).masked_fill(allowed == 0, -1e9), -1) for t in tried]
    costs = [-float((torch.from_numpy(weights) * one).sum()) for one in likely]
    return round(float(tried[int(np.argmin(costs))]), 3)


def evidence(probabilities, allowed, weights):
    """By model and label, the share of the held-out evidence: how likely a model holds the truth where it is this label.

    The geometric mean of the truth's probability, of all models together 1 (Hoeting et al., 1999, equation 3, by class).
    """
    shares = []
    for model in probabilities:
        right = np.log(np.maximum((model * allowed).sum(1), 1e-4))
        of = allowed / allowed.sum(1, keepdims=True) * weights[:, None]
        # A little of the mean over all labels: some labels have few windows.
        per = (right @ of + 0.01 * (right @ weights)) / (of.sum(0) + 0.01)
        shares.append(np.exp(per))
    shares = np.array(shares)
    return shares / shares.sum(0)


def fuse(probabilities, shares, heat=1.0):
    """The models' predictions as one, [n, labels]."""
    mixed = sum(share * model for share, model in zip(shares, probabilities)) ** (1 / heat)
    return mixed / mixed.sum(1, keepdims=True)


def gate(fused, allowed, weights):
    """The least confidence of which, among held-out windows about as sure, more judgments are right than wrong."""
    confidence = fused.max(1)
    right = allowed[np.arange(len(fused)), fused.argmax(1)] > 0
    for low in np.arange(0.2, 0.8, 0.05):
        near = (confidence >= low) & (confidence < low + 0.1)
        if near.sum() >= 10 and np.average(right[near], weights=weights[near]) >= 0.5:
            return round(float(low), 2)
    return 0.8


def export(net, heat, labels, settings, path, card):
    """Writes the ONNX file and holds it against PyTorch, for batches of one, two and seven, with joints lost and no partner."""
    model = Calibrated(net, heat).eval()
    frames = net.frames
    example = (torch.zeros(2, frames, 198), torch.full((2, frames, INTERACTION), float("nan")))
    batch = {0: "N"}
    torch.onnx.export(
        model, example, str(path), input_names=["motion", "interaction"], output_names=["probabilities"],
        dynamic_axes={"motion": batch, "interaction": batch, "probabilities": batch}, opset_version=17, dynamo=False,
    )
    graph = onnx.load(path)
    facts = {"model": net.kind, "labels": " ".join(labels), "rate": f"{data.RATE:g}", "focus": str(settings["focus"]),
             "joints": " ".join(map(str, CORE)), **card}
    for key, value in facts.items():
        graph.metadata_props.add(key=f"sideline.{key}", value=value)
    graph.producer_version = ""
    onnx.checker.check_model(graph)
    onnx.save(graph, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    random = torch.Generator().manual_seed(1)
    worst = 0.0
    for count in (1, 2, 7):
        motion = 5 * torch.randn(count, frames, 198, generator=random)
        motion[torch.rand(motion.shape, generator=random) < 0.1] = float("nan")
        motion = torch.where(motion.isnan().reshape(count, frames, 2, 33, 3).any(-1, keepdim=True)
                             .expand(-1, -1, -1, -1, 3).reshape(motion.shape), torch.nan, motion)
        interaction = torch.randn(count, frames, INTERACTION, generator=random)
        interaction[0] = float("nan")
        with torch.no_grad():
            want = model(motion, interaction).numpy()
        got = session.run(None, {"motion": motion.numpy(), "interaction": interaction.numpy()})[0]
        worst = max(worst, float(np.abs(want - got).max()))
    if not worst < 1e-4:
        sys.exit(f"{path}: differs from PyTorch by {worst}: not to be used")
    return worst


def register(path):
    """Writes the file's checksum into models.yml, where it is listed there."""
    catalogue = HERE.parent / "models.yml"
    listed = f"    path: models/moves/{path.name}\n    sha256: "
    before, found, after = catalogue.read_text().partition(listed)
    if found and path.resolve() == HERE.parent / "moves" / path.name:
        catalogue.write_text(before + listed + hashlib.sha256(path.read_bytes()).hexdigest() + after[64:])


def exported(recordings, bouts):
    """The Parquet file: of a folder it is made, with so many generated bouts."""
    if not recordings.is_dir():
        return recordings
    program = shutil.which("sideline-lab")
    if program is None:
        sys.exit("`sideline-lab` is not on the PATH: it makes motion of the recordings "
                 "(cargo build -p sideline-lab, then target/debug)")
    target = pathlib.Path(tempfile.mkdtemp()) / "moves.parquet"
    subprocess.run([program, "eval", "moves", recordings, "--generate", str(bouts), "--export", target], check=True)
    return target


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", type=pathlib.Path,
                        help="folder of recordings, or the file that `sideline-lab eval moves DIR --export` made of it")
    parser.add_argument("--labels", default=HERE / "labels.yml", type=pathlib.Path, help="labels and settings")
    parser.add_argument("--out", default=HERE.parent / "moves", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.use_deterministic_algorithms(True)
    settings = yaml.safe_load(options.labels.read_text())
    labels = settings["labels"]
    recordings = data.read(exported(options.recordings, settings["bouts"]))
    unknown = sorted({name for r in recordings for names in r.labels for name in names} - set(labels))
    if unknown:
        print(f"not among the labels, left out: {' '.join(unknown)}")
    open_ones = [r for r in recordings if r.licence == "open"]
    begun = time.time()

    # Held-out judgments: each person once, and the generated bouts in as many parts.
    persons = sorted({r.person for r in open_ones if r.set == HELD_OUT})
    if len(persons) < 2:
        sys.exit(f"{options.recordings}: at least two people of the set `{HELD_OUT}` are needed, {len(persons)} found")
    others = sorted({r.name for r in open_ones if r.set != HELD_OUT})
    pool = Pool(open_ones, labels, settings)
    print(f"{time.time() - begun:6.0f} s  {len(pool.where)} windows made")
    held = {kind: [] for kind in KINDS}
    rows = []
    windows = data.windows(open_ones, int(data.RATE / 2), pool.longest)
    for number, person in enumerate(persons):
        mine = set(others[number :: len(persons)])
        kept = np.array([r.person != person if r.set == HELD_OUT else r.name not in mine for r in open_ones])
        where = windows[~kept[windows[:, 0]]]
        truth = data.truths(open_ones, where, labels, pool.longest, settings["focus"])
        where, truth = where[truth.any(1)], truth[truth.any(1)]
        sets = [open_ones[at].set for at, _ in where]
        rows += list(zip(sets, truth))
        for kind in KINDS:
            net = fit(kind, pool, kept, labels, settings, settings["seed"] + number)
            held[kind].append(judge(net, open_ones, where, pool.longest))
            print(f"{time.time() - begun:6.0f} s  without {person}: {kind} "
                  + figures.line(torch.softmax(held[kind][-1], 1).numpy(), truth, sets), flush=True)
    truth = np.array([truth for _, truth in rows])
    sets = np.array([name for name, _ in rows])
    logits = {kind: torch.cat(parts) for kind, parts in held.items()}
    # Each set counts as much as another, however many windows it has.
    weights = np.array([1 / (sets == name).sum() / len(set(sets)) for name in sets])
    heats = {kind: temperature(of, torch.from_numpy(truth), weights) for kind, of in logits.items()}
    probabilities = [torch.softmax(logits[kind] / heats[kind], 1).numpy() for kind in KINDS]
    shares = evidence(probabilities, truth, weights)
    mixed = fuse(probabilities, shares)
    heat = temperature(torch.log(torch.from_numpy(mixed)), torch.from_numpy(truth), weights)
    fused = fuse(probabilities, shares, heat)
    print("\nheld out, each by networks that did not see the person:")
    report = {name: figures.figures(of, truth, sets, labels) for name, of in zip([*KINDS, "fusion"], [*probabilities, fused])}
    print(figures.text(report))

    # What is shipped: trained on everything that may be.
    options.out.mkdir(parents=True, exist_ok=True)
    seen = {r.set if r.kind == "synthetic" else f"{r.set}:{r.person}" for r in open_ones}
    card = {"trained_on": " ".join(sorted(seen)), "seed": str(settings["seed"])}
    for kind in KINDS:
        net = fit(kind, pool, np.full(len(open_ones), True), labels, settings, settings["seed"] + 100)
        path = options.out / f"{kind}.onnx"
        worst = export(net, heats[kind], labels, settings, path, card)
        register(path)
        print(f"{time.time() - begun:6.0f} s  {path}: {path.stat().st_size / 1e6:.1f} MB, within {worst:.1e} of PyTorch")
    facts = {
        "labels": labels,
        "idle": settings["idle"],
        "gate": gate(fused, truth, weights),
        "temperature": heat,
        "focus": round(settings["focus"] / data.RATE, 3),
        "limbs": settings["limbs"],
        "models": {kind: {"evidence": [round(float(x), 4) for x in share]} for kind, share in zip(KINDS, shares)},
    }
    (options.out / "fusion.yml").write_text(
        "# How much each model's opinion counts, by label: its share of the evidence on people that it had not seen.\n"
        "# Written by models/train/train.py.\n" + yaml.safe_dump(facts, sort_keys=False, default_flow_style=None, width=120))
    (options.out / "held_out.json").write_text(json.dumps(report, indent=1) + "\n")
    np.savez_compressed(options.out / "held_out.npz", truth=truth, sets=sets, **{kind: of.numpy() for kind, of in logits.items()})


if __name__ == "__main__":
    main()
