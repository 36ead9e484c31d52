"""Does `ConvTranspose2d` with the weights of a `Conv2d` give the layer's input back? No; and what it gives instead.

"I tried ConvTranspose2d with the weights of a Conv2d to get the layer's input back. It does not come back."

The answer has four parts, and this file runs them in order:

1. What comes back has the input's shape, not its values.
2. A convolution is a matrix W, y = W x, and the transposed convolution is W^T: the adjoint, not the inverse. The two
   are the same only where the filters are orthogonal. Where y determines x, the inverse is there, but it is another
   computation, and here it stands beside the transposed convolution.
3. "Flip each filter vertically and horizontally", as Zeiler and Fergus put it, is the same operation.
4. So is the gradient of the convolution with respect to its input.
"""

from pathlib import Path
from typing import NamedTuple

import torch
import torch.nn.functional as F
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from deconv_attr.demo import MEAN, STD, Shapes, load_model, normalise

PICTURE = Path(__file__).with_suffix(".png")


class Convolution(NamedTuple):
    """A convolution without a bias: a linear map W from images (N, C, H, W) to feature maps (N, K, h, w)."""

    weight: Tensor
    stride: int = 1
    padding: int = 0

    def forward(self, x: Tensor) -> Tensor:
        """Compute W x."""
        return F.conv2d(x, self.weight, None, self.stride, self.padding)

    def transposed(self, y: Tensor, size: torch.Size) -> Tensor:
        """Compute W^T y for an image of `size` (H, W); a stride leads from several sizes to that of y."""
        window = self.weight.shape[2:]
        smallest = [(n - 1) * self.stride - 2 * self.padding + k for n, k in zip(y.shape[2:], window, strict=True)]
        missing = [n - m for n, m in zip(size, smallest, strict=True)]
        return F.conv_transpose2d(y, self.weight, None, self.stride, self.padding, output_padding=missing)


class Case(NamedTuple):
    """What comes back of an image x from the feature maps y = W x of one convolution."""

    convolution: Convolution
    numbers: float
    """How many numbers y has for each of x."""
    transposed: Tensor
    """c W^T y, with the one factor c that brings it closest to x."""
    inverse: Tensor
    """By least squares."""
    errors: tuple[float, float, float]
    """|back - x| / |x|: of W^T y as it is, of `transposed`, of `inverse`."""


class Answer(NamedTuple):
    """What the four parts found; relative errors unless it says otherwise."""

    image: Tensor
    as_asked: float
    adjoint: tuple[float, float]
    """<W x, y> and <x, W^T y>."""
    gaps: dict[str, float]
    """|W^T W - I| / |I| of random and of orthogonal filters."""
    cases: dict[str, Case]
    flipped: float
    gradient: float


def main(picture: Path = PICTURE) -> Answer:
    """Run the four parts, and draw the comparison of part 2."""
    torch.manual_seed(0)
    image, _ = Shapes(4, seed=7)[3]
    x = normalise(image)[None].double()  # (1, 3, 96, 96), about -2 to 2
    answer = Answer(x, as_asked(x), adjoint(x), matrices(), what_is_lost(x), flipped_filters(x), gradient(x))
    print(f"\n{CONCLUSION}\n\nThe picture is {picture.name}.")
    draw(x, answer.cases).savefig(picture, dpi=150)
    return answer


# ------------------------------------------------------------------------------------------ 1. as it was asked


def as_asked(x: Tensor) -> float:
    """Send an image through a layer, and the answer through ConvTranspose2d with the same weights."""
    conv = nn.Conv2d(3, 16, kernel_size=5, stride=2, padding=2, bias=False).double()
    back = nn.ConvTranspose2d(16, 3, kernel_size=5, stride=2, padding=2, bias=False).double()
    back.weight = conv.weight  # (16, 3, 5, 5) in both: what comes out of one goes into the other
    with torch.no_grad():
        y = conv(x)
        without, returned = back(y), back(y, output_size=x.shape[2:])
    error = relative_error(returned, x)
    print("1. ConvTranspose2d with the weights of a Conv2d")
    print(f"   image {shape(x)}, conv {shape(y)}, and back {shape(without)}, or {shape(returned)} when asked for it:")
    print("   with stride 2, 95 and 96 pixels both give 48, and `output_padding` has to say which it was.")
    print(f"   The shape is back. The values are not: relative error {error:.2f}.")
    return error


# ------------------------------------------------------------------------------------------ 2. adjoint, not inverse


