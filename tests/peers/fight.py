"""The fight the plain Python way: what `dataflows/fight.yml` does, as a script of OpenCV, numpy and onnxruntime does it.

    python tests/peers/fight.py VIDEO --output FOLDER                     as fast as it goes, every frame
    python tests/peers/fight.py VIDEO --output FOLDER --rate 30           frames offered at 30 a second, the newest wins

A thread each reads, finds poses, follows people and says how they move, and draws and encodes; queues lie between them. It
is the peer of `sideline bench fight`, so it does the same work: the same ONNX models by the same rules (`operators/pose`),
boxes to tracks, 198 values of motion, three tables of JSON lines, skeletons, boxes and names on the video, H.264 by x264
with the same preset. It is written as well as such scripts are: OpenCV, onnxruntime and numpy do all work that is done per
pixel or per joint, outside of Python's lock, and crops come from whole-frame BGR as `cv2.VideoCapture` gives it
(which converts by BT.601 whatever the file says: joints are near those of Sideline, not the same).

Prints one line of JSON: frames, frames a second, latencies from a frame's due time to its motion, CPU seconds, memory.
"""

from __future__ import annotations

import argparse
import json
import queue
import resource
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
try:
    import cv2
    import numpy as np

    from motion import Motion
    from pose import BlazePose, Person
    from tracks import Sort
except ModuleNotFoundError as missing:
    sys.exit(f"peer: {missing}; install it: {sys.executable} -m pip install -r {HERE / 'requirements.txt'}")

BONES = [
    (8, 5), (5, 0), (7, 2), (2, 0), (11, 12), (23, 24), (12, 24), (11, 23), (12, 14), (14, 16), (16, 18), (16, 20), (18, 20),
    (11, 13), (13, 15), (15, 17), (15, 19), (17, 19), (24, 26), (26, 28), (28, 30), (28, 32), (30, 32), (23, 25), (25, 27),
    (27, 29), (27, 31), (29, 31),
]  # fmt: skip
DOTS = [11, 12, 13, 14, 15, 16, 23, 24, 25, 26, 27, 28]
COLORS = {"fighter_1": (46, 29, 225), "fighter_2": (240, 92, 32)}
GREY = (182, 180, 180)
WAITING = 4  # frames that may wait between two threads, as many as Sideline has under way


@dataclass
class Item:
    """A frame on its way."""

    number: int
    image: np.ndarray
    seconds: float  # media time
    due: float  # when it was captured, by the clock
    people: list[Person] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    tracks: list[dict] = field(default_factory=list)
    motion: dict[int, dict] = field(default_factory=dict)


class Stage:
    """How fast a thread handled its frames."""

    def __init__(self):
        self.frames, self.first, self.last = 0, 0.0, 0.0

    def began(self) -> None:
        if self.frames == 0:
            self.first = time.perf_counter()

    def ended(self) -> None:
        self.frames += 1
        self.last = time.perf_counter()

    def rate(self) -> float:
        return (self.frames - 1) / (self.last - self.first) if self.frames > 1 else 0.0


