import textwrap

import pytest


@pytest.fixture
def program(tmp_path):
    """Write a program into the test's own directory, and return its path."""

    def write(source, name="app.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(source))
        return str(path)

    return write
