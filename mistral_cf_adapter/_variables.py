"""The variables that settings are read from: their names, conflicts and look-alikes.

Texts that are returned name variables and never show a value.
"""

import difflib
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

PREFIX = "CF_AIG_"
ENV_FILE = "CF_AIG_ENV_FILE"

# Names the world already has; the first one set wins. Everything else is CF_AIG_<NAME>.
ALIASES: dict[str, tuple[str, ...]] = {
    "account_id": ("CLOUDFLARE_ACCOUNT_ID", "CF_ACCOUNT_ID", "CF_AIG_ACCOUNT_ID"),
    "gateway_id": (
        *("CLOUDFLARE_GATEWAY_ID", "CLOUDFLARE_AI_GATEWAY_ID", "CF_AIG_GATEWAY_ID"),
        *("CF_GATEWAY_ID", "CF_AI_GATEWAY_ID"),
    ),
    "token": ("CF_AIG_TOKEN", "CLOUDFLARE_AI_GATEWAY_TOKEN"),
    "mistral_api_key": ("MISTRAL_API_KEY", "CF_AIG_MISTRAL_API_KEY"),
    "base_url": ("CF_AIG_BASE_URL", "CLOUDFLARE_AI_GATEWAY_BASE_URL"),
}

SECRETS = ("token", "mistral_api_key", "access_client_secret", "access_token")

# Names that people write by hand, by the setting that they seem to mean. They are not read, for
# one of these reasons: without CF or CLOUDFLARE in it, a name may be another vendor's gateway; a
# URL decides where the token is sent; a token is sent only under a name that is documented; what
# does not end in _ID may hold an id or a URL.
# CF_GATEWAY_ID and CF_AI_GATEWAY_ID are read: an id leads to no other account and to no other host.
LOOK_ALIKES = {
    "AI_GATEWAY_ID": "gateway_id",
    "CF_AIG_ID": "gateway_id",
    "CF_AIG_GATEWAY": "gateway_id",
    "CF_AIG_GATEWAY_NAME": "gateway_id",
    "CF_AI_GATEWAY": "gateway_id",
    "CLOUDFLARE_AI_GATEWAY": "gateway_id",
    "AI_GATEWAY_URL": "base_url",
    "AI_GATEWAY_BASE_URL": "base_url",
    "CF_AIG_URL": "base_url",
    "CF_AI_GATEWAY_URL": "base_url",
    "CF_AI_GATEWAY_BASE": "base_url",
    "CF_AI_GATEWAY_BASE_URL": "base_url",
    "CLOUDFLARE_AI_GATEWAY_URL": "base_url",
    "AI_GATEWAY_TOKEN": "token",
    "AI_GATEWAY_AUTH_TOKEN": "token",
    "CF_AI_GATEWAY_TOKEN": "token",
    "CLOUDFLARE_AI_GATEWAY_AUTH_TOKEN": "token",
}
_SAME_PURPOSE = {"gateway_id": ("gateway_id", "base_url"), "base_url": ("gateway_id", "base_url")}
_CUTOFF = 0.75  # of difflib: CACHE_TLL is CACHE_TTL, and ID is not BYOK
# Of whole names without our prefix: MISTRAL_API_KYE is MISTRAL_API_KEY, and CF_API_TOKEN, which may
# do more than call a gateway, is not CF_AIG_TOKEN.
_CUTOFF_OF_OTHERS = 0.92
_OTHERS = ("CF_", "CLOUDFLARE_", "MISTRAL_")
_FIRST_WORDS = ("CLOUDFLARE", "MISTRAL")
_CUTOFF_OF_FIRST_WORDS = 0.85  # CLOUDFARE and MISTRALAI are near, CLOUDFRONT and CLOUDINARY not
_INITIALS = tuple({prefix[0] for prefix in (PREFIX, *_OTHERS)} | {PREFIX[1]})
_CUTOFF_OF_SHORT_ONES = 0.9  # of whole names: CF_AIG_LGO is CF_AIG_LOG

Names = Mapping[str, tuple[str, ...]]
"""The variables of each setting, the one that wins first."""


class Variable(NamedTuple):
    """A variable that is set; its value is not for any message."""

    name: str
    place: str
    """Where it is set, for the end of its name: empty for the environment."""
    value: str

    @property
    def label(self) -> str:
        """The name and where it is set."""
        return f"{self.name}{self.place}"


def env_names(name: str) -> tuple[str, ...]:
    """Return the environment variables of a setting, the one that wins first."""
    return ALIASES.get(name, (f"CF_AIG_{name.upper()}",))


def find_variable(name: str) -> str | None:
    """Return the environment variable that gives a setting its value, if there is one."""
    return next((variable for variable in env_names(name) if os.environ.get(variable)), None)


