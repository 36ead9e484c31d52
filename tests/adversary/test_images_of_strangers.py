"""Images of strangers: each is read in bounded memory, or it is one sentence; none starts a program."""

import os
import struct
import subprocess
import sys
import textwrap
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageFile, PngImagePlugin
from torch import nn
from torch.utils.data import Dataset

from deconv_attr import DeconvError, Photographs, strongest
from deconv_attr.errors import InputError, SkippedImagesWarning
from deconv_attr.gallery import images
from deconv_attr.gallery.images import RASTER_FORMATS, read_image, standard_preprocessing

POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(touched) (w) file closefile showpage\n"
COLOUR = (9, 99, 199)


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def claiming(width, height):
    """A PNG of a hundred bytes that says how large it is, and has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def refusal(path):
    with pytest.raises(InputError) as caught:
        read_image(str(path))
    said = str(caught.value)
    assert said.startswith(f"cannot read the image {path}: ")
    assert "\n" not in said
    return said.removeprefix(f"cannot read the image {path}: ")


# Extreme shapes


@pytest.mark.parametrize("size", [(1, 301), (301, 1), (1, 20000), (60001, 200), (3, 2**16)], ids=str)
def test_a_strip_that_resizing_would_blow_up_is_refused(tmp_path, size):
    Image.new("RGB", size, COLOUR).save(tmp_path / "strip.png")
    expected = f"expected the longer side to be at most 300 times the shorter, got {size[0]} x {size[1]} pixels"
    assert refusal(tmp_path / "strip.png") == expected


@pytest.mark.parametrize("size", [(1, 300), (300, 1), (20, 6000)], ids=str)
def test_a_long_image_is_read_to_its_centre(tmp_path, size):
    Image.new("RGB", size, COLOUR).save(tmp_path / "long.png")
    inputs = Photographs(tmp_path)[0]
    assert inputs.shape == (3, 224, 224)
    assert inputs.flatten(1).std(1).max() < 1e-6


def test_a_strip_in_a_folder_is_skipped(tmp_path):
    for name, size in (("a.png", (64, 64)), ("b.png", (1, 40000)), ("c.png", (50, 70))):
        Image.new("RGB", size, COLOUR).save(tmp_path / name)
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    with pytest.warns(SkippedImagesWarning, match=r"1 of 3 images .* \(b\.png: .*300 times the shorter, got 1 x 40000"):
        found = strongest(net, Photographs(tmp_path, standard_preprocessing(12, 8, (0, 0, 0), (1, 1, 1))), k=3)
    assert [image.number for image in found.skipped] == [1]


# Sizes


@pytest.mark.parametrize("size", [(2**15, 2**13), (2**31 - 1, 2**31 - 1)], ids=str)
def test_an_image_of_more_pixels_than_the_limit_is_refused(tmp_path, size):
    (tmp_path / "bomb.png").write_bytes(claiming(*size))
    assert f"({size[0] * size[1]} pixels) exceeds limit of 178956970 pixels" in refusal(tmp_path / "bomb.png")


def test_the_limit_is_pillows(tmp_path, monkeypatch):
    Image.new("RGB", (32, 32), COLOUR).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 511)
    assert "(1024 pixels) exceeds limit of 1022 pixels" in refusal(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # between the limit and twice it Pillow warns
    with pytest.warns(Image.DecompressionBombWarning):
        assert read_image(str(tmp_path / "a.png")).size == (32, 32)


class TooLarge(Dataset):
    """Images of the user's own, of which one asks for more memory than there is."""

    def __len__(self):
        return 3

    def __getitem__(self, number):
        if number == 1:
            raise MemoryError
        return torch.ones(3, 8, 8)


def test_memory_that_does_not_suffice_makes_an_unreadable_image(tmp_path, monkeypatch):
    net = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU()).eval()
    with pytest.warns(SkippedImagesWarning, match=r"1 of 3 images could not be read .* \(image 1: MemoryError\)"):
        strongest(net, TooLarge())
    Image.new("RGB", (32, 32), COLOUR).save(tmp_path / "a.png")

    def convert(image, mode):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "convert", convert)
    assert refusal(tmp_path / "a.png") == "MemoryError"


# Formats


@pytest.mark.parametrize("name", ["a.eps", "a.png", "a"])
def test_no_program_is_started(tmp_path, monkeypatch, name):
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **options: pytest.fail("a program was started"))
    (tmp_path / name).write_bytes(POSTSCRIPT)
    with Image.open(tmp_path / name) as image:
        assert image.format == "EPS"  # which only loading would hand to Ghostscript
    assert refusal(tmp_path / name) == "it is no image in a format that is read"


def test_files_of_such_formats_do_not_count_in_a_folder(tmp_path):
    for name in ("a.eps", "b.ps", "c.wmf", "d.mpg", "e.h5", "f.iptc", "g.fits", "h.pdf", "i.svg"):
        (tmp_path / name).write_bytes(POSTSCRIPT)
    with pytest.raises(InputError, match=r"expected images in .*, got none"):
        Photographs(tmp_path)
    Image.new("RGB", (9, 9), COLOUR).save(tmp_path / "z.PNG")
    assert Photographs(tmp_path).names == ["z.PNG"]


