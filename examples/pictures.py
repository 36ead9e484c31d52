"""Make the pictures of this folder's README.md: small copies of what the examples draw.

    python examples/pictures.py project.png examples/*.ipynb

writes a copy of each to examples/pictures, as a JPEG of at most 1,050 pixels in width. Of a notebook it is the
kept output of the cell that has the tag "picture". It needs nothing but this package.
"""

import argparse
import json
from base64 import b64decode
from io import BytesIO
from pathlib import Path

from PIL import Image

FOLDER = Path(__file__).with_name("pictures")
WIDEST = 1050  # pixels: sharp on a page's 840 points


def tagged(notebook: Path) -> bytes:
    """Return the picture below the cell of a notebook that has the tag."""
    cells = json.loads(notebook.read_text())["cells"]
    (outputs,) = (cell["outputs"] for cell in cells if "picture" in cell["metadata"].get("tags", []))
    return b64decode(outputs[0]["data"]["image/png"])


def small(file: Path) -> Image.Image:
    """Return a small copy of a picture, or of a notebook's."""
    picture = Image.open(BytesIO(tagged(file)) if file.suffix == ".ipynb" else file).convert("RGB")
    picture.thumbnail((WIDEST, 10 * WIDEST), Image.Resampling.LANCZOS)
    return picture


def main(arguments: list[str] | None = None) -> None:
    """Write a small copy of each file."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("files", metavar="FILE", nargs="+", type=Path, help="a picture or a notebook")
    for file in parser.parse_args(arguments).files:
        small(file).save(FOLDER / f"{file.stem}.jpg", quality=85, subsampling=0)  # full colours at edges


if __name__ == "__main__":
    main()
