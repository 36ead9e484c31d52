"""Figures 2 and 4 of the paper: what each feature map answers to, over a data set and over a training.

```python
from deconv_attr import Gallery, evolution, strongest
from deconv_attr.demo import GeneratedImages, MiniZFNet, load_model

model = load_model()
data = GeneratedImages(40)  # or a Dataset, DataLoader, tensor or list of inputs, or Photographs("folder/")

top = strongest(model, data, ["features.4", "features.9"], k=9, file="top.npz")  # one forward pass
top["features.9"].values, top["features.9"].images, top["features.9"].positions  # (64, 9), (64, 9), (64, 9, 2)

gallery = Gallery(model, data, top, maps=4)  # four of each layer at random; a list: their numbers; None: all
gallery.plot("features.9").savefig("features.9.png")
gallery.to_html("gallery")  # open gallery/index.html

checkpoints = {"random": MiniZFNet().eval(), "trained": model}  # or state dicts, or their paths
evolution(model, checkpoints, data, "features.9", maps=3).plot().savefig("evolution.png")  # figure 4
```

## The search

`strongest` finds for every feature map the k strongest activations over a data set, at most one of each image; without
names of layers, in every rectified layer.

- If two activations are equal, the image with the lower number wins.
- The result does not depend on a DataLoader's batch size, order or workers, nor on the number of processes: under
  `torchrun` each searches a share, and the first merges and writes. The same images always run together, because
  torch's kernels round differently for batches of another size.
- The file says of which model, weights, images and preprocessing it is; with others it is refused.
- A search that was interrupted, by Ctrl-C, a kill or a full disk, goes on with `resume=True` and ends with the same
  file.
- `images=range(...)` searches a part of the data set, and `a.merge(b)` joins two results.
- Images that cannot be read are skipped and named.

## Tiles and page

The tiles of a map are aligned, have one size, and are cropped to the box that holds 0.95 of each signal;
`Gallery(..., share=1)` shows the whole receptive field. What lies outside of an image is left white, on the page dark.
Every projected activation is compared with the one that the search found.

The page needs no server. It is searched by map numbers, sorted by activation, and shows units large with their position
in the whole image.
"""

from .figure2 import Gallery
from .figure4 import Evolution, evolution
from .images import Photographs, Preprocessing, standard_preprocessing
from .search import Strongest, strongest

__all__ = [
    "Evolution",
    "Gallery",
    "Photographs",
    "Preprocessing",
    "Strongest",
    "evolution",
    "standard_preprocessing",
    "strongest",
]
