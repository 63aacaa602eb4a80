from __future__ import annotations

import json
import os
import resource
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from jupyter_gpu_remote import registry as registry_module
from jupyter_gpu_remote.config import state_dir
from jupyter_gpu_remote.errors import ConflictError, MachineNotFoundError, RegistryError
from jupyter_gpu_remote.model import TRANSITIONS, Address, Machine, MachineState, Offer
from jupyter_gpu_remote.registry import Registry
from tests.conftest import need

S = MachineState
A100 = Offer("aws", "p4d.24xlarge", gpu="A100", count=1, spot=True, price=3600.0, zone="us-east-1a")


@pytest.fixture
def registry() -> Registry:
    return Registry()


def machine(name: str = "brave-otter", **changes: object) -> Machine:
    return replace(Machine(name, "aws", A100, created_at=1000.0), **changes)  # type: ignore[arg-type]


def ready(registry: Registry, name: str = "brave-otter") -> Machine:
    registry.add(machine(name, state=S.READY))
    return registry.get(name)


def test_a_machine_comes_back_as_it_was_written(registry: Registry) -> None:
    full = machine(
        state=S.BOOTING,
        provider_id="i-123",
        token="t",
        address=Address("höst", 2222, "user", Path("/keys/ключ"), "ssh-ed25519 AAAA"),
        python="/usr/bin/python3",
        home="/home/user",
        ready_at=2.0,
        note='quotes " and \n lines',
    )
    registry.add(full)
    assert Registry().get("brave-otter") == full


def test_a_machine_without_an_address_comes_back_without_one(registry: Registry) -> None:
    registry.add(machine())
    assert registry.get("brave-otter").address is None


def test_nothing_is_written_before_the_first_use() -> None:
    registry = Registry()
    assert not registry.path.exists()


