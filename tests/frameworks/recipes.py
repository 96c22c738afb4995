"""What `mistral-cf-adapter env --for TOOL` prints, for the tools that do not use the SDK."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


def only(kind: type[T], names: dict[str, Any]) -> T:
    """Return the one thing of a kind among the names a snippet leaves."""
    (found,) = (thing for thing in names.values() if isinstance(thing, kind))
    return found


@dataclass(frozen=True)
class Recipe:
    """Variables to set, headers to send, and the program a user would paste."""

    variables: dict[str, str]
    base_url: str
    headers: dict[str, str]
    snippet: str

    def follow(self) -> dict[str, Any]:
        """Set the variables and run the snippet; return the names it leaves."""
        os.environ.update(self.variables)
        names: dict[str, Any] = {"__name__": "recipe"}
        exec(compile(self.snippet, "<env --for>", "exec"), names)
        return names


def recipe(tool: str) -> Recipe:
    """Ask the command, with the settings that are in the environment."""
    command = [sys.executable, "-m", "mistral_cf_adapter", "env", "--for", tool]
    done = subprocess.run(
        [*command, "--json", "--show-secrets"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    return Recipe(*(printed[name] for name in ("variables", "base_url", "headers", "snippet")))
