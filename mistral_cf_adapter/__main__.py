"""`python -m mistral_cf_adapter`: the same as the command `mistral-cf-adapter`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
