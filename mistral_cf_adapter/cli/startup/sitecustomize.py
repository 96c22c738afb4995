"""The first thing that runs in a Python process below `mistral-cf-adapter run`.

`run` puts this folder first in PYTHONPATH, as opentelemetry-instrument and ddtrace-run do. The
process may be any Python, also an old one without the adapter, and most never import mistralai: so
this imports nothing new, has no syntax that old Pythons refuse, and only adds a finder that waits
for three modules. What happens then is in ../child_hook.py.
"""
# mypy: ignore-errors
# pyright: basic, reportMissingImports=false

import os
import sys

# Which modules the hook is told of, once they are executed.
_WATCHED = ("mistralai.client.sdk", "mistralai.sdk", "mistral_cf_adapter._patch")


class AdapterFinder(object):
    """Finds what the finders behind it find, and has the hook told of it."""

    waits_for_mistralai = True

    def find_spec(self, name, path=None, target=None):
        if name not in _WATCHED or not self.waits_for_mistralai:
            return None
        spec = self._find_behind(name, path, target)
        if spec is not None and hasattr(spec.loader, "exec_module"):
            _tell_when_executed(spec)
        return spec

    def _find_behind(self, name, path, target):
        is_behind = False
        for finder in list(sys.meta_path):
            if is_behind and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    return spec
            is_behind = is_behind or finder is self
        return None


def _tell_when_executed(spec):
    # On the loader itself, so that it stays what it is to those who look at its class.
    execute = spec.loader.exec_module

    def exec_module(module):
        execute(module)
        if module.__name__ == spec.name:  # the loader of a zip file executes all that is in it
            _tell(module)

    spec.loader.exec_module = exec_module


def _tell(module):
    try:
        from mistral_cf_adapter.cli.child_hook import on_import
    except ImportError:
        if sys.stderr is not None:
            sys.stderr.write(
                "mistral-cf-adapter: warning: {} has no mistral_cf_adapter: Mistral clients of "
                "process {} do not go through the gateway\n".format(sys.executable, os.getpid())
            )
    else:
        on_import(module)


if sys.version_info >= (3, 11):
    sys.meta_path.insert(0, AdapterFinder())

# Now the sitecustomize that Python finds without us. Where there is none, the import fails, which
# `site` expects: then it is as if this file had not been there either.
_folder = os.path.dirname(__file__)
sys.path[:] = [entry for entry in sys.path if entry != _folder]
del sys.modules["sitecustomize"]
import sitecustomize

# OpenTelemetry's puts itself first again for processes below this one, and chains to no other.
_entries = os.environ.get("PYTHONPATH", "").split(os.pathsep)
if _folder in _entries[1:]:
    _entries = [_folder] + [entry for entry in _entries if entry != _folder]
    os.environ["PYTHONPATH"] = os.pathsep.join(_entries)
