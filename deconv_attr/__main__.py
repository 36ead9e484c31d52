"""``python -m deconv_attr``: see :mod:`deconv_attr.cli`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
