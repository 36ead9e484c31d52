"""Rows about other methods and about checks of maps: what a tool can do, shown by doing it."""

from collections.abc import Callable
from importlib import import_module as load
from unittest import mock

import captum.attr
import oracle
import torch
from captum.attr import Deconvolution, LayerGradCam, NoiseTunnel
from peer_chain import LAYER, SHAPE, TARGET, UNIT, chain, gradient_at_the_layer, image, one_hot, same
from peer_tools import CAPTUMS, CRP, DECONV_ATTR, TORCHRAYS, ZENNITS, ability, conditional
from torch import Tensor, nn

from deconv_attr import GUIDED_BACKPROP, ZFDeconv


def score(scores: Tensor) -> Tensor:
    return scores * one_hot(scores)


def by_captum(method: str, model: nn.Module, *args, **options) -> Tensor:
    return getattr(captum.attr, method)(model).attribute(image(), *args, target=TARGET, **options)


def by_zennit(method: str, model: nn.Module, composite: str | None = None, start: Callable = one_hot, **options):
    rules = composite and getattr(load("zennit.composites"), composite)()
    return getattr(load("zennit.attribution"), method)(model, rules, **options)(image(), start)[1]


def by_crp(model: nn.Module, composite: str, **options) -> Tensor:
    rules = getattr(load("zennit.composites"), composite)()
    return conditional(model)(image().requires_grad_(), [{"y": [TARGET]}], rules, **options).heatmap


def by_torchray(method: str, model: nn.Module, *args, **options) -> Tensor:
    return getattr(load(f"torchray.attribution.{method}"), method)(model, image(), *args, **options)


def is_guided(found: Tensor) -> bool:
    def guided(x: Tensor, y: Tensor, signal: Tensor, given: dict) -> Tensor:
        return signal.clamp(min=0) * (x > 0)

    with mock.patch.dict(oracle.RULES, ReLU=guided):
        (expected,) = oracle.project_class(chain(), (image(),), TARGET)
    return same(found, expected)


GUIDED = ability(
    "guided",
    {
        DECONV_ATTR: lambda: is_guided(ZFDeconv(chain(), rules=GUIDED_BACKPROP).attribute(image(), target=TARGET)),
        CAPTUMS: lambda: is_guided(by_captum("GuidedBackprop", chain())),
        ZENNITS: lambda: is_guided(by_zennit("Gradient", chain(), "GuidedBackprop")),
        CRP: lambda: is_guided(by_crp(chain(), "GuidedBackprop", init_rel=torch.ones_like)),
        TORCHRAYS: lambda: is_guided(
            by_torchray("guided_backprop", chain(), TARGET, gradient_to_saliency=lambda pixels: pixels.grad)
        ),
    },
)


def averages(found: Callable[[float], Tensor]) -> bool:
    """Whether without noise the average is the deconvnet's map, and with noise another."""
    (expected,) = oracle.project_class(chain(), (image(),), TARGET)
    return same(found(0.0), expected) and not same(found(1.0), expected)


def by_noise_tunnel(method: type) -> bool:
    return averages(lambda level: NoiseTunnel(method(chain())).attribute(image(), stdevs=level, target=TARGET))


AVERAGE = ability(
    "noise|smoothgrad",
    {
        DECONV_ATTR: lambda: by_noise_tunnel(ZFDeconv),
        CAPTUMS: lambda: by_noise_tunnel(Deconvolution),
        ZENNITS: lambda: averages(
            lambda level: by_zennit("SmoothGrad", chain(), "DeconvNet", noise_level=level, n_iter=5)
        ),
    },
)


class WithoutBias(nn.Module):
    """The chain without biases, and without its `nn.Flatten`, for which Captum's LRP has no rule."""

    def __init__(self) -> None:
        super().__init__()
        *body, _, self.head = chain(bias=False)
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


def adds_up(found: Tensor) -> bool:
    """Whether relevance is conserved: without biases it sums up to the score."""
    return torch.allclose(found.sum(), WithoutBias()(image())[0, TARGET], rtol=1e-3)


LRP = ability(
    "lrp|epsilon",
    {
        CAPTUMS: lambda: adds_up(by_captum("LRP", WithoutBias())),
        ZENNITS: lambda: adds_up(by_zennit("Gradient", WithoutBias(), "EpsilonPlus", score)),
        CRP: lambda: adds_up(by_crp(WithoutBias(), "EpsilonPlus")),
    },
)

INTEGRATED = ability(
    "integrated",
    {
        CAPTUMS: lambda: adds_up(by_captum("IntegratedGradients", WithoutBias())),
        ZENNITS: lambda: adds_up(by_zennit("IntegratedGradients", WithoutBias())),
    },
)


