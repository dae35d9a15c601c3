"""``python -m tinyrerank``: the command line."""

import sys

from tinyrerank.cli import main

if __name__ == "__main__":
    sys.exit(main())
