"""``python -m stabilitykit_cli`` does what ``stabilitykit`` does."""

import sys

from stabilitykit_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
