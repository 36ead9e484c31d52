"""Trained weights and photographs, where a folder beside the repository has them."""

import pytest
import torch
from torch import Tensor
from torchvision import transforms
from trained import DATA, squeezenet

from deconv_attr.gallery.images import read_image

__all__ = ["DATA", "needs_data", "photographs", "squeezenet"]

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="no trained weights and photographs here")


def photographs(count: int) -> Tensor:
    prepare = transforms.Compose(
        [
            transforms.Resize(256),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ]
    )
    return torch.stack(
        [prepare(read_image(str(path))) for path in sorted((DATA / "imagenet_sample").glob("*"))[:count]]
    )
