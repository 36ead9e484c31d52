"""Networks of other libraries with random weights, as if trained: none is downloaded."""

import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn


def class_score(output: Tensor) -> Tensor:
    return output[:, 3]


def region_score(output: Tensor) -> Tensor:
    """The sum of one class over a region of a segmentation (N, classes, rows, columns)."""
    return output[:, 2, 4:12, 4:12].sum((1, 2))


class Case(NamedTuple):
    """`build(library)` makes a network of (N, *shape); `score(output)` is (N,); `layer` names one of its own."""

    library: str
    build: Callable[[Any], nn.Module]
    shape: tuple[int, ...]
    score: Callable[[Any], Tensor] = class_score
    activations: str = "error"
    layer: str = ""


def of_timm(name: str, side: int = 64, **known: str) -> tuple[str, Case]:
    return f"timm {name}", Case("timm", lambda timm: timm.create_model(name), (3, side, side), **known)


def of_smp(name: str, **known: str) -> tuple[str, Case]:
    def build(smp: Any) -> nn.Module:
        return getattr(smp, name)("resnet18", encoder_weights=None, classes=4)

    return f"smp {name}", Case("segmentation_models_pytorch", build, (3, 64, 64), region_score, **known)


def of_torchvision(name: str, shape=(3, 64, 64), classes=5, score=class_score, **known: str) -> tuple[str, Case]:
    def build(models: Any) -> nn.Module:
        backbone = {"weights_backbone": None} if score is out_score else {}
        return models.get_model(name, weights=None, num_classes=classes, **backbone)

    return f"torchvision {name}", Case("torchvision.models", build, shape, score, **known)


def out_score(output: dict[str, Tensor]) -> Tensor:
    return region_score(output["out"])


def of_monai(name: str, title: str, *args: Any, shape=(1, 32, 32), score=class_score, case=None, **options: Any):
    def build(nets: Any) -> nn.Module:
        return getattr(nets, name)(*args, **options)

    return f"monai {title}", Case("monai.networks.nets", build, shape, score, **(case or {}))


def logits_score(output: Any) -> Tensor:
    return class_score(output.logits)


def segmented_score(output: Any) -> Tensor:
    return output.logits[:, 1, 1:4, 1:4].sum((1, 2))


def first_box_score(output: Any) -> Tensor:
    return output.logits[:, 0, 1]


def of_transformers(
    name: str, title: str, config: Callable[[Any], Any], side: int = 64, score=logits_score, **known: str
) -> tuple[str, Case]:
    def build(transformers: Any) -> nn.Module:
        return getattr(transformers, name)(config(transformers))

    return f"transformers {title}", Case("transformers", build, (3, side, side), score, **known)


STAGES = {"embedding_size": 16, "hidden_sizes": [16, 32, 48, 64], "depths": [1, 1, 2, 1], "num_labels": 5}
CONVNEXT = {"hidden_sizes": [16, 24, 32, 48], "depths": [1, 1, 2, 1], "num_labels": 5}
VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
    "num_labels": 5,
}
SEGFORMER = {
    "hidden_sizes": [16, 32, 48, 64],
    "depths": [1, 1, 1, 1],
    "num_attention_heads": [1, 2, 4, 4],
    "decoder_hidden_size": 32,
    "num_labels": 5,
}
DETR = {
    "use_timm_backbone": False,
    "use_pretrained_backbone": False,
    "backbone": None,
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "num_queries": 5,
    "num_labels": 5,
}


def _upernet(transformers: Any) -> Any:
    stages = ["stage1", "stage2", "stage3", "stage4"]
    backbone = transformers.ResNetConfig(**STAGES, out_features=stages)
    return transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=32, num_labels=5, auxiliary_in_channels=48, auxiliary_channels=16
    )


def _detr(transformers: Any) -> Any:
    return transformers.DetrConfig(**DETR, backbone_config=transformers.ResNetConfig(**STAGES, out_features=["stage4"]))


