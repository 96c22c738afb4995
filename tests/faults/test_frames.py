"""An import through the package takes memory for frames once, at whatever depth it calls."""

import subprocess
import sys

import pytest

PROBE = """
import resource

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def call():  # a frame of half a KB
    a = b = c = d = e = f = g = h = i = j = k = l = m = n = o = p = q = r = s = t = u = None

def loop(depth):
    if depth:
        return loop(depth - 1)
    before = faults()
    for _ in range(300):
        call()
    return faults() - before

worst = max(map(loop, range(250)))
"""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="counts page faults")


def count_faults(import_it: str, directory: str) -> int:
    """Return the most page faults of 300 calls, of all depths in a module that is imported."""
    program = f"import sys; sys.path.insert(0, {directory!r}); {import_it}; print(probe.worst)"
    run = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=60
    )
    return int(run.stdout)


def test_no_depth_of_an_import_maps_memory_again_and_again(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    with_room = (
        "from mistral_cf_adapter._frames import import_with_room; import_with_room('probe'); "
        "probe = sys.modules['probe']"
    )
    assert count_faults(with_room, str(tmp_path)) < 100


@pytest.mark.skipif(
    sys.implementation.name != "cpython" or sys.version_info >= (3, 14),
    reason="tried on CPython up to 3.13",
)
def test_a_plain_import_does_at_some_depth(tmp_path):
    (tmp_path / "probe.py").write_text(PROBE)
    assert count_faults("import probe", str(tmp_path)) >= 300


def test_an_error_of_the_import_reaches_the_caller(tmp_path):
    (tmp_path / "probe.py").write_text("raise ValueError('of the module')")
    program = f"""
import sys, traceback
sys.path.insert(0, {str(tmp_path)!r})
from mistral_cf_adapter._frames import import_with_room
try:
    import_with_room("probe")
except ValueError as error:
    names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert "import_with_room" in names and str(error) == "of the module", names
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
