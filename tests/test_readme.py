"""The README is short, and is understood where relative links and pictures are missing."""

from __future__ import annotations

import re

import documents

from mistral_cf_adapter import GatewayOptions

README = documents.read("README.md")
FIRST, *OTHERS = README.sections.values()


def test_it_has_130_lines_at_most():
    assert README.text.count("\n") <= 130


def test_the_first_screen_has_its_parts_in_order():
    parts = [
        "\nThe official Mistral Python SDK",
        "\n- **Every operation.**",
        "\n- **Every control",
        "\n- **Typed errors",
        "pip install mistral-cf-adapter\n",
        *("\nexport CLOUDFLARE_ACCOUNT_ID=", "\nexport CF_AIG_TOKEN=", "\nexport MISTRAL_API_KEY="),
        "\nclient = make_client()",
        "\n# MISS\n",
        "\n**No account?**",
        "\n![",
        "&& uv run examples/quickstart.py\n",
        "&& uv run pytest\n",
    ]
    places = [FIRST.text.find(part) for part in parts]
    assert -1 not in places
    assert places == sorted(places)


def test_the_first_program_has_six_lines():
    program = [line for line in FIRST.code("python")[0].splitlines() if line]
    assert len([line for line in program if not line.startswith("#")]) == 6


def test_the_other_parts_follow_in_order():
    assert [section.title for section in OTHERS] == [
        "Use",
        "Options",
        "Errors",
        "Testing",
        "What does not go through",
        "Security",
        "Compatibility, speed, and what rests on documentation alone",
    ]


def test_it_names_no_address_but_cloudflares_documentation():
    """The package has no other: an address that somebody made up could be anybody's."""
    hosts = set(re.findall(r"https?://([\w.-]+)", README.text))
    assert hosts == {"developers.cloudflare.com"}


def test_the_picture_says_in_words_what_it_shows():
    ((words, path),) = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", README.text)
    assert len(words.split()) > 10
    assert path == "examples/page.png"


def test_it_counts_the_options():
    assert f"six most used of {len(GatewayOptions.model_fields)}." in README.text