class Fight:
    """The threads and what goes between them."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.capture = cv2.VideoCapture(str(options.video))
        if not self.capture.isOpened():
            sys.exit(f"peer: {options.video}: cannot be read as a video")
        self.fps = self.capture.get(cv2.CAP_PROP_FPS) or 30.0
        self.size = [int(self.capture.get(key)) for key in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)]
        self.pose = BlazePose(options.models, options.model, options.intra_op)
        self.sort, self.motion = Sort(), Motion()
        options.output.mkdir(parents=True, exist_ok=True)
        self.tables = {name: open(options.output / f"{name}.jsonl", "w") for name in ("tracks", "poses", "motion")}
        self.encoder = self.start_encoder()
        # Live, the newest frame alone waits for the models: a longer queue would only make it older.
        self.frames: queue.Queue = queue.Queue(1 if options.rate else WAITING)
        self.posed: queue.Queue = queue.Queue(WAITING)
        self.moving: queue.Queue = queue.Queue(WAITING)
        self.stages = [Stage(), Stage(), Stage()]
        self.read, self.dropped, self.poses = 0, 0, 0
        self.latencies: list[float] = []
        self.failure: BaseException | None = None

    def start_encoder(self) -> subprocess.Popen:
        """OpenCV's own wheel has no x264: frames go to ffmpeg, with the settings of `nodes/render`."""
        given = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "{}x{}".format(*self.size), "-r", str(self.fps), "-i", "-"]
        coded = ["-c:v", "libx264", "-preset", "veryfast", "-crf", "23", "-g", "60", "-bf", "0"]
        command = ["ffmpeg", "-v", "error", "-y", *given, "-an", *coded, str(self.options.output / "overlay.mp4")]
        try:
            return subprocess.Popen(command, stdin=subprocess.PIPE)
        except FileNotFoundError:
            sys.exit("peer: the command `ffmpeg`, which encodes, is not there; install it (Debian: apt-get install ffmpeg)")

    def run(self) -> dict:
        works = [self.reading, self.posing, self.analyzing, self.writing]
        threads = [threading.Thread(target=self.guard, args=(work,), daemon=True) for work in works]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
            if self.failure:
                raise self.failure
        self.encoder.stdin.close()
        if self.encoder.wait() != 0:
            sys.exit("peer: ffmpeg failed; its message is above")
        for table in self.tables.values():
            table.close()
        return self.report()

    def guard(self, work) -> None:
        try:
            work()
        except BaseException as failure:  # the other threads wait for this one: the run ends with its failure
            self.failure = self.failure or failure
            for waiting in (self.frames, self.posed, self.moving):
                put_newest(waiting, None)

    def reading(self) -> None:
        """Decodes; with a rate each frame is ready at its due time, and replaces one that was not taken."""
        rate, limit = self.options.rate, self.options.frames
        began = time.perf_counter()
        while self.failure is None and (not limit or self.read < limit):
            seen, image = self.capture.read()
            if not seen:
                break
            due = time.perf_counter()
            if rate:
                wait = began + self.read / rate - due
                due += wait
                # Late is late: a decoder that cannot keep up is part of what is measured.
                time.sleep(max(0.0, wait))
            item = Item(self.read, image, self.read / (rate or self.fps), due)
            self.read += 1
            if rate:
                self.dropped += put_newest(self.frames, item)
            else:
                self.frames.put(item)
        self.frames.put(None)

    def posing(self) -> None:
        while item := self.frames.get():
            self.stages[0].began()
            item.people = self.pose.process(item.image)
            self.posed.put(item)
            self.stages[0].ended()
        self.posed.put(None)

    def analyzing(self) -> None:
        while item := self.posed.get():
            self.stages[1].began()
            boxes = np.array([person.box for person in item.people]).reshape(-1, 4)
            scores = np.array([person.score for person in item.people])
            ids, item.tracks = self.sort.update(boxes, scores, item.seconds)
            item.ids = ids.tolist()
            moving = [(track, person.joints, person.world) for track, person in zip(item.ids, item.people)]
            item.motion = self.motion.update(moving, item.seconds)
            self.latencies.append(time.perf_counter() - item.due)
            self.poses += len(item.people)
            self.moving.put(item)
            self.stages[1].ended()
        self.moving.put(None)

    def writing(self) -> None:
        while item := self.moving.get():
            self.stages[2].began()
            self.record(item)
            draw(item)
            # Half the bytes of BGR for the pipe, and OpenCV converts faster than ffmpeg's own scaler.
            self.encoder.stdin.write(cv2.cvtColor(item.image, cv2.COLOR_BGR2YUV_I420))
            self.stages[2].ended()

    def record(self, item: Item) -> None:
        """A line for each row of the three tables."""
        width, height = self.size
        scale = np.array([1 / width, 1 / height, 1 / width, 1], np.float32)
        where = {"frame": item.number, "pts": round(item.seconds * 1e9)}
        names = {row["track"]: row["fighter"] for row in item.tracks}
        rows = {"tracks": item.tracks, "poses": [], "motion": []}
        for track, person in zip(item.ids, item.people):
            who = {"track": track, "fighter": names.get(track, "")}
            rows["poses"].append({
                **who, "box": person.box.tolist(), "score": person.score,
                "joints": (person.joints * scale).tolist(), "world": person.world.tolist(),
            })  # fmt: skip
            if track:
                values = item.motion[track]
                rows["motion"].append({**who, **{k: v if k == "velocity_norm" else v.tolist() for k, v in values.items()}})
        for name, table in self.tables.items():
            # JSON has no NaN: 'not seen' is null, as in Sideline's tables.
            table.writelines(json.dumps({**where, **row}).replace("NaN", "null") + "\n" for row in rows[name])

    def report(self) -> dict:
        if not self.latencies:
            sys.exit(f"peer: {self.options.video} has no frames")
        own, child = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        p50, p95, p99 = (float(ms) for ms in np.percentile(np.array(self.latencies) * 1e3, [50, 95, 99]))
        return {
            "offered": self.read, "handled": len(self.latencies), "dropped": self.dropped, "poses": self.poses,
            "fps": min(stage.rate() for stage in self.stages),
            "latency_ms": {"p50": p50, "p95": p95, "p99": p99, "max": max(self.latencies) * 1e3},
            "cpu_s": own.ru_utime + own.ru_stime + child.ru_utime + child.ru_stime,
            "peak_bytes": (own.ru_maxrss + child.ru_maxrss) * 1024,
        }  # fmt: skip


