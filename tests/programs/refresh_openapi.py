"""Make tests/local_gateway/openapi/mistral.json.xz anew from Mistral's public documentation.

    git clone --depth 1 URL_OF mistralai/platform-docs-public /tmp/docs
    python tests/programs/refresh_openapi.py /tmp/docs

It keeps the two OpenAPI documents of that repository as they are, as JSON, and writes the commit
they are of beside them. Needs PyYAML.
"""

from __future__ import annotations

import json
import lzma
import re
import subprocess
import sys
from pathlib import Path

import yaml

KEPT = Path(__file__).resolve().parents[1] / "local_gateway" / "openapi" / "mistral.json.xz"
NAMES = ("openapi-public-doc.yaml", "openapi.yaml")


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Reads `1e-08` as a number, as YAML 1.2 has it, on which OpenAPI is built."""


Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^-?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+$"),
    list("-0123456789"),
)


def read(checkout: str, name: str) -> str:
    command = ["git", "-C", checkout, "show", f"HEAD:{name}"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def main(checkout: str) -> None:
    command = ["git", "-C", checkout, "rev-parse", "HEAD"]
    commit = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    documents = {name: yaml.load(read(checkout, name), Loader=Loader) for name in NAMES}
    text = json.dumps({"commit": commit, "documents": documents}, ensure_ascii=False, default=str)
    KEPT.write_bytes(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
    print(f"{KEPT}: {KEPT.stat().st_size} bytes of commit {commit}")


if __name__ == "__main__":
    main(sys.argv[1])
