"""What can be typed: the commands, their flags, and the texts of `--help`."""

import inspect
import re
import sys
import warnings
from argparse import ArgumentParser, BooleanOptionalAction
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, NoReturn, cast

from pydantic import AliasChoices, BaseModel, Field, PrivateAttr, ValidationError
from pydantic_settings import (
    BaseSettings,
    CliApp,
    CliPositionalArg,
    CliSettingsSource,
    CliSubCommand,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    get_subcommand,
)

from mistral_cf_adapter import __version__
from mistral_cf_adapter._settings import ENV_FILE, GatewaySettings, env_names
from mistral_cf_adapter._validation import did_you_mean

from . import PROGRAM, UsageError
from .children import (
    find_obstacle,
    reach_children,
    stop_reaching_children,
    switch_children_off,
)
from .flags import GivenFlags, SettingFlags, Switch, flag_of, is_switch, secret_flags
from .help import add_to_group, prepare_groups
from .programs import find_program, replace_process
from .python_flags import restart, take_python_flags, takes_next
from .serve import Serve as ServeFlags
from .tools import TOOLS

Action = Callable[[], int]


class _DoctorFlags(GivenFlags):
    offline: bool = False
    """Check the settings alone; make no call."""
    json_: bool = Field(default=False, validation_alias="json")
    """Print one JSON object, for machines."""
    timeout: float = Field(default=10.0, gt=0, le=3600, allow_inf_nan=False)
    """Seconds to wait for the call, 3600 at most."""


class Doctor(SettingFlags, _DoctorFlags):
    """Check the settings and make one cheap call (the list of models) through the gateway.

    Shows each setting, where it came from, the URLs and versions, then explains in plain words
    what is wrong and what to do next. The exit status is 0 only if all is well, else 1.
    Secrets are masked.
    """

    def prepare(self) -> Action:
        """Return what the command does."""
        from .doctor import run_doctor

        return partial(
            run_doctor, self, offline=self.offline, as_json=self.json_, timeout=self.timeout
        )


class _RunFlags(GivenFlags):
    script: CliPositionalArg[str | None] = None
    """Python file, directory or zip file with a __main__.py, a command, or - for standard input."""
    children: bool = True
    """Have the Python processes that the program starts call patch() too."""
    module: str | None = Field(default=None, validation_alias=AliasChoices("m", "module"))
    """Run a module, as `python -m` does."""


class Run(SettingFlags, _RunFlags):
    """Run a Python program whose Mistral clients go through the gateway; no edit needed.

      mistral-cf-adapter run [setting flags] app.py [arguments of app.py]
      mistral-cf-adapter run [setting flags] -m package.module [arguments]
      mistral-cf-adapter run [setting flags] uvicorn app:app --workers 2

    Calls patch() and then runs the program in this same process, as Python would. Everything
    after the script, module or command belongs to the program. Python's own flags (-W error, -u,
    -X dev ...) may stand before it.

    Python processes that the program starts are patched too: workers and reloaders of uvicorn and
    gunicorn, multiprocessing ("spawn" and "forkserver" too), subprocess. PYTHONPATH leads them
    to it. Not reached: those with -S, -E or -I, without that variable, or of an environment without
    this package. There, the program itself needs this one line:

      from mistral_cf_adapter import patch; patch()
    """

    _arguments: list[str] = PrivateAttr(default_factory=list[str])
    _restart: Action | None = PrivateAttr(default=None)

    def hand_over(self, arguments: list[str], restart: Action | None) -> None:
        """Keep what is the program's and Python's: pydantic-settings must not read it."""
        self._arguments = arguments
        self._restart = restart

    def prepare(self) -> Action:
        """Patch, and return what runs the program."""
        if (self.script is None) == (self.module is None):
            msg = f"run needs a script, `-m module` or a command; see `{PROGRAM} run --help`"
            raise UsageError(msg)
        program = None if self.script is None else find_program(self.script)
        if self._restart is not None:
            return self._restart
        if program is not None and not program.is_python and not self.children:
            msg = (
                f"{program.path} does not run in {sys.executable}: with --no-children, no Mistral "
                "client would go through the gateway"
            )
            raise UsageError(msg)
        settings = self.settings()
        if program is not None and not program.is_python:
            self._prepare_children(settings)
            command = [str(self.script), *self._arguments]
            return partial(replace_process, program.path, command)
        from mistral_cf_adapter._patch import patch
        from mistral_cf_adapter._settings import explain_off
        from mistral_cf_adapter._switch import enter_off, log_off

        from .run import run_module, run_script

        if settings.uses_gateway:
            patch(settings=settings)
        else:
            enter_off(self)
            log_off("run", explain_off(settings))
        self._prepare_children(settings)
        if self.module is not None:
            return partial(run_module, self.module, self._arguments)
        return partial(run_script, program.path if program else "", self._arguments)

    def _prepare_children(self, settings: GatewaySettings) -> None:
        if not settings.uses_gateway:
            switch_children_off()
            return
        if not self.children:
            stop_reaching_children()
            return
        reach_children(self.given())
        if (obstacle := find_obstacle()) is not None:
            msg = (
                f"processes that the program starts are not all patched: {obstacle}. "
                "--no-children ends this warning"
            )
            warnings.warn(msg, stacklevel=2)


