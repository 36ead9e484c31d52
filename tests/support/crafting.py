"""Search files that no search writes: a small honest one, taken apart and put together differently."""

import io
import json
import zipfile

import numpy as np
import torch
from torch import nn

from deconv_attr import strongest


def net():
    """A layer of maps, and one without axes."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(27, 2)).eval()


class Images(torch.utils.data.Dataset):
    """Ten images of 4 x 4 pixels, of which number 6 cannot be read."""

    pixels = torch.randn(10, 1, 4, 4, generator=torch.Generator().manual_seed(1))

    def __len__(self):
        return 10

    def __getitem__(self, number):
        if number == 6:
            raise OSError("truncated")
        return self.pixels[number]


LAYERS = ["1", "3"]
K = 4


def search(file, **options):
    """Search the first eight images, of which seven can be read, more than k."""
    return strongest(net(), Images(), LAYERS, K, images=range(8), file=file, **options)


def npy(array):
    """An array as the bytes of a member."""
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asarray(array))
    return file.getvalue()


def header(descr, shape, content=b"", fortran=False):
    """A member whose header says anything."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": fortran, "shape": shape})
    return file.getvalue() + content


def taken_apart(file):
    """The description and the other members, as arrays, of a file."""
    with np.load(file) as members:
        arrays = {name: members[name] for name in members.files}
    return json.loads(arrays.pop("description").tobytes()), arrays


def put_together(file, description, members, compression=zipfile.ZIP_STORED):
    """Write a file of a description (as an object or a text) and members (as arrays or bytes)."""
    text = description if isinstance(description, bytes) else json.dumps(description).encode()
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("description.npy", npy(np.frombuffer(text, np.uint8)))
        for name, member in members.items():
            archive.writestr(f"{name}.npy", member if isinstance(member, bytes) else npy(member))
