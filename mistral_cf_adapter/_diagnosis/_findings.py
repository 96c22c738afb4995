"""What a diagnosis finds: problems, each with what to do, and notes."""

from dataclasses import dataclass

from mistral_cf_adapter._public import set_public_module
from mistral_cf_adapter._signatures import document_attributes, shorten_signatures


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and what to do about it.

    Names, of settings: `configuration`, `no_key`, `callable_failed`; of the
    gateway: `token_missing`, `token_rejected`, `stored_key_missing`,
    `gateway_not_found`, `not_a_gateway`, `path_not_found`, and `gateway_`
    with the error's class (`gateway_rate_limited`); of Mistral:
    `key_rejected`, `provider_busy`, `provider_refused`; of the way there:
    `dns`, `refused`, `tls`, `certificate`, `proxy`, `timeout`, `connection`,
    and `unexpected_answer`.

    Example:
        >>> settings = GatewaySettings(account_id="0123abcd")
        >>> (problem,) = diagnose(settings).problems
        >>> problem.name, problem.message
        ('no_key', 'There is no Mistral key to send.')
        >>> print(problem.advice)
        Set MISTRAL_API_KEY, or, if the key is stored in the gateway ...
    """

    name: str
    """A stable name for programs, as `token_missing`, `configuration` or `timeout`."""
    message: str
    """What is wrong, with the variable and, if it can be no secret, its value."""
    advice: str
    """What to do."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `diagnose()` found. No text in it shows a secret.

    Example:
        >>> found = diagnose(GatewaySettings(account_id="0123abcd"))
        >>> found.ok, [problem.name for problem in found.problems]
        (False, ['no_key'])
        >>> print(found.problems[0].message)
        There is no Mistral key to send.
    """

    summary: str
    """One sentence for a log: ready, or how many problems there are, and the first of them."""
    problems: tuple[Problem, ...]
    """All that is wrong; empty if nothing is known to be."""
    notes: tuple[str, ...]
    """What is no problem, and worth a look: a misspelt variable, a token that is not set."""
    called: bool
    """Whether a call was tried."""

    @property
    def ok(self) -> bool:
        """Whether no problem was found."""
        return not self.problems

    def __str__(self) -> str:
        found = [f"{problem.message} {problem.advice}" for problem in self.problems]
        return "\n".join([self.summary, *found, *self.notes])


document_attributes(Problem, Diagnosis)
shorten_signatures(Problem, Diagnosis)
set_public_module(Problem, Diagnosis)
