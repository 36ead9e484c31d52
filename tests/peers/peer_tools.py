"""The tools of the table: how each computes a deconvnet's map, and what its package holds.

Captum, zennit and TorchRay run as in `benchmarks/peers.py`. zennit-crp needs zennit 0.4.6 or earlier, and so has an
environment of its own: ``pip install -e '.[test]' torchray zennit-crp==0.6.0``.
"""

import pkgutil
import re
from collections.abc import Callable
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import NamedTuple

import torch
from peers import CAPTUM, METHODS, OURS, TORCHRAY, ZENNIT, quiet
from torch import Tensor, nn

import deconv_attr

NO = "-"


class Tool(NamedTuple):
    """A column: its heading, the package as it is imported and as it is installed, and the version that was seen.

    `explain(model, x, target)` gives a signed map of x's shape; `documented` is the call of the package's own page.
    """

    name: str
    package: str
    distribution: str
    version: str
    explain: Callable
    documented: Callable

    @property
    def is_ours(self) -> bool:
        return self.package == "deconv_attr"

    @property
    def installed(self) -> bool:
        return find_spec(self.package) is not None

    @property
    def heading(self) -> str:
        return self.name if self.is_ours else f"{self.name} {'.'.join(self.version.split('.')[:2])}"

    def loud(self, function: Callable) -> Callable:
        """Let ours say what it says; silence a peer's warnings."""
        return function if self.is_ours else quiet(function)


def crp_deconvnet(model: nn.Module, x: Tensor, target: int) -> Tensor:
    conditions = [{"y": [target]}] * len(x)
    return conditional(model)(x.clone().requires_grad_(), conditions, deconvnet(), init_rel=torch.ones_like).heatmap


def conditional(model: nn.Module):
    """zennit-crp's attribution, with the map's channels kept: by itself it sums over them."""
    from crp.attribution import CondAttribution

    class Signed(CondAttribution):
        def heatmap_modifier(self, data, on_device=None):
            return data.grad.detach()

    return Signed(model)


def deconvnet():
    from zennit.composites import DeconvNet

    return DeconvNet()


def torchray_deconvnet(model: nn.Module, x: Tensor, target: int) -> Tensor:
    from torchray.attribution.deconvnet import deconvnet

    return deconvnet(model, x, target)


def tool(name: str, package: str, distribution: str, version: str, explain: Callable, documented=None) -> Tool:
    explain = getattr(explain, "__wrapped__", explain)  # with its warnings
    return Tool(name, package, distribution, version, explain, documented or explain)


DECONV_ATTR, CAPTUMS, ZENNITS, CRP, TORCHRAYS = TOOLS = (
    tool("deconv_attr", "deconv_attr", "deconv-attr", deconv_attr.__version__, METHODS[OURS].explain),
    tool("Captum", "captum", "captum", "0.9.0", METHODS[CAPTUM].explain),
    tool("zennit", "zennit", "zennit", "0.5.1", METHODS[ZENNIT].explain),
    tool("zennit-crp", "crp", "zennit-crp", "0.6.0", crp_deconvnet),
    tool("TorchRay", "torchray", "torchray", "1.0.0.2", METHODS[TORCHRAY].explain, torchray_deconvnet),
)


@cache
def public_names(package: str) -> frozenset[str]:
    """Return the names of a package's modules, and of what they define for their users."""
    modules = [import_module(package)]
    for found in pkgutil.walk_packages(modules[0].__path__, f"{package}.", onerror=lambda name: None):
        try:
            modules.append(import_module(found.name))
        except (ImportError, SystemExit):  # what it needs is not installed, or it is a command
            continue
    of_modules = {module.__name__.rpartition(".")[2] for module in modules}
    defined = {
        name
        for module in modules
        for name, value in vars(module).items()
        if callable(value) and str(getattr(value, "__module__", "")).startswith(package)
    }
    return frozenset(name for name in of_modules | defined if not name.startswith("_"))


def ability(lacking: str, shown: dict[Tool, Callable[[], bool | str]]) -> Callable[[Tool], str]:
    """Measure what a tool can do by doing it. One that cannot has no public name that the pattern `lacking` finds."""
    return partial(_ability, lacking, shown)


def _ability(lacking: str, shown: dict[Tool, Callable[[], bool | str]], tool: Tool) -> str:
    if tool in shown:
        result = shown[tool]()
        return result if isinstance(result, str) else "yes" if result else "no"
    found = sorted(name for name in public_names(tool.package) if re.search(lacking, name, re.IGNORECASE))
    return f"perhaps: {', '.join(found)}" if found else NO
