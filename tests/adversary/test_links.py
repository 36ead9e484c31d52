"""Files behind symbolic links: the link stays, and what it leads to is written; of permissions what was there."""

import os
import stat

import pytest
from crafting import Images, net
from matplotlib.figure import Figure

from deconv_attr import Strongest, strongest
from deconv_attr.errors import DeconvError, InputError, SearchError
from deconv_attr.visualize import save_figure
from deconv_attr.visualize.files import atomic_write, check_writable
from deconv_attr.visualize.html.gallery_folder import GENERATOR, GalleryFolder

INDEX = f'<meta name="generator" content="{GENERATOR}">'.encode()


def found():
    return strongest(net(), Images.pixels, "1", 2)


def write_gallery(path):
    folder = GalleryFolder(path.parent)
    folder.write("files/gallery.css", b"body {}")
    folder.finish(INDEX)


WRITERS = {  # the name of a file, and what writes it
    "a figure": ("figure.png", lambda path: save_figure(Figure((1, 1)), path)),
    "a page": ("page.html", lambda path: atomic_write(path, b"<p>")),
    "a search": ("top.npz", lambda path: strongest(net(), Images.pixels, "1", 2, file=path)),
    "a saved result": ("top.npz", lambda path: found().save(path)),
    "a gallery": ("index.html", write_gallery),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path, writer, relative):
    name, write = WRITERS[writer]
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    link, between, target = tmp_path / "here" / name, tmp_path / "there/between", tmp_path / "there" / f"real {name}"
    link.symlink_to("../there/between" if relative else between)
    between.symlink_to(target.name)
    for _ in range(2):  # a dangling link, then one to an older file
        write(link)
        assert (link.is_symlink(), between.is_symlink(), target.is_symlink()) == (True, True, False)
        assert target.stat().st_size > 0
        target.write_bytes(INDEX)
    assert {*os.listdir(tmp_path / "there")} == {"between", target.name}
    assert {*os.listdir(tmp_path / "here")} <= {name, "files"}


@pytest.mark.parametrize("writer", WRITERS)
def test_links_in_a_circle_are_one_sentence(tmp_path, writer):
    name, write = WRITERS[writer]
    link, other = tmp_path / name, tmp_path / "other"
    link.symlink_to(other)
    other.symlink_to(link)
    with pytest.raises((DeconvError, OSError), match="Too many levels of symbolic links") as caught:
        write(link)
    assert isinstance(caught.value, DeconvError) or writer == "a page"  # which checks its path first, see below
    assert {*os.listdir(tmp_path)} == {name, "other"}


def test_a_link_is_checked_before(tmp_path):
    link = tmp_path / "page.html"
    link.symlink_to(link)
    with pytest.raises(InputError, match=r"cannot write .*page\.html: Too many levels of symbolic links"):
        check_writable(link)
    link.unlink()
    link.symlink_to(tmp_path / "missing" / "page.html")
    with pytest.raises(InputError, match=r"cannot write .*/page\.html: there is no folder .*/missing$"):
        check_writable(link)
    link.unlink()
    link.symlink_to(tmp_path)
    with pytest.raises(InputError, match=r"cannot write .*/page\.html: it is a folder"):
        check_writable(link)


def test_a_device_is_no_file_to_replace(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link"
    link.symlink_to(pipe)
    for path in (pipe, link):
        with pytest.raises(InputError, match=f"cannot write {path}: it is no regular file"):
            strongest(net(), Images.pixels, "1", file=path)
    assert pipe.is_fifo()


def test_a_folder_may_be_a_link(tmp_path):
    (tmp_path / "gallery").symlink_to("elsewhere")
    write_gallery(tmp_path / "gallery/index.html")
    assert (tmp_path / "elsewhere/index.html").read_bytes() == INDEX
    assert (tmp_path / "gallery").is_symlink()


def test_any_name_of_a_file_finds_its_checkpoints(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "top.npz", tmp_path / "there/real.npz"
    link.symlink_to(target)
    model, data = net(), Images.pixels
    strongest(model, data, "1", 2, images=range(4), file=link)
    saved = Strongest.load(target)
    target.unlink()
    saved.save(f"{target}.part0")  # as if that search had been interrupted
    for name in (link, target):
        with pytest.raises(InputError, match=r"got the checkpoint .*there/real\.npz\.part0; continue it with resume"):
            strongest(model, data, "1", 2, file=name)
    strongest(model, data, "1", 2, file=link, resume=True)
    assert os.listdir(tmp_path / "there") == ["real.npz"]
    assert link.is_symlink()
    assert Strongest.load(link).searched.all()


def test_permissions_stay_when_a_file_is_replaced(tmp_path):
    file = tmp_path / "top.npz"
    found().save(file)
    for mode in (0o600, 0o664):
        file.chmod(mode)
        found().save(file)
        assert stat.S_IMODE(file.stat().st_mode) == mode


def test_a_failing_write_leaves_link_and_file(tmp_path, monkeypatch):
    target, link = tmp_path / "real.npz", tmp_path / "top.npz"
    link.symlink_to(target)
    found().save(link)
    before = target.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(SearchError, match=r"cannot write .*top\.npz: No space left on device"):
        found().save(link)
    assert target.read_bytes() == before
    assert {*os.listdir(tmp_path)} == {"real.npz", "top.npz"}
