"""``python -m imperator``."""

import sys

from imperator.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