def adjoint(x: Tensor) -> tuple[float, float]:
    """Compare <W x, y> with <x, W^T y>, which is what makes W^T the adjoint of W."""
    convolution = Convolution(torch.randn(16, 3, 5, 5).double(), stride=2, padding=2)
    y = torch.randn_like(convolution.forward(x))  # any y, not the answer to x
    above = (convolution.forward(x) * y).sum().item()
    below = (x * convolution.transposed(y, x.shape[2:])).sum().item()
    print("\n2. The adjoint, not the inverse")
    print(f"   <W x, y> = {above:.6f} and <x, W^T y> = {below:.6f}, for any x and y.")
    return above, below


def matrices() -> dict[str, float]:
    """Write small convolutions out as matrices, and give how far W^T W is from the identity."""
    filters = torch.randn(18, 2, 3, 3).double()
    unit_length = filters / filters.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    gaps = {}
    for name, weight in {"random": unit_length, "orthogonal": orthonormal(filters)}.items():
        w = matrix(Convolution(weight, stride=3), (2, 6, 6))
        identity = torch.eye(w.shape[1]).double()
        gaps[name] = relative_error(w.T @ w, identity)
        print(
            f"   18 {name} filters of 2x3x3 with stride 3: W, written out, is {w.shape[0]} x {w.shape[1]} with "
            f"{(w == 0).double().mean():.0%} zeros; |W^T W - I| / |I| = {gaps[name]:.1e}"
        )
    print("   Orthogonal: the filters are an orthonormal basis of a window, and the windows tile the image.\n")
    return gaps


def orthonormal(filters: Tensor) -> Tensor:
    """Turn as many filters as a window has values (K, C, h, w), K = C h w, into an orthonormal basis."""
    return torch.linalg.qr(filters.flatten(1)).Q.reshape(filters.shape)


def matrix(convolution: Convolution, image_shape: tuple[int, int, int]) -> Tensor:
    """Write W out: its column j is what the convolution makes of the image whose j-th value is 1, the rest 0."""
    size = torch.Size(image_shape)
    units = torch.eye(size.numel()).double().view(-1, *size)
    return convolution.forward(units).flatten(1).T


def least_squares(convolution: Convolution, y: Tensor, size: torch.Size, steps: int = 300) -> Tensor:
    """Find the smallest x whose W x is closest to y, by conjugate gradients on W^T W x = W^T y.

    Each step is one convolution and one transposed convolution: W is never written out.
    """
    residual = y
    slope = direction = convolution.transposed(residual, size)  # W^T (y - W x) at x = 0
    x, steepness = torch.zeros_like(slope), slope.square().sum()
    enough = 1e-24 * steepness
    for _ in range(steps):
        change = convolution.forward(direction)
        length = steepness / change.square().sum()
        x = x + length * direction
        residual = residual - length * change
        slope = convolution.transposed(residual, size)
        steepness, before = slope.square().sum(), steepness
        if steepness <= enough:
            break
        direction = slope + steepness / before * direction
    return x


def what_is_lost(x: Tensor) -> dict[str, Case]:
    """Send one image through four convolutions, and back by both ways."""
    first_layer = load_model().features[0].weight.detach().double()
    convolutions = {
        "12 random filters, 5x5, stride 1": Convolution(torch.randn(12, 3, 5, 5).double(), padding=2),
        "4 random filters, 5x5, stride 2": Convolution(torch.randn(4, 3, 5, 5).double(), stride=2, padding=2),
        "16 trained filters, 7x7, stride 2": Convolution(first_layer, stride=2, padding=1),
        "48 orthogonal filters, 4x4, stride 4": Convolution(orthonormal(torch.randn(48, 3, 4, 4).double()), stride=4),
    }
    print("   One image x, four convolutions, and what comes back of it: |back - x| / |x|\n")
    print(f"   {'':40}{'numbers':>9}{'W^T y':>9}{'c W^T y':>9}{'least squares':>15}")
    cases = {}
    for name, convolution in convolutions.items():
        y = convolution.forward(x)
        back = convolution.transposed(y, x.shape[2:])
        scaled = (back * x).sum() / back.square().sum() * back
        inverse = least_squares(convolution, y, x.shape[2:])
        errors = relative_error(back, x), relative_error(scaled, x), relative_error(inverse, x)
        cases[name] = Case(convolution, y.numel() / x.numel(), scaled, inverse, errors)
        print(f"   {name:40}{cases[name].numbers:9.2f}{errors[0]:9.2g}{errors[1]:9.2g}{errors[2]:15.1e}")
    print(COMPARED)
    return cases


