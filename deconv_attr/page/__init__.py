"""A gallery of feature maps as a static page: figure 2 of Zeiler and Fergus (2013), to browse.

It knows tiles, names and pictures, no models; what it writes needs no server and no network.

``sheet`` makes one picture of a feature map's tiles, ``folder`` replaces the files of a gallery, ``write`` puts layer
after layer into it; ``templates`` holds the page itself: its HTML, by Jinja2, its style and its three scripts, of which
``page.js`` keeps the state in the address, ``cards.js`` shows a layer and ``view.js`` a single feature map.
"""

from .folder import GalleryFolder
from .write import PageLayer, Slugs, write_page

__all__ = ["GalleryFolder", "PageLayer", "Slugs", "write_page"]