def test_importing_it_loads_neither_a_cloud_library_nor_psutil() -> None:
    code = (
        "import sys, jupyter_gpu_remote.registry;"
        "print([m for m in ('psutil', 'boto3', 'paramiko', 'IPython') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_files_are_readable_by_their_owner_alone(registry: Registry) -> None:
    old = os.umask(0)
    try:
        registry.add(machine())
    finally:
        os.umask(old)
    modes = {p.name: stat.S_IMODE(p.stat().st_mode) for p in state_dir().iterdir()}
    assert modes == {f"registry.sqlite{end}": 0o600 for end in ("", "-wal", "-shm")}


def test_a_name_is_never_used_twice(registry: Registry) -> None:
    registry.add(machine(state=S.GONE))
    with pytest.raises(ConflictError, match="brave-otter"):
        registry.add(machine())


def test_an_unknown_machine_is_answered_with_the_name_that_was_meant(registry: Registry) -> None:
    registry.add(machine("brave-otter"))
    with pytest.raises(MachineNotFoundError) as e:
        registry.get("brave-oter")
    assert "Did you mean brave-otter?" in e.value.hint


def test_machines_leaves_out_what_has_ended_unless_asked(registry: Registry) -> None:
    registry.add(machine("b", state=S.GONE))
    registry.add(machine("a", created_at=2000.0))
    assert [m.name for m in registry.machines()] == ["a"]
    assert [m.name for m in registry.machines(ended=True)] == ["b", "a"]


@pytest.mark.parametrize("old", list(S))
@pytest.mark.parametrize("new", list(S))
def test_only_the_transitions_of_the_table_are_allowed(registry: Registry, old: S, new: S) -> None:
    registry.add(machine(state=old))
    if new in TRANSITIONS[old] or new is old:
        assert registry.update("brave-otter", state=new).state is new
    else:
        with pytest.raises(ConflictError):
            registry.update("brave-otter", state=new)
        assert registry.get("brave-otter").state is old


def test_an_update_that_expects_another_state_changes_nothing(registry: Registry) -> None:
    ready(registry)
    with pytest.raises(ConflictError, match="is ready, not busy or stopped"):
        registry.update("brave-otter", expect=(S.BUSY, S.STOPPED), note="x")
    assert registry.get("brave-otter").note == ""


def test_an_update_that_expects_the_present_state_is_made(registry: Registry) -> None:
    ready(registry)
    assert registry.update("brave-otter", expect=S.READY, state=S.BUSY).state is S.BUSY
    assert registry.get("brave-otter").state is S.BUSY


def test_a_machine_that_ends_knows_when(registry: Registry) -> None:
    ready(registry)
    before = time.time()
    assert before <= registry.update("brave-otter", state=S.PREEMPTED).ended_at <= time.time()


def test_a_field_that_no_machine_has_is_a_type_error(registry: Registry) -> None:
    ready(registry)
    with pytest.raises(TypeError):
        registry.update("brave-otter", colour="red")


def test_a_change_and_its_event_are_written_together(registry: Registry) -> None:
    ready(registry)
    registry.update("brave-otter", state=S.BUSY)
    added, moved = registry.events()
    assert (added.kind, moved.kind, moved.machine) == ("added", "state", "brave-otter")
    assert moved.data == {"from": "ready", "to": "busy"}


def test_a_refused_change_leaves_no_event(registry: Registry) -> None:
    registry.add(machine(state=S.GONE))
    with pytest.raises(ConflictError):
        registry.update("brave-otter", state=S.READY)
    assert [e.kind for e in registry.events()] == ["added"]


def test_events_after_an_id_come_oldest_first_up_to_the_limit(registry: Registry) -> None:
    ids = [registry.note("log", "m", f"line {i}", {"i": i}) for i in range(5)]
    assert [e.data["i"] for e in registry.events(since=ids[1], limit=2)] == [2, 3]
    assert [e.text for e in registry.events(limit=2)] == ["line 3", "line 4"]


def test_old_events_are_dropped_and_ids_go_on(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "KEPT_EVENTS", 10)
    last = [registry.note("log", "m", str(i)) for i in range(25)][-1]
    events = registry.events(since=0)
    assert [e.text for e in events] == [str(i) for i in range(15, 25)]
    assert events[-1].id == last == 25


def test_a_notebook_is_bound_until_it_is_unbound(registry: Registry) -> None:
    ready(registry)
    assert registry.binding("/a/nb.ipynb") is None
    registry.bind("/a/nb.ipynb", "brave-otter")
    assert registry.binding("/a/nb.ipynb") == "brave-otter"
    registry.unbind("/a/nb.ipynb")
    assert registry.binding("/a/nb.ipynb") is None


def test_a_notebook_whose_machine_ended_still_knows_which_it_was(registry: Registry) -> None:
    ready(registry)
    registry.bind("nb", "brave-otter")
    registry.update("brave-otter", state=S.PREEMPTED)
    assert registry.binding("nb") == "brave-otter"
    registry.unbind_all("brave-otter")
    assert registry.binding("nb") is None


def test_a_notebook_cannot_be_bound_to_what_has_ended(registry: Registry) -> None:
    registry.add(machine(state=S.GONE))
    with pytest.raises(ConflictError):
        registry.bind("nb", "brave-otter")


def test_a_notebook_with_a_name_that_is_no_utf8_can_be_bound(registry: Registry) -> None:
    ready(registry)
    name = os.fsdecode(b"/tmp/\xff \xe2\x9c\x93 'nb'.ipynb")
    registry.bind(name, "brave-otter")
    assert registry.binding(name) == "brave-otter"


def test_spent_counts_from_the_time_asked_for(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.add(machine("over", created_at=1000.0, ended_at=1100.0, state=S.GONE))
    registry.add(machine("partly", created_at=1000.0, ended_at=1300.0, state=S.GONE))
    registry.add(machine("running", created_at=1000.0, state=S.READY))
    monkeypatch.setattr(time, "time", lambda: 2000.0)
    assert registry.spent(since=1200.0) == {"partly": 100.0, "running": 800.0}
    assert registry.spent(since=0.0) == {"over": 100.0, "partly": 300.0, "running": 1000.0}


def test_a_lease_is_held_by_one_at_a_time(registry: Registry) -> None:
    with registry.lease("brave-otter", 60):
        with pytest.raises(ConflictError, match=f"process {os.getpid()}"):
            registry.lease("brave-otter", 60)
        owner = registry.lease_owner("brave-otter")
        assert owner is not None and owner.pid == os.getpid()
    assert registry.lease_owner("brave-otter") is None
    registry.lease("brave-otter", 60).release()


def test_an_expired_lease_may_be_taken_and_its_updates_fail(registry: Registry) -> None:
    ready(registry)
    late = registry.lease("brave-otter", 0)
    registry.lease("brave-otter", 60)
    with pytest.raises(ConflictError, match="took over"):
        registry.update("brave-otter", lease=late, state=S.BUSY)
    with pytest.raises(ConflictError):
        late.renew(60)
    assert registry.get("brave-otter").state is S.READY


def test_releasing_a_lost_lease_does_not_free_the_new_one(registry: Registry) -> None:
    late = registry.lease("brave-otter", 0)
    registry.lease("brave-otter", 60)
    late.release()
    assert registry.lease_owner("brave-otter") is not None


def test_a_released_lease_allows_no_update(registry: Registry) -> None:
    ready(registry)
    lease = registry.lease("brave-otter", 60)
    lease.release()
    with pytest.raises(ConflictError):
        registry.update("brave-otter", lease=lease, state=S.BUSY)


def test_a_renewed_lease_is_kept(registry: Registry) -> None:
    lease = registry.lease("brave-otter", 0)
    lease.renew(60)
    with pytest.raises(ConflictError):
        registry.lease("brave-otter", 60)


def test_a_lease_of_another_host_is_kept_until_it_expires(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as m:
        m.setattr("socket.gethostname", lambda: "other-host")
        registry.lease("brave-otter", 60)
    with pytest.raises(ConflictError, match="other-host"):
        registry.lease("brave-otter", 60)


def test_threads_share_one_registry(registry: Registry) -> None:
    ready(registry)
    wins: list[int] = []

    def work(i: int) -> None:
        for n in range(50):
            registry.note("log", "brave-otter", f"{i}.{n}")
        try:
            registry.update("brave-otter", expect=S.READY, state=S.BUSY)
            wins.append(i)
        except ConflictError:
            pass

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(wins) == 1
    assert len([e for e in registry.events(since=0) if e.kind == "log"]) == 400


def test_a_failure_in_the_middle_of_a_change_undoes_it(registry: Registry) -> None:
    ready(registry)
    with pytest.raises(KeyboardInterrupt), registry._file.transaction() as db:
        db.execute("DELETE FROM machines")
        raise KeyboardInterrupt
    assert [m.name for m in registry.machines()] == ["brave-otter"]


def test_a_damaged_file_is_reported_and_left_alone(registry: Registry) -> None:
    registry.path.write_bytes(b"this is no database, though it is long enough to look at" * 100)
    before = registry.path.read_bytes()
    with pytest.raises(RegistryError, match="damaged") as e:
        registry.machines()
    assert "move" in e.value.hint and str(registry.path) in e.value.hint
    assert registry.path.read_bytes() == before


def test_a_file_with_damaged_pages_is_reported(registry: Registry) -> None:
    for i in range(200):
        registry.add(machine(f"m{i}"))
    registry.close()
    content = bytearray(registry.path.read_bytes())
    content[4096:] = os.urandom(len(content) - 4096)
    registry.path.write_bytes(content)
    with pytest.raises(RegistryError, match="damaged"):
        registry.machines()


def test_a_row_with_nonsense_in_it_is_reported(registry: Registry) -> None:
    ready(registry)
    with registry._file.transaction() as db:
        db.execute('UPDATE machines SET machine = \'{"state": "dancing"}\'')
    with pytest.raises(RegistryError, match="damaged"):
        registry.get("brave-otter")


def test_after_a_damaged_file_is_moved_away_a_new_one_is_made(registry: Registry, tmp_path: Path) -> None:
    ready(registry)
    for file in state_dir().glob("registry.sqlite*"):
        file.rename(tmp_path / file.name)
    assert registry.machines() == []
    registry.add(machine("new-one"))
    assert [m.name for m in Registry().machines()] == ["new-one"]


def test_a_file_of_a_newer_version_is_refused_and_left_alone(registry: Registry) -> None:
    ready(registry)
    registry.close()
    with sqlite3.connect(registry.path) as db:
        db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(RegistryError, match="newer version") as e:
        Registry().machines()
    assert "pip install -U" in e.value.hint


def test_a_file_of_an_older_version_is_brought_up_to_date(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(registry)
    registry.close()
    step = ("CREATE TABLE extra (x)", "INSERT INTO extra SELECT name FROM machines")
    monkeypatch.setattr(registry_module, "_MIGRATIONS", (*registry_module._MIGRATIONS, step))
    newer = Registry()
    assert newer.get("brave-otter").state is S.READY
    with newer._file.connection() as db:
        assert db.execute("SELECT x FROM extra").fetchall() == [("brave-otter",)]
        (version,) = db.execute("PRAGMA user_version").fetchone()
        assert version == len(registry_module._MIGRATIONS)


def test_a_migration_that_fails_leaves_the_old_file(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(registry)
    registry.close()
    step = ("DELETE FROM machines", "this is no SQL")
    with monkeypatch.context() as m:
        m.setattr(registry_module, "_MIGRATIONS", (*registry_module._MIGRATIONS, step))
        with pytest.raises(RegistryError):
            Registry().machines()
    assert Registry().get("brave-otter").state is S.READY


def test_a_row_with_fields_of_another_release_is_read(registry: Registry) -> None:
    ready(registry)
    with registry._file.transaction() as db:
        (text,) = db.execute("SELECT machine FROM machines").fetchone()
        values = json.loads(text) | {"future": 1}
        del values["note"]
        db.execute("UPDATE machines SET machine = ?", (json.dumps(values),))
    assert registry.get("brave-otter").state is S.READY


def test_a_file_that_another_process_holds_is_reported(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(registry)
    monkeypatch.setattr("jupyter_gpu_remote.statefile.BUSY_LIMIT", 0.1)
    with registry._file.transaction(), pytest.raises(RegistryError, match="has held"):
        Registry().add(machine("other"))


def test_a_path_that_is_a_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RegistryError) as e:
        Registry(tmp_path).machines()
    assert "JUPYTER_GPU_REMOTE_DIR" in e.value.hint


def test_a_file_that_may_not_be_written_is_reported() -> None:
    need(hasattr(os, "geteuid"), "POSIX permissions")
    code = (
        "import os, sys, pathlib, jupyter_gpu_remote.registry as r, jupyter_gpu_remote.errors as e\n"
        "if os.geteuid() == 0: os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
        "try: r.Registry(pathlib.Path(sys.argv[1])).note('log', '', 'x')\n"
        "except e.RegistryError as error: print(error)\n"
    )
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Path(folder) / "registry.sqlite")
        ready(registry)
        registry.close()
        registry.path.chmod(0o444)
        Path(folder).chmod(0o555)
        argv = [sys.executable, "-c", code, str(registry.path)]
        done = subprocess.run(argv, capture_output=True, text=True)
        Path(folder).chmod(0o755)
    assert "JUPYTER_GPU_REMOTE_DIR" in done.stdout, done.stderr


def test_a_full_disk_is_reported_and_the_file_stays_usable(registry: Registry) -> None:
    ready(registry)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        # a limit on the size of files stops a write as a full disk does
        resource.setrlimit(resource.RLIMIT_FSIZE, (registry.path.stat().st_size + 4096 * 20, hard))
        with pytest.raises(RegistryError, match="cannot be written"):
            for _ in range(1000):
                registry.note("log", "brave-otter", "x" * 10_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert registry.update("brave-otter", state=S.BUSY).state is S.BUSY
