"""Ways to a client with these settings: `make_client()`, with a copy of the settings, `patch()`."""

from __future__ import annotations

import copy
from contextlib import contextmanager

from mistral_cf_adapter import make_client, patch
from mistral_cf_adapter._sdk import Mistral


@contextmanager
def with_make_client(settings):
    yield make_client(settings)


@contextmanager
def with_a_copy(settings):
    yield make_client(copy.deepcopy(settings).model_copy(update={"cache_ttl": 60}))


@contextmanager
def with_patch(settings):
    with patch(settings=settings):
        yield Mistral()


WAYS = [with_make_client, with_a_copy, with_patch]