class _EnvFlags(GivenFlags):
    for_: str | None = Field(
        default=None,
        validation_alias="for",
        description=f"For which tool: {', '.join(TOOLS)}. Default: the adapter's own variables.",
    )
    snippet: bool = False
    """Print the tool's snippet alone, ready to be saved; it reads its secrets from the environment."""  # noqa: E501
    json_: bool = Field(default=False, validation_alias="json")
    """Print one JSON object with variables, headers and snippet; a hidden secret is null."""
    show_secrets: bool = False
    """Print keys and tokens in full, instead of masked in a comment."""


class Env(SettingFlags, _EnvFlags):
    """Print what points a tool that does not use this SDK at the same gateway.

      eval "$(mistral-cf-adapter env --for langchain --show-secrets)"
      mistral-cf-adapter env --for js --snippet > gateway.mjs

    The default form can be evaluated by any POSIX shell: secrets are comments unless
    --show-secrets is given, and so is the snippet.
    """

    def prepare(self) -> Action:
        """Read the settings, and return what prints them for the tool."""
        if self.for_ is not None and self.for_ not in TOOLS:
            msg = f"env --for: no such tool; there are {', '.join(TOOLS)}"
            raise UsageError(msg)
        if self.snippet and self.for_ is None:
            msg = "env --snippet needs --for, the tool it is for"
            raise UsageError(msg)
        from .environment import print_environment

        style: Literal["json", "snippet", "shell"] = (
            "json" if self.json_ else "snippet" if self.snippet else "shell"
        )
        settings = self.settings()
        return partial(
            print_environment, settings, self.for_, style=style, show_secrets=self.show_secrets
        )


class Serve(BaseModel):
    """Run a local AI Gateway with a small Mistral behind it, for tests in any language."""

    # It is here to be listed. `.serve` reads its flags, so that it starts without pydantic.


class _NoCommand:
    """What to do when no command is given: say which there are."""

    def prepare(self) -> Action:
        msg = f"which command? doctor, run, env or serve; see `{PROGRAM} --help`"
        raise UsageError(msg)


class _Version:
    def prepare(self) -> Action:
        return self._print

    def _print(self) -> int:
        print(f"{PROGRAM} {__version__}")
        return 0