ZOO: dict[str, Case] = dict(
    [
        of_timm("resnet26d", layer="layer2"),
        of_timm("regnety_002"),
        of_timm("densenetblur121d"),
        of_timm("mobilenetv2_035"),
        of_timm("resnest14d"),
        of_timm("hrnet_w18_small"),
        of_timm("dla34"),
        of_timm("repvgg_a0"),
        of_timm("inception_v4", side=96),
        of_timm("legacy_xception"),
        of_timm("skresnet18"),
        of_timm("ghostnet_050"),
        of_timm("nf_seresnet26"),
        of_timm("mixnet_s", activations="gradient"),
        of_timm("mobilenetv3_small_050", activations="gradient"),
        of_timm("efficientvit_m0", side=224),
        of_timm("efficientnet_b0", activations="rectify"),
        of_timm("eca_nfnet_l0", activations="rectify"),
        of_timm("tresnet_m", activations="rectify"),
        of_timm("convnext_atto", activations="rectify"),
        of_torchvision("fcn_resnet50", score=out_score, layer="backbone.layer2"),
        of_torchvision("lraspp_mobilenet_v3_large", score=out_score, activations="gradient"),
        of_torchvision("r3d_18", shape=(3, 4, 24, 24)),
        of_torchvision("mnasnet0_5"),
        of_torchvision("regnet_y_400mf"),
        of_torchvision("shufflenet_v2_x0_5"),
        of_smp("Unet", layer="encoder.layer2"),
        of_smp("FPN"),
        of_smp("PSPNet"),
        of_smp("DeepLabV3Plus"),
        of_smp("Linknet"),
        of_monai("UNet", "UNet", 2, 1, 3, (8, 16, 32), (2, 2), num_res_units=2, act="relu", score=region_score),
        of_monai("DenseNet121", "DenseNet121", 2, 1, 5, shape=(1, 64, 64), case={"layer": "features.denseblock2"}),
        of_monai("DenseNet121", "DenseNet121 3d", 3, 1, 5, shape=(1, 32, 32, 32)),
        of_monai("SegResNet", "SegResNet", 2, 8, 1, 3, score=region_score),
        of_monai("BasicUNet", "BasicUNet", 2, 1, 3, (8, 8, 16, 16, 32, 8), act="relu", score=region_score),
        of_monai(
            *("AttentionUnet", "AttentionUnet", 2, 1, 3, (8, 16, 32), (2, 2)),
            score=region_score,
            case={"activations": "gradient"},
        ),
        of_transformers(
            *("ResNetForImageClassification", "ResNet", lambda hf: hf.ResNetConfig(**STAGES)),
            layer="resnet.encoder.stages.1",
        ),
        of_transformers("RegNetForImageClassification", "RegNet", lambda hf: hf.RegNetConfig(**STAGES, groups_width=8)),
        of_transformers(
            *("MobileNetV1ForImageClassification", "MobileNetV1"),
            lambda hf: hf.MobileNetV1Config(depth_multiplier=0.25, num_labels=5),
        ),
        of_transformers(
            *("MobileNetV2ForImageClassification", "MobileNetV2"),
            lambda hf: hf.MobileNetV2Config(depth_multiplier=0.35, num_labels=5),
        ),
        of_transformers(
            "BitForImageClassification", "Bit", lambda hf: hf.BitConfig(**STAGES, num_groups=4, layer_type="bottleneck")
        ),
        of_transformers("UperNetForSemanticSegmentation", "UperNet", _upernet, score=segmented_score),
        of_transformers("DetrForObjectDetection", "DETR", _detr, score=first_box_score),
        of_transformers(
            *("SegformerForSemanticSegmentation", "SegFormer", lambda hf: hf.SegformerConfig(**SEGFORMER)),
            score=segmented_score,
            activations="gradient",
        ),
        of_transformers(
            *("ViTForImageClassification", "ViT", lambda hf: hf.ViTConfig(**VIT), 32), activations="rectify"
        ),
        of_transformers(
            *("ConvNextForImageClassification", "ConvNeXt", lambda hf: hf.ConvNextConfig(**CONVNEXT)),
            activations="rectify",
        ),
    ]
)


def make(case: Case) -> tuple[nn.Module, Tensor]:
    """Return a network in double precision and an image for it; skip the test where its library is missing."""
    library = pytest.importorskip(case.library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what these libraries say of their own dependencies, at their imports too
        torch.manual_seed(0)
        model = case.build(library).eval().double()
    as_if_trained(model)
    return model, torch.randn(1, *case.shape, dtype=torch.float64)


def as_if_trained(model: nn.Module) -> None:
    """Give each vector of parameters, and all statistics, numbers that are neither 0 nor 1 nor tiny."""
    for name, values in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith(("bias", "running_mean")):
            nn.init.uniform_(values, -0.1, 0.1)
        elif name.endswith("running_var") or (isinstance(values, nn.Parameter) and values.dim() < 2):
            nn.init.uniform_(values, 0.5, 1.5)
