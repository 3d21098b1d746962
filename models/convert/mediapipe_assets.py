"""Takes one file out of an Emscripten asset bundle, as MediaPipe's npm packages ship them.

    python mediapipe_assets.py pose_solution_packed_assets.data            # lists what is in it
    python mediapipe_assets.py pose_solution_packed_assets.data pose_detection.tflite OUT.tflite

`X.data` is the files one after the other; `X_loader.js` beside it says where each begins and ends, as the JSON argument
of its last call `loadPackage({"files": [{"filename", "start", "end"}, ...], "remote_package_size": N})`.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path


class BrokenBundle(Exception):
    """The bundle and its loader do not fit together, or hold no such file."""


@dataclass(frozen=True)
class Asset:
    """A file in the bundle: its path, and the bytes [start, end) it takes."""

    path: str
    start: int
    end: int


def loader_of(bundle: Path) -> Path:
    """The loader script that belongs to a bundle."""
    return bundle.with_name(bundle.stem + "_loader.js")


def read_index(script: str, bundle_size: int) -> list[Asset]:
    """Reads the loader script's list of files and checks it against the size of the bundle."""
    decoder = json.JSONDecoder()
    metadata = None
    position = script.find("loadPackage(")
    while position >= 0:
        # The name occurs in the script's own code too: only a call with a JSON object that lists files is meant.
        argument = script[position + len("loadPackage(") :].lstrip()
        try:
            value, _ = decoder.raw_decode(argument)
        except json.JSONDecodeError:
            value = None
        if isinstance(value, dict) and "files" in value:
            metadata = value
        position = script.find("loadPackage(", position + 1)
    if metadata is None:
        raise BrokenBundle('the loader script has no call loadPackage({"files": ...})')
    if metadata.get("remote_package_size", bundle_size) != bundle_size:
        raise BrokenBundle(f"the loader expects {metadata['remote_package_size']} bytes, the bundle has {bundle_size}")
    assets = [Asset(entry["filename"], entry["start"], entry["end"]) for entry in metadata["files"]]
    for asset in assets:
        if not 0 <= asset.start <= asset.end <= bundle_size:
            raise BrokenBundle(f"{asset.path} lies at {asset.start}..{asset.end}, the bundle has {bundle_size} bytes")
    return assets


def extract(bundle: Path, name: str) -> bytes:
    """The content of the one file in the bundle whose path ends in `name`."""
    content = bundle.read_bytes()
    assets = read_index(loader_of(bundle).read_text(), len(content))
    found = [asset for asset in assets if asset.path == name or asset.path.endswith("/" + name)]
    if len(found) != 1:
        raise BrokenBundle(f"{len(found)} files are named {name}; the bundle has: {', '.join(a.path for a in assets)}")
    return content[found[0].start : found[0].end]


def main() -> int:
    if len(sys.argv) not in (2, 4):
        print(__doc__, file=sys.stderr)
        return 1
    bundle = Path(sys.argv[1])
    try:
        if len(sys.argv) == 2:
            for asset in read_index(loader_of(bundle).read_text(), bundle.stat().st_size):
                print(f"{asset.end - asset.start:10d} {asset.path}")
        else:
            Path(sys.argv[3]).write_bytes(extract(bundle, sys.argv[2]))
    except (BrokenBundle, OSError) as error:
        print(f"mediapipe_assets: {bundle}: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