COMPARED = """
   `numbers`: how many the feature maps have for each one of the image. `c W^T y`: at the scale that suits it best.
   - 12 random filters: y determines x, and least squares finds it. The transposed convolution smears it: W^T W is a
     blur that mixes the colours.
   - 4 filters with stride 2: a third of the numbers. Nothing can bring x back from y alone; least squares gives the
     part of x that the filters see.
   - the trained first layer: enough numbers, but its filters hardly see some patterns, and 300 steps come close only.
     The transposed convolution shows what they answer to.
   - orthogonal filters: W^T is the inverse, and everything comes back at once."""


# ------------------------------------------------------------------------------------------ 3. and 4. other names


def flipped_filters(x: Tensor) -> float:
    """Compare a transposed convolution with a convolution by the flipped filters."""
    convolution = Convolution(torch.randn(16, 3, 5, 5).double(), padding=1)
    y = convolution.forward(x)
    flipped = convolution.weight.transpose(0, 1).flip(2, 3)  # (3, 16, 5, 5): colours and maps change places too
    full = 5 - 1 - convolution.padding
    error = relative_error(F.conv2d(y, flipped, padding=full), convolution.transposed(y, x.shape[2:]))
    print("\n3. Flipped filters are transposed filters")
    print(f"   A convolution with the filters flipped, full padding: relative difference {error:.0e}.")
    print("   (With a stride, put stride - 1 zeros between the values of y first.)")
    return error


def gradient(x: Tensor) -> float:
    """Compare the gradient of the summed output with the transposed convolution of ones."""
    convolution = Convolution(torch.randn(16, 3, 5, 5).double(), stride=2, padding=2)
    x = x.clone().requires_grad_()
    o = convolution.forward(x)
    o.sum().backward()
    assert x.grad is not None
    error = relative_error(x.grad, convolution.transposed(torch.ones_like(o), x.shape[2:]))
    print("\n4. It is the gradient")
    print(f"   o.sum().backward() and the transposed convolution of ones: relative difference {error:.0e}.")
    print("   It does not depend on x: a linear map has the same gradient everywhere, the map itself, transposed.")
    return error


CONCLUSION = """A deconvnet sends one activation down through these transposed filters, with a rectifier of its own at
every ReLU, and through the switches of the max-pools. It shows which pattern of pixels the activation answers to. It
does not invert the network: what no filter sees is not in it, and what several filters see counts several times."""


# ------------------------------------------------------------------------------------------ numbers and the picture


def relative_error(found: Tensor, expected: Tensor) -> float:
    """|found - expected| / |expected|."""
    return ((found - expected).norm() / expected.norm()).item()


def shape(tensor: Tensor) -> str:
    """Name the shape of one example, as in 3x96x96."""
    return "x".join(str(n) for n in tensor.shape[1:])


def draw(x: Tensor, cases: dict[str, Case]) -> Figure:
    """Draw the image, and beside it what comes back of it: by the transposed filters, and by least squares."""
    figure = Figure(figsize=(11.6, 5.4), layout="constrained")
    first, *columns = figure.subfigures(1, 1 + len(cases))
    first.suptitle("one image\n", weight="bold", size=10.5)
    upper, lower = first.subplots(2, 1)
    show(upper, x, "x")
    lower.set_axis_off()
    lower.text(0, 0.5, LEGEND, transform=lower.transAxes, va="center", size=9.5, linespacing=1.4)
    for column, (name, case) in zip(columns, cases.items(), strict=True):
        _, transposed, inverse = case.errors
        column.suptitle("\n".join(name.split(", ", 1)), weight="bold", size=10.5)
        upper, lower = column.subplots(2, 1)
        show(upper, case.transposed, f"transposed: {off(transposed)}")
        show(lower, case.inverse, f"least squares: {off(inverse)}")
    return figure


LEGEND = """W: the convolution, y = W x

above: $W^T y$, at the scale
that suits it best

below: the smallest x' whose
W x' comes closest to y

off: |back - x| / |x|"""


def off(error: float) -> str:
    """Say how far off a picture is."""
    return "exact" if error < 1e-9 else f"{error:.0%} off"


def show(axes: Axes, x: Tensor, title: str) -> None:
    """Draw inputs of the model as the colours they stand for."""
    colours = x[0] * torch.tensor(STD).view(3, 1, 1) + torch.tensor(MEAN).view(3, 1, 1)
    axes.imshow(colours.clamp(0, 1).permute(1, 2, 0).numpy(), interpolation="nearest")
    axes.set_title(title, size=10)
    axes.set_axis_off()


if __name__ == "__main__":
    main()
