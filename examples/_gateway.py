"""What the examples start with: your gateway if the environment names one, else a local one."""

import os
import sys
from contextlib import contextmanager

from mistral_cf_adapter.testing import LocalGateway

YOURS = ("CLOUDFLARE_ACCOUNT_ID", "CF_AIG_BASE_URL")


@contextmanager
def gateway(**options):
    """Yield a local gateway that the environment now names, or `None` if it named yours."""
    if any(os.environ.get(name) for name in YOURS):
        yield None
        return
    with LocalGateway(**options) as local:
        print(f"No {' or '.join(YOURS)}: using a local gateway, {local.url}", file=sys.stderr)
        os.environ.update(local.env())
        yield local
