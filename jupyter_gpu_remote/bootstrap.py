"""What a new machine is told at its first boot, as cloud-init reads it: pure text.

It is JSON, which is YAML as well: nothing that is put in can become anything else than the text it is.
"""

from __future__ import annotations

import json
import re

from .model import MachineSpec

SILENCE = 15 * 60
"""Seconds that nobody may care for a machine before it powers itself off: far more than an agent that works
takes to say that it does, far less than what a forgotten GPU costs to be noticed."""
EVERY = 30
"""Seconds between two looks of the guard."""
ALIVE = "/home/*/.gpu-remote/host/*/alive"
"""Files that an agent touches as long as it guards its machine itself."""

GUARD = "/usr/local/sbin/gpu-remote-guard"
_SETTINGS = "/etc/gpu-remote-guard.json"
_START = ["systemd-run", "--unit=gpu-remote-guard", GUARD]

_GUARD_SCRIPT = f'''\
#!/usr/bin/env python3
"""Powers this machine off when nobody cares for it, or when it ran for as long as it may. Needs nobody."""

import glob
import json
import os
import subprocess
import sys
import time

with open(sys.argv[1] if len(sys.argv) > 1 else "{_SETTINGS}", encoding="utf-8") as file:
    settings = json.load(file)


def touched():
    times = []
    for path in glob.glob(settings["alive"]):
        try:
            times.append(os.stat(path).st_mtime_ns)
        except OSError:
            pass  # removed at this moment
    return max(times, default=0)


def reason_to_end():
    """Wait for one; clocks that are set don't matter, for changes are what counts."""
    booted = changed = time.monotonic()
    last = touched()
    while True:
        time.sleep(settings["every"])
        now, seen = time.monotonic(), touched()
        if seen != last:
            last, changed = seen, now
        if now - changed > settings["silence"]:
            return "nobody cared for this machine for %d s" % (now - changed)
        if 0 < settings["max_seconds"] < now - booted:
            return "this machine ran for the %d s that it may" % settings["max_seconds"]


print(reason_to_end() + ": power off", flush=True)
attempt = 0
while True:
    # a service that does not end must not keep it: from the third time on nothing is waited for
    force = ["--force"] * (attempt >= 2) + ["--force"] * (attempt >= 4)
    subprocess.call(settings["poweroff"] + force)
    attempt += 1
    time.sleep(settings["every"])
'''

# After a stop and a start cloud-init runs no commands of the first boot, but this. At the first boot its mark
# for those commands is not there yet, so the guard is started once either way.
_LATER_BOOTS = f"""\
#!/bin/sh
[ ! -e /var/lib/cloud/instance/sem/config_scripts_user ] || exec {" ".join(_START)}
"""


def user_data(spec: MachineSpec, user: str = "ubuntu") -> str:
    """Return what cloud-init is to do: our keys, the host key made here, and a guard of last resort.

    Args:
        spec: Its `user_key` may log in; its host key, read here, is the one that the machine will show.
        user: Who may log in, and become root without a password.
    """
    public = spec.host_key_file.with_name(spec.host_key_file.name + ".pub")
    settings = {
        "max_seconds": spec.max_seconds,
        "silence": SILENCE,
        "every": EVERY,
        "alive": ALIVE,
        "poweroff": ["poweroff"],
    }
    config = {
        "ssh_deletekeys": True,
        "ssh_genkeytypes": ["ed25519"],
        "ssh_keys": {
            "ed25519_private": spec.host_key_file.read_text(encoding="utf-8"),
            "ed25519_public": public.read_text(encoding="utf-8"),
        },
        "ssh_pwauth": False,
        "disable_root": True,
        "users": [
            {
                "name": user,
                "shell": "/bin/bash",
                "sudo": "ALL=(ALL) NOPASSWD:ALL",
                "lock_passwd": True,
                "ssh_authorized_keys": [spec.user_key],
            }
        ],
        # updates hold the lock of dpkg for minutes, and reach for the driver
        "package_update": False,
        "package_upgrade": False,
        "write_files": [
            _file("/etc/apt/apt.conf.d/99-gpu-remote", 'APT::Periodic::Enable "0";\n', "0644"),
            _file(_SETTINGS, json.dumps(settings), "0644"),
            _file(GUARD, _GUARD_SCRIPT, "0755"),
            _file("/var/lib/cloud/scripts/per-boot/gpu-remote-guard", _LATER_BOOTS, "0755"),
        ],
        "runcmd": [_START],
    }
    text = json.dumps(config, ensure_ascii=False)
    # YAML joins no pairs of \\u as JSON does, and takes no control character as it is
    return "#cloud-config\n" + re.sub(r"[\x7f-\uffff]", lambda m: f"\\u{ord(m[0]):04x}", text)


def _file(path: str, content: str, mode: str) -> dict[str, str]:
    return {"path": path, "content": content, "permissions": mode, "owner": "root:root"}