def put_newest(waiting: queue.Queue, item) -> int:
    """Puts an item into a queue; where it is full the oldest goes. How many went."""
    gone = 0
    while True:
        try:
            waiting.put_nowait(item)
            return gone
        except queue.Full:
            try:
                waiting.get_nowait()
                gone += 1
            except queue.Empty:
                pass


def draw(item: Item) -> None:
    """Boxes, skeletons, names and a line of figures, into the image itself."""
    image = item.image
    scale = min(image.shape[:2]) / 720
    thick, thin = max(1, round(3 * scale)), max(1, round(1.5 * scale))
    names = {}
    for row in item.tracks:
        if row["state"] == "tentative":
            continue
        names[row["track"]] = row["fighter"]
        colour = COLORS.get(row["fighter"], GREY)
        x1, y1, x2, y2 = (int(value) for value in row["box"])
        cv2.rectangle(image, (x1, y1), (x2, y2), colour, thin)
        label = f"{row['fighter'].replace('_', ' ').upper()} #{row['track']}".strip()
        cv2.putText(image, label, (x1, max(y1 - 6, 12)), cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, (250, 250, 250), thin, cv2.LINE_AA)
    for track, person in zip(item.ids, item.people):
        colour = COLORS.get(names.get(track, ""), GREY)
        # Points in sixteenths of a pixel, so that lines do not jump.
        points = [(round(x * 16), round(y * 16)) for x, y in person.joints[:, :2].tolist()]
        seen = (person.joints[:, 3] >= 0.5).tolist()
        for a, b in BONES:
            if seen[a] and seen[b]:
                cv2.line(image, points[a], points[b], colour, thick, cv2.LINE_AA, 4)
        for i in DOTS:
            if seen[i]:
                cv2.circle(image, points[i], round(3 * scale * 16), (255, 255, 255), -1, cv2.LINE_AA, 4)
    line = f"{int(item.seconds // 60):02}:{item.seconds % 60:06.3f}   frame {item.number}"
    cv2.putText(image, line, (12, round(28 * scale)), cv2.FONT_HERSHEY_SIMPLEX, 0.6 * scale, (245, 245, 245), thin, cv2.LINE_AA)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("video", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="folder of the tables and the video")
    parser.add_argument("--rate", type=float, help="frames offered a second; without it every frame, as fast as it goes")
    parser.add_argument("--frames", type=int, help="end after so many frames of the video")
    parser.add_argument("--model", choices=["lite", "full", "heavy"], default="lite")
    parser.add_argument("--models", type=Path, default=HERE.parents[1] / "models/onnx", help="folder of the ONNX files")
    parser.add_argument("--intra-op", type=int, default=0, help="onnxruntime's threads for a model; 0: its own default")
    options = parser.parse_args()
    if options.rate is not None and not options.rate > 0:
        parser.error("--rate wants a number above 0")
    print(json.dumps(Fight(options).run()))


if __name__ == "__main__":
    main()
