"""Trained weights and photographs, where a folder beside the repository has them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torchvision import models as zoo
from torchvision import transforms

from deconv_attr.gallery.images import read_image

DATA = Path(__file__).parents[3] / "shared" / "data"

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


def squeezenet() -> torch.nn.Module:
    model = zoo.squeezenet1_0()
    model.load_state_dict(torch.load(DATA / "squeezenet1_0_imagenet.pt", weights_only=True))
    return model.eval()