def environment_key() -> str | None:
    """Return the Mistral key of the environment as it is now, unchecked."""
    first, second = ALIASES["mistral_api_key"]
    return os.environ.get(first) or os.environ.get(second) or None


def is_in_environment(name: str) -> bool:
    """Return whether the environment gives a setting its value, in any case of letters."""
    variables = {variable.lower() for variable in env_names(name)}
    return any(text and variable.lower() in variables for variable, text in os.environ.items())


def in_environment() -> list[Variable]:
    """Return the variables of the environment that are not empty."""
    return [Variable(name, "", value) for name, value in os.environ.items() if value]


def find_conflicts(names: Names, variables: list[Variable]) -> Iterator[str]:
    """Yield a sentence for each setting that two variables of different names set differently.

    Args:
        names: The variables of the settings to look at.
        variables: What is set, those of the strongest source first.
    """
    by_name: dict[str, list[Variable]] = {}
    for variable in variables:
        by_name.setdefault(variable.name.upper(), []).append(variable)
    places = list(dict.fromkeys(variable.place for variable in variables))
    for aliases in names.values():
        # A variable of the environment is there to replace that of a file by the same name.
        rivals = [by_name[name][0] for name in aliases if name in by_name]
        rivals.sort(key=lambda rival: places.index(rival.place))
        if len({rival.value for rival in rivals}) > 1:
            first = rivals[0].label
            labels = " and ".join(rival.label for rival in rivals)
            yield f"{labels} differ; {first} is used. Unset the other."


def find_look_alikes(
    names: Names, variables: list[Variable], keywords: Collection[str]
) -> Iterator[str]:
    """Yield a sentence for each variable that is not read and looks as if it should be.

    One whose setting is set under its own name is left unsaid: it is for another program.
    """
    known = {alias: name for name, aliases in names.items() for alias in aliases}
    found = [known.get(variable.name.upper()) for variable in variables]
    settings = {*keywords, *found}
    for variable, name in zip(variables, found, strict=True):
        meant = find_meant(variable.name.upper(), names) if name is None else None
        if meant is None:
            continue
        if settings.intersection(_SAME_PURPOSE.get(known[meant], (known[meant],))):
            continue
        yield f"{variable.label} is set, but not read; did you mean {meant}?"


def find_meant(name: str, names: Names) -> str | None:
    """Return the variable that is meant by one that is not read, if one is near."""
    if name not in LOOK_ALIKES and not name.startswith(_INITIALS):
        return None  # most of an environment
    name = correct_prefix(name)
    if name in LOOK_ALIKES:
        return _own_name(names[LOOK_ALIKES[name]])
    known = [alias for aliases in names.values() for alias in aliases]
    letters = {alias.replace("_", ""): alias for alias in known}
    if name.replace("_", "") in letters:
        return letters[name.replace("_", "")]
    if name.startswith(PREFIX):
        ends = {alias.removeprefix(PREFIX): alias for alias in known if alias.startswith(PREFIX)}
        near = difflib.get_close_matches(name.removeprefix(PREFIX), ends, n=1, cutoff=_CUTOFF)
        return ends[near[0]] if near else _nearest(name, ends.values(), _CUTOFF_OF_SHORT_ONES)
    if name.startswith(_OTHERS):
        # A further word makes it another variable: CLOUDFLARE_R2_ACCOUNT_ID.
        words = name.count("_")
        others = [alias for alias in known if alias.count("_") >= words]
        others = [alias for alias in others if not alias.startswith(PREFIX)]
        return _nearest(name, others, _CUTOFF_OF_OTHERS)
    return None


def correct_prefix(name: str) -> str:
    """Return a name with a prefix of ours or of the vendors in place of a misspelt one.

    Of CF_AIG the letters must be the same: too short a word is near to many others, such as CF_API.
    """
    first, _, rest = name.partition("_")
    if near := _nearest_first_word(first):
        return f"{near}_{rest}"
    second, _, end = rest.partition("_")
    if sorted(f"{first}_{second}_") == sorted(PREFIX):
        return f"{PREFIX}{end}"
    return f"{PREFIX}{rest}" if sorted(first) == sorted(PREFIX.replace("_", "")) else name


def _nearest_first_word(word: str) -> str | None:
    words = [each for each in _FIRST_WORDS if each[0] == word[:1]]
    return _nearest(word, words, _CUTOFF_OF_FIRST_WORDS)


def _nearest(name: str, names: Iterable[str], cutoff: float) -> str | None:
    near = difflib.get_close_matches(name, names, n=1, cutoff=cutoff)
    return near[0] if near else None


def _own_name(aliases: tuple[str, ...]) -> str:
    return next((name for name in aliases if name.startswith(PREFIX)), aliases[0])
