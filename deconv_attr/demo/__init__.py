"""The embedded default: generated pictures of eight shapes, and a miniature ZFNet that knows them.

```python
from deconv_attr.demo import CLASS_NAMES, Shapes, load_model, normalise

image, label = Shapes(1, seed=1)[0]
scores = load_model()(normalise(image)[None])
assert CLASS_NAMES[scores.argmax()] == CLASS_NAMES[label]
```

Nothing is downloaded: the weights are a file of the package, which `python -m deconv_attr.demo.train` made, and the
images are drawn on access.
"""

from .images import GeneratedImages, embedded_images, embedded_masks
from .outlines import CLASS_NAMES, SIZE
from .shapes import Sample, Shapes
from .zfnet import MEAN, STD, MiniZFNet, load_model, normalise

__all__ = [
    "CLASS_NAMES",
    "MEAN",
    "SIZE",
    "STD",
    "GeneratedImages",
    "MiniZFNet",
    "Sample",
    "Shapes",
    "embedded_images",
    "embedded_masks",
    "load_model",
    "normalise",
]