@pytest.mark.parametrize("format_", sorted(RASTER_FORMATS - {"MPO", "DIB"}))
def test_each_format_is_read(tmp_path, format_):
    Image.init()
    if format_ not in Image.OPEN or format_ not in Image.SAVE:
        pytest.skip("this Pillow has it not")
    picture = Image.new("RGB", (16, 16), COLOUR)
    picture.save(tmp_path / "picture", format_)
    pixels = np.asarray(read_image(str(tmp_path / "picture")), dtype=int)
    assert pixels.shape == (16, 16, 3)
    assert abs(pixels - COLOUR).max() < 8  # some are lossy


def test_a_format_that_the_caller_registered_is_read(tmp_path, monkeypatch):
    """As pillow-heif registers HEIC."""

    class Flat(ImageFile.ImageFile):
        format = "FLAT"

        def _open(self):
            made = Image.new("RGB", (4, 4), tuple(self.fp.read()[4:7]))
            self.im, self._mode, self._size, self.tile = made.im, "RGB", made.size, []

    Image.init()
    monkeypatch.setitem(Image.OPEN, "FLAT", (Flat, lambda prefix: prefix.startswith(b"flat")))
    monkeypatch.setitem(Image.EXTENSION, ".flat", "FLAT")
    monkeypatch.setattr(Image, "ID", [*Image.ID, "FLAT"])
    (tmp_path / "a.flat").write_bytes(b"flat" + bytes(COLOUR))
    assert read_image(str(tmp_path / "a.flat")).getpixel((0, 0)) == COLOUR
    assert Photographs(tmp_path).names == ["a.flat"]


@pytest.mark.parametrize("error", [KeyError("x"), struct.error("unpack"), ZeroDivisionError(), AssertionError()])
def test_whatever_pillow_raises_is_one_sentence(tmp_path, monkeypatch, error):
    Image.new("RGB", (8, 8), COLOUR).save(tmp_path / "a.png")

    def load(image):
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", load)
    assert refusal(tmp_path / "a.png").startswith(type(error).__name__)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="a system without named pipes")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert refusal(tmp_path / "a.png") == "expected a file, got a pipe or a device"
    Image.new("RGB", (8, 8), COLOUR).save(tmp_path / "b.png")
    assert Photographs(tmp_path).names == ["b.png"]


def test_a_device_is_refused():
    assert refusal("/dev/null" if os.path.exists("/dev/null") else "nul")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    (tmp_path / "closed").mkdir()
    Image.new("RGB", (8, 8), COLOUR).save(tmp_path / "a.png")
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(InputError, match=r"cannot read the folder .*closed: Permission denied"):
        Photographs(tmp_path)


# Transparency


def half_transparent(mode, path):
    """Save red where it is seen, and black that nobody sees."""
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 4, 8))
    if mode == "LA":
        picture = picture.convert("LA")
    elif mode == "P":
        flat = Image.new("P", (8, 8), 1)
        flat.putpalette([255, 0, 0, 0, 0, 0])
        flat.paste(0, (0, 0, 4, 8))
        flat.save(path, transparency=1)
        return
    elif mode == "RGB":
        picture.convert("RGB").save(path, transparency=(0, 0, 0))
        return
    elif mode == "L":
        picture.convert("L").save(path, transparency=0)
        return
    picture.save(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "RGB", "L"])
def test_transparent_pixels_are_laid_upon_white(tmp_path, mode):
    half_transparent(mode, tmp_path / "a.png")
    pixels = np.asarray(read_image(str(tmp_path / "a.png")))
    assert (pixels[:, 4:] == images.BACKGROUND).all()
    assert (pixels[:, :4] == ((76, 76, 76) if mode in ("LA", "L") else (255, 0, 0))).all()


def test_half_of_a_colour_is_half_of_white(tmp_path):
    Image.new("RGBA", (2, 2), (0, 100, 200, 128)).save(tmp_path / "a.png")
    expected = np.array([0, 100, 200]) * 128 / 255 + 255 * 127 / 255
    assert abs(np.asarray(read_image(str(tmp_path / "a.png")))[0, 0] - expected).max() <= 1


# Memory, in a process of its own


CHILD = textwrap.dedent(
    """
    import sys
    from pathlib import Path
    from deconv_attr import DeconvError, Photographs
    photographs = Photographs(sys.argv[1])
    photographs[0]
    status = lambda: int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
    before = status()
    for number in range(1, len(photographs)):
        try:
            photographs[number]
        except DeconvError as error:
            pass
    print(status() - before)
    """
)


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system does not tell the peak of memory")
def test_hostile_files_take_little_memory(tmp_path):
    Image.new("RGB", (400, 300), COLOUR).save(tmp_path / "0.png")
    for number, size in enumerate([(1, 10**6), (10**6, 1), (2, 50000), (2**14, 2**14), (2**31 - 1, 1)]):
        (tmp_path / f"{number + 1}.png").write_bytes(claiming(*size))
    Image.new("RGB", (1, 10**5), COLOUR).save(tmp_path / "6.png")
    Image.new("RGB", (10, 3000), COLOUR).save(tmp_path / "7.png")
    run = subprocess.run([sys.executable, "-c", CHILD, tmp_path], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 200


def test_the_errors_are_the_packages(tmp_path):
    assert issubclass(InputError, DeconvError)
    (tmp_path / "a.png").write_bytes(b"")
    assert refusal(tmp_path / "a.png") == "it is no image in a format that is read"
    assert refusal(f"{tmp_path}/\0.png".replace("\0", "gone")) == "No such file or directory"
    with pytest.raises(InputError, match=r"cannot read the image a\\x00\.png: ValueError: embedded null byte"):
        read_image("a\0.png")
