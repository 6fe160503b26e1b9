"""Rebuilds this folder from npm packages, asked for by name and version: python dashboard/static/vendor/fetch.py."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
# Pinned, so that two rebuilds give the same bytes. Plotly's must be the version that the Python package carries.
PACKAGES = {
    "@tabler/core": "1.6.1",
    "@tabler/icons-sprite": "3.48.0",
    "@fontsource-variable/inter": "5.3.0",
    "plotly.js-cartesian-dist-min": "4.1.1",
    "htmx.org": "2.0.11",
}
SOURCE_MAP = re.compile(r"\s*(/\*|//)# sourceMappingURL=[^\n]*\n?")
MIT = """\
MIT License

{copyright}

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def main() -> None:
    """Fetch every package and write the few files of it that the product serves, each with its licence."""
    check_plotly_version()
    with tempfile.TemporaryDirectory() as scratch:
        unpacked = {name: unpack(name, version, Path(scratch)) for name, version in PACKAGES.items()}
        write_kit(unpacked["@tabler/core"])
        write_icons(unpacked["@tabler/icons-sprite"])
        write_font(unpacked["@fontsource-variable/inter"])
        write_script(unpacked["plotly.js-cartesian-dist-min"], "plotly-cartesian.min.js", "plotly-cartesian.LICENSE")
        write_script(unpacked["htmx.org"], "dist/htmx.min.js", "htmx.LICENSE")


def check_plotly_version() -> None:
    """Refuse to go on when the browser's plotly.js would differ from the one that the tests check figures with."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or spec.origin is None:
        sys.exit("Run this with the project's Python: the version of plotly.js is read from its plotly package.")
    header = (Path(spec.origin).parent / "package_data/plotly.min.js").read_text("utf-8")[:200]
    ours, theirs = PACKAGES["plotly.js-cartesian-dist-min"], header.split("plotly.js v")[1].split()[0]
    if ours != theirs:
        sys.exit(f"The Python plotly carries plotly.js {theirs}; PACKAGES says {ours}. Make them equal.")


def unpack(name: str, version: str, scratch: Path) -> Path:
    """Return the folder of one unpacked package."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit("npm is not installed; it is needed only to rebuild this folder.")
    command = [npm, "pack", f"{name}@{version}", "--json"]
    told = subprocess.run(command, cwd=scratch, check=True, capture_output=True, text=True)  # noqa: S603 (our own words)
    packed = json.loads(told.stdout)
    row = packed[0] if isinstance(packed, list) else next(iter(packed.values()))
    folder = scratch / re.sub(r"\W+", "-", name)
    with tarfile.open(scratch / row["filename"]) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def write_kit(package: Path) -> None:
    text = (package / "dist/css/tabler.min.css").read_text("utf-8")
    write("tabler.min.css", SOURCE_MAP.sub("", text))
    # The package says MIT but ships no licence file; its copyright lines stand at the head of the style sheet.
    owners = re.findall(r"\* (Copyright .*)", text[:600])
    write("tabler.LICENSE", MIT.format(copyright="\n".join(owners)))


def write_icons(package: Path) -> None:
    sprite = (package / "dist/tabler-sprite.svg").read_text("utf-8")
    symbols = [symbol(sprite, name) for name in (HERE / "icons.txt").read_text("utf-8").split()]
    # Without a stroke width of their own the symbols take the one that app.css sets.
    text = "".join(symbols).replace(' stroke-width="2"', "")
    text = text.replace('<path stroke="none" d="M0 0h24v24H0z" fill="none" />', "")
    write("icons.svg", f'<svg xmlns="http://www.w3.org/2000/svg">{text}</svg>\n')
    write("icons.LICENSE", (package / "LICENSE").read_text("utf-8"))


def symbol(sprite: str, name: str) -> str:
    found = re.search(rf'<symbol id="tabler-{re.escape(name)}" .*?</symbol>', sprite, re.DOTALL)
    if found is None:
        sys.exit(f"icons.txt names {name}, which the icon set does not have.")
    return found.group()


def write_font(package: Path) -> None:
    for subset in ("latin", "latin-ext"):
        file = f"inter-{subset}-opsz-normal.woff2"
        (HERE / "inter").mkdir(exist_ok=True)
        (HERE / "inter" / file).write_bytes((package / "files" / file).read_bytes())
    write("inter/LICENSE", (package / "LICENSE").read_text("utf-8"))


def write_script(package: Path, path: str, licence: str) -> None:
    write(Path(path).name, SOURCE_MAP.sub("", (package / path).read_text("utf-8")))
    write(licence, (package / "LICENSE").read_text("utf-8"))


def write(path: str, text: str) -> None:
    (HERE / path).write_text(text, "utf-8", newline="\n")


if __name__ == "__main__":
    main()
