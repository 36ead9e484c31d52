"""Build the API reference: ``python -W error .ci/reference/build.py FOLDER``.

pdoc's pages, of the top level and its ten chapters: what a chapter's ``__all__`` does not export is private. A name is
documented once, in its chapter. ``module.html.jinja2`` lays the pages out.
"""

import pkgutil
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pdoc
from captum.attr import Attribution, LayerAttribution, NeuronAttribution
from jinja2 import pass_context
from markupsafe import Markup
from pdoc.doc_ast import walk_tree
from pdoc.render_helpers import format_signature, linkify

from deconv_attr.attribution.at_layer import _AtLayer

TOP = "deconv_attr"
CHAPTERS = {
    name: import_module(f"{TOP}.{name}")
    for name in ("errors", "rules", "engine", "attribution", "units", "visualize", "gallery", "evidence", "demo", "cli")
}
HOME = {name: chapter for chapter, module in CHAPTERS.items() for name in module.__all__}
"""The chapter in which a name is documented."""

SHORTER = {
    "torch.nn.modules.module.Module": "nn.Module",
    "torch.Tensor": "Tensor",
    "torch.Size": "Size",
    "torch.dtype": "dtype",
    "typing.Any": "Any",
    "pathlib.Path": "Path",
    "matplotlib.axes._axes.Axes": "Axes",
    "matplotlib.figure.Figure": "matplotlib.Figure",
}
"""Types, as they are written in the source."""

DOT = '</span><span class="o">.</span><span class="n">'  # between the parts of a name, as Pygments writes it
OURS = re.compile(rf"\b{TOP}{re.escape(DOT)}(\w+)(?:{re.escape(DOT)}\w+)*{re.escape(DOT)}(\w+)")


def readable_signature(signature: object, colon: bool) -> Markup:
    """Return a signature in HTML, its types as short as they are in the source."""
    page = str(format_signature(signature, colon)).replace('<span class="o">~</span>', "")  # before type variables
    for name, shorter in SHORTER.items():
        page = page.replace(name.replace(".", DOT), shorter.replace(".", DOT))
    return Markup(OURS.sub(public_name, page))


def public_name(found: re.Match[str]) -> str:
    """Return the public name of a type of ours, which pdoc makes a link; of a private one the last part."""
    chapter, name = found.groups()
    home = chapter if name in CHAPTERS[chapter].__all__ else HOME.get(name)
    return f"{TOP}.{home}.{name}".replace(".", DOT) if home else name


@pass_context
def linked(context: object, page: str, namespace: str = "", shorten: bool = True) -> Markup:
    """Return a page with links to what it names: also to the names of other chapters."""
    up = "../" * context["module"].modulename.count(".")

    def link(found: re.Match[str]) -> str:
        name, rest = found.groups()
        if name not in HOME:
            return found[0]
        return f'<code><a href="{up}{TOP}/{HOME[name]}.html#{name}">{name}</a>{rest}</code>'

    page = re.sub(r"<code>(\w+)((?:\.\w+)*(?:\(\))?)</code>", link, linkify(context, page, namespace, shorten))
    return Markup(re.sub(rf">{TOP}\.(?:\w+\.)+(\w+)</a>", r">\1</a>", page) if shorten else page)


def modules_of(chapter: ModuleType) -> Iterator[ModuleType]:
    """Yield the modules of a chapter."""
    for module in pkgutil.walk_packages(getattr(chapter, "__path__", []), f"{chapter.__name__}."):
        if not module.name.endswith(".__main__"):
            yield import_module(module.name)


def main(folder: str) -> None:
    """Write the pages."""
    for base in (Attribution, LayerAttribution, NeuronAttribution):
        walk_tree(base).var_docstrings.clear()  # pdoc prefers Captum's words about `attribute` to ours
    _AtLayer.__orig_bases__ = ()  # by Captum's, which stands there else, pdoc takes Attribution's methods for ours
    for chapter in CHAPTERS.values():  # pdoc looks for the docstring of a constant only where it is exported
        told = {name: text for module in modules_of(chapter) for name, text in walk_tree(module).var_docstrings.items()}
        walk_tree(chapter).var_docstrings.update({name: told[name] for name in chapter.__all__ if name in told})
    pdoc.render.configure(docformat="numpy", show_source=False, template_directory=Path(__file__).parent)
    pdoc.render.env.filters.update(format_signature=readable_signature, linkify=linked)
    pdoc.render.env.globals.update(top=TOP, home=HOME)
    pdoc.pdoc(TOP, *(module.__name__ for module in CHAPTERS.values()), output_directory=Path(folder))


if __name__ == "__main__":
    main(sys.argv[1])
