"""Packs the wheel from an extension module that cargo has built: `python pack.py LIBRARY FOLDER`; prints the path of the wheel.

A separate build, such as `pip wheel .` with maturin, selects other features of the dependencies and compiles all of them again.
The format is that of https://packaging.python.org/en/latest/specifications/binary-distribution-format/.
"""

import base64
import hashlib
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def metadata(project, version):
    """Returns the file METADATA."""
    lines = [
        "Metadata-Version: 2.1",
        f"Name: {project['name']}",
        f"Version: {version}",
        f"Summary: {project['description']}",
        f"License: {project['license']}",
        f"Requires-Python: {project['requires-python']}",
        *(f"Requires-Dist: {needed}" for needed in project["dependencies"]),
    ]
    for extra, needed in project["optional-dependencies"].items():
        lines += [f"Provides-Extra: {extra}", *(f'Requires-Dist: {one} ; extra == "{extra}"' for one in needed)]
    lines += ["Description-Content-Type: text/markdown", "", (HERE / project["readme"]).read_text()]
    return "\n".join(lines)


def main():
    library, folder = map(Path, sys.argv[1:])
    project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
    version = tomllib.loads((HERE / "../../Cargo.toml").read_text())["workspace"]["package"]["version"]
    # The stable interface of 3.11, on this system; FFmpeg's libraries are those of the system.
    tag = f"cp311-abi3-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"
    info = f"{project['name']}-{version}.dist-info"
    commands = "".join(f"{name} = {target}\n" for name, target in project["scripts"].items())
    files = {f"sideline/{path.name}": path.read_bytes() for path in sorted((HERE / "python/sideline").glob("*.py"))}
    files |= {
        "sideline/_native.abi3.so": library.read_bytes(),
        f"{info}/METADATA": metadata(project, version).encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: sideline\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
        f"{info}/entry_points.txt": f"[console_scripts]\n{commands}".encode(),
    }
    record = ""
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    files[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    wheel = folder / f"{project['name']}-{version}-{tag}.whl"
    part = wheel.with_suffix(".part")
    with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED, 1)
    part.replace(wheel)
    print(wheel)


main()
