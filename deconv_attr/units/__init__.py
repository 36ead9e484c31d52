"""Single units of a layer: the pixels they read, and the pixels that caused them.

```python
from deconv_attr import project, receptive_field
from deconv_attr.demo import embedded_images, load_model, normalise

model = load_model()
x = normalise(embedded_images(2)[0])  # (2, 3, 96, 96)

field = receptive_field(model, "features.9", x.shape)
print(field, field.box(5, 6))  # 51x51 pixels, stride 8x8; top, left, bottom, right of unit (5, 6)

units = [(0, 41), (0, 3)]  # (image, map): the strongest unit; or (image, map, row, column); or maps alone
found = project(model, x, "features.9", units)
print(found.activations, found.positions, found.boxes, found.patches[0].shape)
image = found.full(0)  # (3, 96, 96): zero outside of the unit's receptive field
```

The signal of `project` starts with the unit's activation, as in the paper; that of `NeuronZFDeconv` with 1, as in
Captum. A negative activation, which a convolution may give before its ReLU, starts a negative signal.

## Crops

A unit's value and projection depend on its receptive field only. So `project` runs crops of the images wherever that
is exact:

- The receptive field is derived from a run of the model itself, without values. An operation that reads the whole image
  (squeeze-excitation, attention, group norm), or that depends on its size or on the position in it, is found and named
  there, and whole images are run instead.
- Each size of crop is run without values too; it must make the same calls and read the same pixels.
- Its activations are compared with the whole image's where those are known, in any case for one image.
- Where a model mixes the examples of a batch, or does not run without values as far as the layer, each image runs by
  itself. A model that asks for values later, as a detector that keeps boxes by their score, has the receptive fields
  and crops of its backbone.

## Models

A model's output may be anything. One that needs more than the image is wrapped in a Module that fills in the rest, or
is for `NeuronZFDeconv`, which takes several inputs and `additional_forward_args`.
"""

from .projection import Projection, project
from .receptive_fields import ReceptiveField, receptive_field

__all__ = ["Projection", "ReceptiveField", "project", "receptive_field"]
