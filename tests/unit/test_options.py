from __future__ import annotations

import subprocess
import sys

import pytest
from traitlets.config import Config

from jupyter_gpu_remote.config import GpuRemote
from jupyter_gpu_remote.errors import ConfigurationError, GpuRemoteError
from jupyter_gpu_remote.model import GpuRequest
from jupyter_gpu_remote.options import HelpRequested, help_text, parse


def request(line: str) -> GpuRequest:
    return parse(line, GpuRemote())[0]


def settings(line: str) -> GpuRemote:
    return parse(line, GpuRemote())[1]


def refusal(line: str | list[str]) -> GpuRemoteError:
    with pytest.raises(ConfigurationError) as e:
        parse(line, GpuRemote())
    return e.value


def test_no_options_ask_for_nothing() -> None:
    assert request("") == GpuRequest()


def test_every_option_reaches_the_request() -> None:
    line = (
        "--on otter --gpu A100:4 --cloud aws --region us-east-1 --zone us-east-1a --spot --max-price 2.5"
        " --cpus 8 --memory 64 --disk 200"
    )
    assert request(line) == GpuRequest(
        gpu="A100",
        count=4,
        cloud="aws",
        on="otter",
        region="us-east-1",
        zone="us-east-1a",
        spot=True,
        max_price=2.5,
        cpus=8,
        memory=64.0,
        disk=200.0,
    )


def test_an_argv_is_read_like_a_line() -> None:
    assert parse(["--on", "my machine", "--gpu=T4"], GpuRemote())[0] == GpuRequest(on="my machine", gpu="T4")


def test_quotes_keep_a_value_together() -> None:
    assert request("--on 'my machine'").on == "my machine"


@pytest.mark.parametrize(("line", "spot"), [("", None), ("--spot", True), ("--on-demand", False)])
def test_the_market_is_open_unless_one_is_named(line: str, spot: bool | None) -> None:
    assert request(line).spot is spot


@pytest.mark.parametrize("text", ["2.50", "$2.50", "2.5/h", "$2.5/h"])
def test_a_price_may_be_written_as_the_status_line_writes_it(text: str) -> None:
    assert request(f"--max-price {text}").max_price == 2.5


@pytest.mark.parametrize("text", ["64", "64GB", "64gb", "64G"])
def test_a_size_may_have_its_unit(text: str) -> None:
    assert request(f"--memory {text}").memory == 64.0


def test_an_option_changes_the_settings_of_this_cell_alone() -> None:
    config = GpuRemote()
    _, applied = parse("--no-sync --debug --cpus 3", config)
    assert (applied.sync, applied.debug, applied.cpus) == (False, True, 3)
    assert (config.sync, config.debug, config.cpus) == (True, False, 0)


def test_what_the_config_file_says_holds_until_an_option_says_otherwise() -> None:
    file = Config()
    file.GpuRemote.gpu = "T4:2"
    file.GpuRemote.sync = False
    file.GpuRemote.spot = True
    file.GpuRemote.ssh_hosts = ["me@box"]
    file.GpuRemote.launch_timeout = 5.0
    config = GpuRemote(config=file)
    asked, applied = parse("--cloud gcp", config)
    assert (asked.gpu, asked.count, asked.spot, asked.cloud) == ("T4", 2, True, "gcp")
    assert (applied.sync, applied.ssh_hosts, applied.launch_timeout) == (False, ["me@box"], 5.0)
    asked, applied = parse("--sync --on-demand", config)
    assert (applied.sync, asked.spot) == (True, False)


def test_the_last_of_two_values_holds() -> None:
    assert request("--gpu T4 --gpu A100").gpu == "A100"


@pytest.mark.parametrize(
    ("line", "meant"),
    [
        ("--gpus A100", "--gpu"),
        ("--GPU A100", "--gpu"),
        ("-gpu A100", "--gpu"),
        ("—gpu A100", "--gpu"),
        ("--maxprice 3", "--max-price"),
        ("--max_price=3", "--max-price"),
        ("--nosync", "--no-sync"),
        ("--ondemand", "--on-demand"),
    ],
)
def test_an_unknown_option_is_answered_with_the_one_that_was_meant(line: str, meant: str) -> None:
    error = refusal(line)
    assert line.partition(" ")[0] in error.message
    assert f"Did you mean {meant}?" in error.hint


def test_an_option_is_not_guessed_from_its_beginning() -> None:
    assert "no option" in refusal("--max 3").message


@pytest.mark.parametrize("line", ["--gpu", "--gpu --spot", "--max-price"])
def test_a_missing_value_is_named(line: str) -> None:
    assert refusal(line).message == f"{line.split()[0]} needs a value."


@pytest.mark.parametrize(
    "line",
    [
        *("--cpus many", "--cpus 1.5", "--cpus -1", "--cpus 1e3", "--memory -4", "--disk inf"),
        *("--max-price cheap", "--max-price nan", "--max-price=", "--max-price -0.5"),
    ],
)
def test_a_value_of_the_wrong_type_is_named_with_an_example(line: str) -> None:
    error = refusal(line)
    option = line.replace("=", " ").split()[0]
    assert f"{option} needs" in error.message and "number" in error.message
    assert error.hint == f"For example: {option} 4"
    parse(error.hint.removeprefix("For example: "), GpuRemote())


def test_a_switch_with_a_value_is_refused() -> None:
    assert refusal("--spot=yes").message == "--spot takes no value."


def test_spot_and_on_demand_exclude_each_other() -> None:
    error = refusal("--spot --on-demand")
    assert "--spot" in error.message and "--on-demand" in error.message


def test_a_word_without_an_option_is_refused() -> None:
    error = refusal("A100")
    assert "'A100'" in error.message and "--gpu A100" in error.hint


def test_an_unclosed_quote_is_refused() -> None:
    assert "Check the quotes" in refusal("--on 'otter").hint


def test_an_unknown_gpu_is_refused() -> None:
    assert "A1000000" in refusal("--gpu A1000000").message


@pytest.mark.parametrize("line", ["-h", "--help", "--gpu --help", "--gpus A100 -h", ["--help"]])
def test_help_is_given_whatever_else_is_there(line: str | list[str]) -> None:
    with pytest.raises(HelpRequested) as e:
        parse(line, GpuRemote())
    assert str(e.value) == help_text()


def test_help_names_every_option_once_with_what_it_means() -> None:
    text = help_text()
    options, _, examples = text.partition("examples:")
    for name, trait in GpuRemote.class_traits(option=lambda tag: tag is not None).items():
        if trait.default_value is not True:
            option = f"--{name.rstrip('_').replace('_', '-')}"
            assert sum(line.split()[0].rstrip(",") == option for line in options.splitlines() if line) == 1
    assert "--no-sync" in options and "--on-demand" in options
    assert "Most dollars an hour." in options and "GPU[:N]" in options
    for line in examples.strip().splitlines():
        parse(line.strip().removeprefix("%%remote").partition("   ")[0], GpuRemote())


def test_help_speaks_of_the_command_it_was_asked_of() -> None:
    assert "jupyter gpu-remote up --gpu A100" in help_text("jupyter gpu-remote up")


def test_reading_options_loads_nothing_heavy() -> None:
    code = (
        "import sys; from jupyter_gpu_remote import options, config;"
        "options.parse('--gpu A100 --spot', config.GpuRemote());"
        "print([m for m in ('IPython', 'psutil', 'paramiko', 'asyncssh', 'sqlite3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
