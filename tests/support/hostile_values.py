"""Values that an end user may choose for an id, and what the bare SDK would do with them."""

from __future__ import annotations

ELSEWHERE = "../../../../ACC2/gw2/custom-x/f"

DOTS = [
    "..",
    ".",
    ELSEWHERE,
    "../../../openai/v1/x",
    "../models",
    "x/../y",
    "x/./y",
    "..%2f..%2f..%2fopenai",
    "%2e%2e",
    "%2E%2e%2F%2e.",
    ".%2e",
    "%2e",
    "%252e%252e%252f",
    "%25252e%25252e",
    "%25%32%65%25%32%65",
    "%" + "25" * 20 + "2e",
    "%c0%ae%c0%ae",
    "..\\..\\x",
    "..%5c..%5cx",
    "a\\..\\b",
    "..;",
    "..;v=1",
    "%2e%2e%3bx",
    ".. ",
    "..%20",
    "..%09",
]
SIGNS = ["", "/", "//", "a/b", "/etc", "a/", "a//b", "//evil.example/x", "https://evil.example/x"]
CUTS = ["a?b=c", "?", "x?/../y", "#", "a#b", "a#stream", "a#id", "a#idOrName", "a#/content"]
CONTROLS = ["a\nb", "a\r\nHost: evil", "\x00", "a\tb", "\x7f", "a\u2028b", "a%0d%0ab", "%00"]
BROKEN = ["\ud800"]

HOSTILE = [*DOTS, *SIGNS, *CUTS, *CONTROLS, *BROKEN]

ORDINARY = [
    "ft:open-mistral-7b:abc:2024",
    "a b",
    " a",
    "caf\u00e9-\u65e5\u672c",
    "user@example.com",
    "a+b~c_d-e",
    "v1.2",
    "...",
    "..a",
    "a..b",
    "file.pdf",
    "%41",
    "100%",
    "100%25",
    "a%2Fb",
    "a%3Fb%23c",
    "https%3A%2F%2Fx.example%2Fy",
    "a,b;c=d",
    "a\\b",
    "{braces}",
    "<a>|^`\"'",
    "\u202e",
    "x" * 3000,
    "v1",
    "stream",
]
