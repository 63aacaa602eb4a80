"""One set of settings for every face: magic, command line, relay kernel, server.

Set them in ``jupyter_gpu_remote_config.py`` (``c.GpuRemote.gpu = "A100"``), on a command line
(``--GpuRemote.gpu=A100``) or as options of a cell (``%%remote --gpu A100``).
"""

from __future__ import annotations

import os
from pathlib import Path

from jupyter_core.paths import jupyter_config_path, jupyter_data_dir
from traitlets import Bool, CaselessStrEnum, Float, Int, List, TraitError, Unicode
from traitlets.config import Config, Configurable
from traitlets.config.loader import ConfigFileNotFound, PyFileConfigLoader

from .errors import ConfigurationError

_FILE = "jupyter_gpu_remote_config.py"


def state_dir() -> Path:
    """Return the folder of everything we keep here, created on first use, readable by its owner alone."""
    path = Path(os.environ.get("JUPYTER_GPU_REMOTE_DIR") or Path(jupyter_data_dir()) / "gpu_remote")
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


class GpuRemote(Configurable):
    """What machine to use and how; a trait tagged `option` is also an option of ``%%remote``."""

    on = Unicode("", help="Name of a machine to use, or SSH destinations with --cloud ssh.").tag(
        config=True, option="NAME"
    )
    gpu = Unicode("", help="GPU and how many of them: A100, A100:4.").tag(config=True, option="GPU[:N]")
    cloud = Unicode("", help="Where: aws, gcp, ssh (your own machine) or local.").tag(
        config=True, option="CLOUD"
    )
    region = Unicode("", help="Only in this region.").tag(config=True, option="REGION")
    zone = Unicode("", help="Only in this zone.").tag(config=True, option="ZONE")
    spot = Bool(
        None, allow_none=True, help="A spot machine, as by default; --on-demand for the opposite."
    ).tag(config=True, option="")
    spot_or_on_demand = Bool(
        False, help="Take a spot machine, or one on demand where no spot machine is to be had."
    ).tag(config=True, option="")
    max_price = Float(None, allow_none=True, min=0, help="Most dollars an hour.").tag(
        config=True, option="$/H"
    )
    machines = Int(
        0, min=0, help="How many machines: one has the notebook's kernel, the others work beside it."
    ).tag(config=True, option="N")
    launch = Unicode(
        "", help="Run the cell as a script on all machines, a process for each GPU: torchrun."
    ).tag(config=True, option="torchrun")
    engine = Unicode("", help="What machines work together by, instead of Dask: ray.").tag(
        config=True, option="ray"
    )
    cpus = Int(0, min=0, help="At least this many CPU cores.").tag(config=True, option="N")
    memory = Float(0.0, min=0, help="At least this much memory, in GB.").tag(config=True, option="GB")
    disk = Float(0.0, min=0, help="Disk size, in GB.").tag(config=True, option="GB")
    in_ = Unicode("", help="Variables to send, whatever their size.").tag(config=True, option="A,B")
    out = Unicode("", help="Variables to bring back after the cell.").tag(config=True, option="C,D")
    auto_in = Bool(True, help="Send the variables that the cell reads.").tag(config=True, option="")
    env = Unicode(
        "auto", help="Packages: auto (declared or imported by the notebook), a file that lists them, or none."
    ).tag(config=True, option="auto|FILE|none")
    sync = Bool(True, help="Keep the notebook's folder the same on both sides.").tag(config=True, option="")

    mount = List(
        Unicode(),
        help="Buckets to mount: s3://bucket/folder:/data, gs://bucket:~/data:ro; can be given again.",
    ).tag(config=True, option="URL:PATH[:ro]")
    out_dir = List(
        Unicode(),
        help="Folders that are copied to a bucket while cells run, {n} being the number of the run:"
        " results=s3://bucket/run-{n}.",
    ).tag(config=True, option="NAME=URL")
    storage_role = Unicode(
        "", help="AWS role that credentials for mounts are taken from, where your own can't be limited."
    ).tag(config=True)
    share_keys = Bool(
        False, help="Let machines have your keys of an S3 server that can't limit keys to a bucket."
    ).tag(config=True, option="")
    dry_run = Bool(False, help="Show which machines would be tried, in order, and launch none.").tag(
        config=True, option=""
    )
    detach = Bool(
        False, help="Return at once; the cell goes on in a kernel of its own, as a job (`%remote jobs`)."
    ).tag(config=True, option="")
    sweep = List(
        Unicode(),
        help="Run the cell once for each value: lr=0.1,0.01, seed=range(5), lr=log(1e-5,1e-1), or a list of"
        " dicts; given again, for each combination.",
    ).tag(config=True, option="NAME=VALUES")
    max_trials = Int(0, min=0, help="Of a sweep: at most so many trials.").tag(config=True, option="N")
    timeout = Float(0.0, min=0, help="Of a sweep: minutes that a trial may take; 0 for any time.").tag(
        config=True, option="MINUTES", unit="m"
    )
    retries = Int(0, min=0, help="Of a sweep: how often a trial that fails is run again.").tag(
        config=True, option="N"
    )
    stop = Unicode("", help='Of a sweep: ends a trial early: "loss > 2 after 100".').tag(
        config=True, option="RULE"
    )
    optimize = Unicode("", help='Of a sweep: choose values by the results so far: "min loss".').tag(
        config=True, option="GOAL"
    )
    trials = Int(0, min=0, help="Trials of --optimize; 0 for 50.").tag(config=True, option="N")
    resume = Bool(False, help="Of a sweep: run the trials only that have not ended well before.").tag(
        config=True, option=""
    )
    keep = Bool(False, help="Of a sweep: keep the machines that were launched for it.").tag(
        config=True, option=""
    )
    idle = Float(
        30.0, min=0, help="Minutes without a running cell after which a machine ends itself: 30, 90m, 2h."
    ).tag(config=True, option="MINUTES", unit="m")
    max_hours = Float(
        12.0, min=0, help="Hours after which a rented machine ends, busy or not; 0 for never."
    ).tag(config=True, option="H", unit="h")
    budget = Float(
        None, allow_none=True, min=0, help="Most dollars a machine may cost; it ends when they are spent."
    ).tag(config=True, option="$")
    daily_budget = Float(
        None, allow_none=True, min=0, help="Most dollars a day for all machines; then none is launched."
    ).tag(config=True)
    ingress = Unicode(
        "auto", help="Who may connect to a rented machine: auto is this computer alone; else 203.0.113.0/24."
    ).tag(config=True)
    ssh_hosts = List(Unicode(), help="Machines you already have, as SSH destinations or aliases.").tag(
        config=True
    )
    transport = CaselessStrEnum(
        ["auto", "openssh", "paramiko"], "auto", help="Which SSH: auto takes OpenSSH where there is one."
    ).tag(config=True)
    launch_timeout = Float(900.0, min=1, help="Seconds a launch may take in all.").tag(config=True)
    reconnect_timeout = Float(
        600.0, min=1, help="Seconds to go on reconnecting to a machine that stopped answering."
    ).tag(config=True)
    debug = Bool(False, help="Show our own tracebacks.").tag(config=True, option="")


def load_settings(given: Config | None = None) -> GpuRemote:
    """Return the settings of the configuration files, with those `given` on top.

    Raises:
        ConfigurationError: A file cannot be executed, or sets a trait to what it can't be.
    """
    config = Config()
    for folder in reversed(jupyter_config_path()):
        try:
            config.merge(PyFileConfigLoader(_FILE, path=folder).load_config())
        except ConfigFileNotFound:
            continue
        except Exception as e:  # whatever the user's file raises
            raise ConfigurationError(
                f"{Path(folder) / _FILE} cannot be used: {type(e).__name__}: {e}.", hint="Mend that file."
            ) from e
    config.merge(given or {})
    try:
        return GpuRemote(config=config)
    except TraitError as e:
        raise ConfigurationError(f"A setting cannot be used: {e}", hint=f"Mend it in {_FILE}.") from e
