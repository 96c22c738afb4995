"""Flags without a value and their opposites, and mistakes that argparse itself reports."""

import argparse

import pytest

from mistral_cf_adapter import GatewaySettings
from mistral_cf_adapter.cli import commands, main
from mistral_cf_adapter.cli.flags import Switch, flag_of, is_secret, is_switch

SWITCHES = sorted(filter(is_switch, GatewaySettings.model_fields))


def opposite_of(flag):
    return f"--{flag.removeprefix('--no-')}" if "--no-" in flag else f"--no-{flag[2:]}"


@pytest.mark.parametrize("name", SWITCHES)
def test_every_switch_can_be_turned_on_and_off(name):
    flag = flag_of(name)
    for typed, value in ((flag, True), (opposite_of(flag), False)):
        assert commands.parse(["env", typed]).given() == {name: value}


def test_the_last_of_a_switch_and_its_opposite_wins():
    assert commands.parse(["env", "--byok", "--no-byok"]).given() == {"byok": False}
    assert commands.parse(["env", "--no-wholesale", "--wholesale"]).given() == {
        "no_wholesale": False
    }


def test_no_flag_begins_with_two_negatives(capsys):
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "--no-no-" not in capsys.readouterr().out


@pytest.mark.parametrize("command", ["doctor", "run", "env"])
def test_help_is_in_groups_with_the_flags_to_begin_with_first(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    usage, *lines = capsys.readouterr().out.splitlines()
    assert usage.startswith(f"usage: mistral-cf-adapter {command} [flags]")
    assert lines[0] == ""
    flags = [line.split()[0].rstrip(",") for line in lines if line.startswith("  -")]
    assert flags[:3] == ["--account-id", "--gateway-id", "--byok"]
    names = {name for name in GatewaySettings.model_fields if not is_secret(name)}
    assert {*flags} >= {flag_of(name) for name in names}
    assert len(flags) == len({*flags})
    assert [line for line in lines if "default: None" in line] == []
    titles = [line for line in lines if line.endswith(":") and line[0] != " "]
    assert titles.index("options:") == titles.index("what each request asks of the gateway:") - 1


def test_a_switch_takes_no_value(capsys):
    assert main(["env", "--byok=true"]) == 2
    (line, _) = capsys.readouterr().err.splitlines()
    assert "--byok" in line
    assert "true" not in line


def test_an_option_without_a_value_is_taken_as_it_stands():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-store", action=Switch, help="Keep nothing.")
    assert parser.parse_args([]).no_store is None
    assert parser.parse_args(["--store"]).no_store is False
    assert "--no-store | --store" in parser.format_usage()


@pytest.mark.parametrize("error", [ValueError("badly formed help string"), UnicodeError("cut")])
def test_any_value_error_of_the_parser_is_one_plain_message(error, monkeypatch, capsys):
    def refuse(*_args, **_options):
        raise error

    monkeypatch.setattr(commands, "_add_argument", refuse)
    assert main(["doctor"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"mistral-cf-adapter: {error}\n")


@pytest.mark.parametrize("command", [[], ["doctor"], ["run"], ["env"], ["serve"], ["reference"]])
def test_help_fits_80_columns_and_ends_in_examples(command, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        main([*command, "--help"])
    text = capsys.readouterr().out
    assert [line for line in text.splitlines() if len(line) > 80] == []
    examples = text.partition("\nexample")[2].splitlines()[1:]
    name = " ".join(["mistral-cf-adapter", *command])
    assert [line for line in examples if name in line]
    assert "default: False" not in text


def test_help_says_what_the_exit_status_means(capsys):
    with pytest.raises(SystemExit):
        main(["doctor", "--help"])
    end = capsys.readouterr().out.partition("\nexit status:\n")[2].splitlines()
    assert [line.split()[0] for line in end] == ["0", "1", "2"]


def test_what_a_command_adds_has_no_opposite_unless_it_is_on(capsys):
    for command, without in (("doctor", ["offline", "json", "verbose"]), ("env", ["snippet"])):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        text = capsys.readouterr().out
        assert [flag for flag in without if f"--no-{flag}" in text] == []
        assert [flag for flag in without if f"--{flag}" not in text] == []
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    assert "--children, --no-children" in capsys.readouterr().out