class CommandLine(BaseSettings):
    """The official Mistral SDK through Cloudflare AI Gateway.

    Every setting is a flag of each command, named as its variable: CF_AIG_CACHE_TTL is
    --cache-ttl. Secrets are not: set CF_AIG_TOKEN and MISTRAL_API_KEY, or put them into a file and
    name that with CF_AIG_ENV_FILE. See `mistral-cf-adapter doctor --help` for all flags.
    """

    model_config = SettingsConfigDict(
        cli_prog_name=PROGRAM,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    doctor: CliSubCommand[Doctor]
    """Check the settings, make one cheap call and explain what is wrong."""
    run: CliSubCommand[Run]
    """Run a Python program whose Mistral clients go through the gateway."""
    env: CliSubCommand[Env]
    """Print what points other tools at the same gateway."""
    serve: CliSubCommand[Serve]
    """Run a local gateway for tests."""
    version: bool = False
    """Print the version."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the command line alone: a variable called `run` is not a command."""
        return (init_settings,)


def parse(arguments: list[str]) -> Doctor | Run | Env | ServeFlags | _NoCommand | _Version:
    """Return the command that was typed.

    Raises:
        UsageError: it cannot be understood.
        SystemExit: help was asked for, and has been printed.
    """
    if arguments[:1] == ["serve"]:
        return ServeFlags(arguments[1:])
    ours, theirs = split(arguments)
    python_flags, ours = take_python_flags(ours)
    reject_secrets(ours)
    try:
        source = CliSettingsSource[Any](
            CommandLine,
            cli_exit_on_error=False,
            add_argument_method=_add_argument,
            add_parser_method=_add_parser,
        )
        line = CliApp.run(CommandLine, cli_args=ours, cli_settings_source=source)
    except ValidationError as error:
        reject(_first_problem(error), ours)
    except ValueError as error:  # SettingsError is one
        reject(str(error), ours)
    command: Any = get_subcommand(line, is_required=False)
    if command is None:
        return _Version() if line.version else _NoCommand()
    if isinstance(command, Run):
        restarting = partial(restart, python_flags, [*ours, *theirs])
        command.hand_over(theirs, restarting if python_flags else None)
    return cast("Doctor | Run | Env", command)


def _add_argument(parser: ArgumentParser, *flags: str, **options: Any) -> Any:
    """Add an argument as pydantic-settings asks for it, switches as ours."""
    if options.get("action") is BooleanOptionalAction:
        options["action"] = Switch
    return add_to_group(parser, *flags, **options)


def _add_parser(subparsers: Any, *names: str, **options: Any) -> ArgumentParser:
    """Add the parser of a command, which raises what it refuses.

    With pydantic-settings before 2.16, `cli_exit_on_error` is the root parser's alone, and a
    command's printed its usage and the refused value.
    """
    parser: ArgumentParser = subparsers.add_parser(*names, **options)
    parser.error = _refuse  # type: ignore[method-assign]
    prepare_groups(parser, names[0])
    return parser


def _refuse(message: str) -> NoReturn:
    raise ValueError(message)


def reject_secrets(arguments: list[str]) -> None:
    """Raise if a secret is given as a flag; what it is set with is where others cannot read it."""
    known = secret_flags()
    given = [argument.partition("=")[0].replace("_", "-").lower() for argument in arguments]
    flag = next((flag for flag in given if flag in known), None)
    if flag is not None:
        msg = (
            f"{flag} is no flag: other users of this machine could read the command line. Set "
            f"{env_names(known[flag])[0]}, or put it into a file and name that with {ENV_FILE}"
        )
        raise UsageError(msg)


def _first_problem(error: ValidationError) -> str:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    return f"{flag_of(str(problem['loc'][-1]))}: {problem['msg']}"


def reject(message: str, arguments: list[str], flags: Iterable[str] = ()) -> NoReturn:
    """Raise with argparse's words, but without the values, one of which may be a secret.

    Args:
        message: argparse's.
        arguments: what was typed.
        flags: those of the command; by default the settings'.
    """
    message = message.removeprefix("error parsing CLI: ")
    for argument in arguments[1:]:
        value = argument.partition("=")[2] if argument.startswith("-") else argument
        if len(value) > 3 and value not in CommandLine.model_fields:
            message = message.replace(value, "***")
    if any(arguments[:1] == [command] for command in CommandLine.model_fields):
        hint = f"See `{PROGRAM} {arguments[0]} --help`."
    else:
        hint = f"See `{PROGRAM} --help`; flags of a command come after its name."
    msg = f"{message}{_suggest_flag(message, flags)}\n{hint}"
    raise UsageError(msg)


def _suggest_flag(message: str, flags: Iterable[str]) -> str:
    """Return the end of a sentence that names the flag nearest to an unknown one."""
    unknown = re.match(r"unrecognized arguments: (--[\w-]+)", message)
    if unknown is None:
        return ""
    names = {flag_of(name): name for name in GatewaySettings.model_fields}
    hint = did_you_mean(unknown[1], [*flags] or names)
    secret = next((names[flag] for flag in secret_flags() if hint.endswith(f" {flag}?")), None)
    return hint if secret is None else f"; secrets are no flags: set {env_names(secret)[0]}"


def split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Cut `run` after its script or module: what follows belongs to the program."""
    if arguments[:1] != ["run"]:
        return arguments, []
    place = 1
    while place < len(arguments):
        argument = arguments[place]
        if argument == "--":
            return [*arguments[:place], *arguments[place + 1 : place + 2]], arguments[place + 2 :]
        if argument in ("-m", "--module"):
            return arguments[: place + 2], arguments[place + 2 :]
        if argument.startswith(("-m", "--module=")):
            return arguments[: place + 1], arguments[place + 1 :]
        if argument == "-" or not argument.startswith("-"):
            return arguments[: place + 1], arguments[place + 1 :]
        place += 2 if argument in _WITH_VALUE or takes_next(argument) else 1
    return arguments, []


for _command in (Doctor, Run, Env, Serve, CommandLine):
    _command.__doc__ = inspect.cleandoc(_command.__doc__ or "")  # argparse keeps the indentation

_WITH_VALUE = frozenset(
    flag_of(name) for name in GatewaySettings.model_fields if not is_switch(name)
)