def conditional_by_crp() -> bool:
    """Compare with the gradient that goes through one feature map only."""
    leaf = image().requires_grad_()
    _, activations, gradient = gradient_at_the_layer(leaf, [TARGET])
    through = torch.zeros_like(gradient)
    through[:, UNIT[0]] = gradient[:, UNIT[0]]
    (expected,) = torch.autograd.grad(activations, leaf, through)
    conditions = [{"y": [TARGET], LAYER: [UNIT[0]]}]
    return same(conditional(chain())(image().requires_grad_(), conditions, init_rel=torch.ones_like).heatmap, expected)


CONDITIONAL = ability("^cond", {CRP: conditional_by_crp})


def is_grad_cam(found: Tensor) -> bool:
    _, activations, gradient = gradient_at_the_layer(image(), [TARGET])
    return same(found, (gradient.mean((2, 3), keepdim=True) * activations).sum(1, keepdim=True).relu())


def grad_cam_by_captum() -> bool:
    model = chain()
    return is_grad_cam(LayerGradCam(model, model[int(LAYER)]).attribute(image(), TARGET, relu_attributions=True))


GRAD_CAM = ability(
    "grad_?cam",
    {
        CAPTUMS: grad_cam_by_captum,
        TORCHRAYS: lambda: is_grad_cam(by_torchray("grad_cam", chain(), TARGET, saliency_layer=LAYER)),
    },
)


class UpperHalf(nn.Module):
    """Scores (N, 3), all of the upper half of the image only."""

    def forward(self, x: Tensor) -> Tensor:
        return 40 * x[:, :, : SHAPE[2] // 2].mean((1, 2, 3))[:, None].expand(-1, 3) - 10


def lies_above(found: Tensor) -> bool:
    """Whether a map tells the halves apart, whatever it gives where nothing matters."""
    above, below = (found - found[:, :, SHAPE[2] // 2 :].mean()).abs().split(SHAPE[2] // 2, dim=2)
    return bool(above.mean() > 2 * below.mean())


WINDOW = (3, 2, 2)
OCCLUSION = ability(
    "occlu|^rise",
    {
        CAPTUMS: lambda: lies_above(by_captum("Occlusion", UpperHalf(), WINDOW, strides=WINDOW)),
        ZENNITS: lambda: lies_above(by_zennit("Occlusion", UpperHalf(), start=score, window=WINDOW, stride=WINDOW)),
        TORCHRAYS: lambda: lies_above(by_torchray("rise", UpperHalf(), num_masks=500)[:, TARGET, None]),
    },
)


# ---------------------------------------------------------------------------------------- checks of maps


def randomisation_by_ours() -> bool:
    """A method that ignores the model scores 1 at every stage; the gradient does not."""
    check = load("deconv_attr.evidence").parameter_randomisation
    model, target = chain(), torch.tensor([TARGET])
    blind = check(model, lambda model, x, target: x, image(), target)
    seeing = check(model, captum.attr.Saliency(model), image(), target)
    return bool((blind.signed == 1).all() and (seeing.signed < 0.9).any())


RANDOMISATION = ability("random|sanity", {DECONV_ATTR: randomisation_by_ours})


def pointing_by_ours() -> bool:
    heat, mask = torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.bool)
    heat[0, 0, 2, 5] = heat[1, 0, 5, 2] = 1
    mask[:, 2, 5] = True
    return load("deconv_attr.evidence").pointing_game(heat, mask).tolist() == [1, 0]


def pointing_by_torchray() -> bool:
    mask = torch.zeros(8, 8, dtype=torch.bool)
    mask[2, 5] = True
    game = load("torchray.benchmark.pointing_game").PointingGame(1, tolerance=1)
    return [game.evaluate(mask, point) for point in ((5, 2), (2, 5))] == [1, -1]  # (column, row)


POINTING = ability("pointing", {DECONV_ATTR: pointing_by_ours, TORCHRAYS: pointing_by_torchray})


def tells_of_noise(infidelity: Callable[[nn.Module, Tensor], Tensor]) -> bool:
    """Whether the gradient of a linear model has an infidelity of 0, and another map a greater one."""
    gradient = torch.autograd.functional.jacobian(lambda x: UpperHalf()(x)[:, TARGET].sum(), image())
    right, wrong = infidelity(UpperHalf(), gradient), infidelity(UpperHalf(), gradient.flip(2))
    return bool((right.abs() < 1e-6).all() and (wrong > 1e-2).all())


def infidelity_by_ours(model: nn.Module, found: Tensor) -> Tensor:
    return load("deconv_attr.evidence").infidelity(model, found, image(), torch.tensor([TARGET]))


def infidelity_by_captum(model: nn.Module, found: Tensor) -> Tensor:
    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        noise = torch.randn_like(x)
        return noise, x - noise

    return load("captum.metrics").infidelity(model, perturb, image(), found, target=TARGET)


INFIDELITY = ability(
    "infidelity",
    {
        DECONV_ATTR: lambda: tells_of_noise(infidelity_by_ours),
        CAPTUMS: lambda: tells_of_noise(infidelity_by_captum),
    },
)
