"""Static pages: a gallery of feature maps, figure 2 of Zeiler and Fergus (2013), to browse; and a comparison.

Its input is pictures, names and tables of numbers, never models; the pages work without a server or a network.

A gallery is a folder. ``sprites`` makes one picture of a feature map's tiles, ``gallery_folder`` replaces the files of
a gallery, ``gallery`` writes layer after layer into it. ``templates`` holds the page itself: its HTML, by Jinja2, its
style and its scripts, of which ``gallery.js`` keeps the state in the address, ``cards.js`` shows a layer and
``units.js`` a single feature map.

A comparison of methods is a single file, by ``report`` and the templates of that name. What both pages share is
``base.html``, ``page.css`` and ``page.js``: colours, type, buttons, keys, the large view and how they are printed.
"""

from .gallery import PageLayer, Slugs, write_gallery
from .gallery_folder import GalleryFolder
from .report import (
    PAGES,
    LazyPictures,
    ReportCell,
    ReportColumn,
    ReportFigure,
    ReportLegend,
    ReportTable,
    report_path,
    write_report,
)

__all__ = [
    "PAGES",
    "GalleryFolder",
    "LazyPictures",
    "PageLayer",
    "ReportCell",
    "ReportColumn",
    "ReportFigure",
    "ReportLegend",
    "ReportTable",
    "Slugs",
    "report_path",
    "write_gallery",
    "write_report",
]
