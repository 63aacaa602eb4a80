"""What is in a folder, what of it syncs, and whether it changed."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jupyter_gpu_remote.agent.folder import Folder, answer
from jupyter_gpu_remote.agent.manifest import Changes, Entry, Manifest, manifest_from, pack
from jupyter_gpu_remote.agent.watch import Inotify, Notify, Watch
from jupyter_gpu_remote.sync.disk import ignores_case, rules_above
from jupyter_gpu_remote.sync.plan import compare
from jupyter_gpu_remote.sync.record import Record
from jupyter_gpu_remote.sync.remote import AgentFolder
from jupyter_gpu_remote.sync.report import Report, show, size

from ..conftest import need

NAMES = [
    "a", "b", "ab", "é", "a b", "c", "a*", "[a", "#a", "!a", "-", "B", "aab", "a ", " a", "z", "a\\", "a\t",
    ":a", "[", "]", "a\nb", "\udcff",
]  # fmt: skip
ATOMS = [
    "a", "b", "ab", "*", "**", "?", "/", "/", "!", "[ab]", "[!a]", "[^b-d]", "[]a]", "[a", "\\", "\\*", "é",
    " ", "\\ ", "[[:alpha:]]", "[a\\-z]", "#", ".", "**/", "/**", "[[:foo:]]", "***", "\t", "-",
    "[b-a]", "[/a]", "[a-]", "[[:]", "\r",
]  # fmt: skip


def grow(root: Path, dice: random.Random, depth: int = 3) -> None:
    for name in dice.sample(NAMES, 5):
        if depth and dice.random() < 0.5:
            (root / name).mkdir()
            grow(root / name, dice, depth - 1)
        else:
            (root / name).touch()


def entries_not_ignored_by_git(root: Path) -> set[str]:
    paths = [
        p.relative_to(root).as_posix() for p in root.rglob("*") if ".git" not in p.relative_to(root).parts
    ]
    said = subprocess.run(
        ["git", "-C", root, "check-ignore", "--no-index", "-z", "--stdin"],
        input=b"".join(b"./" + os.fsencode(p) + b"\0" for p in paths),
        capture_output=True,
    )
    assert said.returncode in (0, 1), said.stderr
    ignored = {os.fsdecode(p).removeprefix("./") for p in said.stdout.split(b"\0")}
    return {p for p in paths if p not in ignored}


@pytest.mark.parametrize("seed", range(100))
def test_rules_are_git_s_on_any_tree(tmp_path: Path, seed: int) -> None:
    need(shutil.which("git"), "git")
    dice = random.Random(seed)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    grow(tmp_path, dice)
    folders = [p for p in tmp_path.rglob("*") if p.is_dir() and ".git" not in p.parts]
    for folder in [tmp_path, *dice.sample(folders, min(2, len(folders)))]:
        lines = ["".join(dice.choices(ATOMS, k=dice.randint(1, 4))) for _ in range(dice.randint(1, 5))]
        (folder / ".gitignore").write_bytes("\n".join(lines).encode())
    assert set(Folder(tmp_path).scan().entries) == entries_not_ignored_by_git(tmp_path)


@pytest.mark.parametrize(
    "rules",
    [
        "a\n!a\n", "*\n!*/\n!*.py\n", "/a\n", "a/\n!a/b\n", "a/*\n!a/b\n", "a**/b\n", "**/b\n", "a/**\n",
        "\ufeffa\n", "a\r\nb\r\n", "a   \n", "a\\ \n", "\\#a\n", "\\!a\n", "[[:upper:]]\n",
        "/*\n!/a\n", "a//\n",
        "/\n", "!\n", "*/b\n", "a/*/b\n", "é\n", "?\n", "??\n", "[^a]\n", "a\\\n", "ab*\n!aab\n", "a", "",
    ],
)  # fmt: skip
def test_rules_people_write_are_git_s(tmp_path: Path, rules: str) -> None:
    need(shutil.which("git"), "git")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    grow(tmp_path, random.Random(rules))
    (tmp_path / ".gitignore").write_bytes(rules.encode())
    assert set(Folder(tmp_path).scan().entries) == entries_not_ignored_by_git(tmp_path)


def test_gpuignore_can_take_back_what_gitignore_says(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*.csv\n")
    (tmp_path / ".gpuignore").write_text("!need.csv\n*.mp4\n")
    for name in ("need.csv", "other.csv", "film.mp4", "a.py"):
        (tmp_path / name).touch()
    assert set(Folder(tmp_path).scan().entries) == {".gitignore", ".gpuignore", "need.csv", "a.py"}


def test_a_gitignore_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "rules").write_text("a\n")
    (tmp_path / ".gitignore").symlink_to("rules")
    (tmp_path / "a").touch()
    assert "a" in Folder(tmp_path).scan().entries


@pytest.mark.parametrize("name", [".git", "node_modules", "__pycache__", ".ipynb_checkpoints"])
def test_some_names_never_sync_even_when_asked_for(tmp_path: Path, name: str) -> None:
    (tmp_path / ".gpuignore").write_text(f"!{name}\n")
    (tmp_path / "sub" / name).mkdir(parents=True)
    (tmp_path / "sub" / name / "in").touch()
    assert set(Folder(tmp_path).scan().entries) == {".gpuignore", "sub"}


def test_a_virtual_environment_never_syncs_whatever_its_name(tmp_path: Path) -> None:
    (tmp_path / "my env" / "bin").mkdir(parents=True)
    (tmp_path / "my env" / "pyvenv.cfg").touch()
    found = Folder(tmp_path).scan()
    assert not found.entries and found.skipped == ["my env"]


def test_another_file_system_below_is_refused(tmp_path: Path) -> None:
    need(os.geteuid() == 0, "root, to mount a disk")
    (tmp_path / "bucket").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", tmp_path / "bucket"], check=True)
    try:
        assert "mounted" in Folder(tmp_path).scan().refused["bucket"]
    finally:
        subprocess.run(["umount", "-l", tmp_path / "bucket"], check=True)


def test_rules_above_the_folder_count_up_to_the_top_of_the_repository(tmp_path: Path) -> None:
    root = tmp_path / "repo" / "x" / "notebooks"
    root.mkdir(parents=True)
    (tmp_path / ".gitignore").write_text("*\n")
    (tmp_path / "repo" / ".git").mkdir()
    (tmp_path / "repo" / ".gitignore").write_text("/x/notebooks/data\n*.log\n")
    (root / "keep").touch()
    (root / "data").touch()
    (root / "a.log").touch()
    assert set(Folder(root).scan(rules_above(root)).entries) == {"keep"}


def test_without_a_repository_no_rules_from_above_count(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("*\n")
    (tmp_path / "a").mkdir()
    assert not rules_above(tmp_path / "a")


def test_a_manifest_arrives_as_it_was_sent(tmp_path: Path) -> None:
    for name in (b"\xff\n'\"", "größe".encode()):
        (tmp_path / os.fsdecode(name)).write_text("x")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "link").symlink_to(os.fsdecode(b"\xff"))
    found = Folder(tmp_path).scan()
    assert manifest_from(pack(found)) == found


@pytest.mark.parametrize(
    "path", ["../x", "/etc/x", "a/../../x", "a//x", ".", "", "a/./x", ".git/hooks/x", "a/.git/x", "a\0b"]
)
def test_a_machine_that_lies_about_names_is_not_followed(path: str) -> None:
    got = manifest_from(pack(Manifest({path: Entry("f", 1, 1), "ok": Entry("f", 1, 1)})))
    assert set(got.entries) == {"ok"} and path in got.refused


@pytest.mark.parametrize("target", ["/etc", "../..", "../a/../../x", "../../root/d"])
def test_a_machine_that_sends_links_to_the_outside_is_not_followed(target: str) -> None:
    got = manifest_from(pack(Manifest({"d": Entry("d"), "d/l": Entry("l", target=target)})))
    assert set(got.entries) == {"d"}


def test_a_machine_that_sends_files_below_a_link_is_not_followed() -> None:
    got = manifest_from(pack(Manifest({"l": Entry("l", target="x"), "l/in": Entry("f", 1, 1)})))
    assert set(got.entries) == {"l"}


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "l").symlink_to(outside)
    changes = Changes(make={"l/in": (Entry("f", 1, 10**18), None)}, content={"l/in": (0o644, "eA==")})
    done = Folder(root).apply(changes)
    assert "l/in" in done.refused and not list(outside.iterdir())


def test_nothing_is_removed_through_a_link(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "l").mkdir(parents=True)
    outside.mkdir()
    for folder in (root / "l", outside):
        (folder / "in").write_text("x")
        os.utime(folder / "in", (1, 1))
    entry = Folder(root).scan().entries["l/in"]
    (root / "l" / "in").unlink()
    (root / "l").rmdir()
    (root / "l").symlink_to(outside)
    Folder(root).apply(Changes(remove={"l/in": entry}))
    assert (outside / "in").exists()


def test_a_file_that_just_changed_is_not_removed(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("known")
    known = Folder(tmp_path).scan().entries["a"]
    (tmp_path / "a").write_text("changed since")
    done = Folder(tmp_path).apply(Changes(remove={"a": known}))
    assert "has just changed" in done.refused["a"] and (tmp_path / "a").exists()


def test_a_file_that_did_not_arrive_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    known = Folder(tmp_path).scan().entries["a"]
    done = Folder(tmp_path).apply(Changes(make={"a": (Entry("f", 3, 10**18), known)}))
    assert "a" in done.refused and (tmp_path / "a").read_text() == "old"


def test_the_machine_s_folder_has_an_identity_and_keeps_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "new" / "folder", create=True)
    first = folder.scan().ident
    assert first and folder.scan().ident == first


def test_the_user_s_folder_gets_nothing_of_ours(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.scan()
    changes = Changes(make={"a": (Entry("f", 1, 10**18), None)}, content={"a": (0o644, "eA==")})
    folder.apply(changes)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_missing_folder_is_an_error_not_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        Folder(tmp_path / "gone").scan()


def test_questions_and_answers_survive_the_stream(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("x")
    there = AgentFolder(lambda question, data: answer(Folder(tmp_path), question, data))
    assert there.scan([("", "b\n")]).entries.keys() == {"a"}
    assert there.digest(["a", "gone"]).keys() == {"a"}
    assert there.read(["a", "gone"]) == {"a": ((tmp_path / "a").stat().st_mode & 0o7777, "eA==")}


# the watcher


@pytest.fixture(params=["inotify", "watchfiles"])
def watched(request: pytest.FixtureRequest, tmp_path: Path) -> Folder:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_text("a")
    (tmp_path / ".git").mkdir()
    watch: Watch = Inotify() if request.param == "inotify" else Notify(str(tmp_path))
    folder = Folder(tmp_path, watch)
    assert folder.changed()
    folder.scan()
    assert not folder.changed()
    return folder


def at(folder: Folder, name: str) -> Path:
    return Path(os.fsdecode(folder.root)) / name


def test_a_write_that_returned_is_known(watched: Folder) -> None:
    for _ in range(20):
        at(watched, "sub/a").write_text("b")
        assert watched.changed()
        watched.scan()


def test_a_deletion_is_known(watched: Folder) -> None:
    at(watched, "sub/a").unlink()
    assert watched.changed()


def test_a_rename_is_known(watched: Folder) -> None:
    at(watched, "sub").rename(at(watched, "other"))
    assert watched.changed()


def test_a_mode_alone_is_known(watched: Folder) -> None:
    at(watched, "sub/a").chmod(0o755)
    assert watched.changed()


def test_a_file_in_a_new_folder_is_known(watched: Folder) -> None:
    at(watched, "new/deep").mkdir(parents=True)
    watched.scan()
    at(watched, "new/deep/a").write_text("a")
    assert watched.changed()


def test_a_file_in_a_folder_that_moved_is_known(watched: Folder) -> None:
    at(watched, "sub").rename(at(watched, "other"))
    watched.scan()
    at(watched, "other/a").write_text("b")
    assert watched.changed()


def test_what_git_does_in_its_folder_is_no_change(watched: Folder) -> None:
    at(watched, ".git/index").write_text("x")
    assert not watched.changed()


def test_an_ignored_folder_is_not_watched(tmp_path: Path) -> None:
    (tmp_path / ".gitignore").write_text("data/\n")
    (tmp_path / "data").mkdir()
    folder = Folder(tmp_path, Inotify())
    folder.scan()
    (tmp_path / "data" / "a").write_text("a")
    assert not folder.changed()


def test_a_write_lost_to_a_full_queue_is_a_change(tmp_path: Path) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    need(limit <= 100_000, "a queue of a size that can be filled")
    unheeded = [tmp_path / ".git", tmp_path / "node_modules"]
    for path in unheeded:
        path.mkdir()
    folder = Folder(tmp_path, Inotify())
    folder.scan()
    for i in range(limit + 10):
        unheeded[i % 2].chmod(0o700)
    (tmp_path / "a").write_text("a")
    assert folder.changed()
    folder.scan()
    assert not folder.changed()


def test_without_a_watch_left_all_is_a_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Inotify()

    def full(*args: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(watch._inotify, "add_watch", full)
    folder = Folder(tmp_path, watch)
    folder.scan()
    assert folder.changed()
    monkeypatch.undo()
    folder.scan()
    assert not folder.changed()


def test_our_own_changes_are_no_change_but_one_on_top_is(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    folder = Folder(tmp_path, Inotify())
    known = folder.scan().entries["a"]
    changes = Changes(make={"a": (Entry("f", 1, 10**18), known)}, content={"a": (0o644, "eA==")})
    folder.apply(changes)
    assert not folder.changed()
    (tmp_path / "a").write_text("y")
    assert folder.changed()


def test_a_change_next_to_ours_is_a_change(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    folder = Folder(tmp_path, Inotify())
    known = folder.scan().entries["a"]
    (tmp_path / "b").write_text("b")
    changes = Changes(make={"a": (Entry("f", 1, 10**18), known)}, content={"a": (0o644, "eA==")})
    folder.apply(changes)
    assert folder.changed()


# the plan and the record

OLD, NEW, OTHER = (Entry("f", 1, t) for t in (1, 2, 3))


@pytest.mark.parametrize(
    ("here", "there", "base", "where"),
    [
        (OLD, OLD, (OLD, OLD), ""),
        (NEW, OLD, (OLD, OLD), "out"),
        (OLD, NEW, (OLD, OLD), "back"),
        (NEW, OTHER, (OLD, OLD), "both"),
        (NEW, NEW, (OLD, OLD), "same"),
        (None, OLD, (OLD, OLD), "out"),
        (OLD, None, (OLD, OLD), "back"),
        (None, NEW, (OLD, OLD), "back kept"),
        (NEW, None, (OLD, OLD), "out kept"),
        (None, None, (OLD, OLD), "same"),
        (OLD, None, None, "out"),
        (None, OLD, None, "back"),
        (OLD, NEW, None, "both"),
        (OLD, NEW, (OLD, NEW), ""),
        (None, Entry("d"), (None, Entry("d")), ""),
    ],
)
def test_the_plan_for_one_path(
    here: Entry | None, there: Entry | None, base: tuple[Entry, Entry] | None, where: str
) -> None:
    def one(entry: Entry | None) -> dict[str, Entry]:
        return {"p": entry} if entry else {}

    plan = compare(one(here), one(there), {"p": base} if base else {}, set())
    assert " ".join(name for name, paths in vars(plan).items() if paths) == where


def test_nothing_is_planned_below_what_cannot_be_seen() -> None:
    plan = compare({}, {"d": Entry("d"), "d/a": OLD}, {"d/a": (OLD, OLD)}, {"d"})
    assert not any(vars(plan).values())


def test_a_broken_record_is_no_record(tmp_path: Path) -> None:
    file = tmp_path / "state"
    record = Record(file)
    with record.held():
        record.begin("x")
        record.set("a", OLD, NEW)
    with Record(file).held():
        pass
    file.write_bytes(file.read_bytes()[:20])
    again = Record(file)
    with again.held() as changed:
        assert changed and not again.pairs


def test_a_record_is_read_back_and_private(tmp_path: Path) -> None:
    record = Record(tmp_path / "state")
    with record.held():
        record.begin("x")
        record.set("\udcff", OLD, NEW)
        record.set("b", OLD, OLD)
    again = Record(tmp_path / "state")
    with again.held():
        assert again.pairs == {"\udcff": (OLD, NEW), "b": (OLD, OLD)} and again.ident == "x"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o600


def test_a_record_held_by_a_process_that_was_killed_is_free(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib\nfrom jupyter_gpu_remote.sync.record import Record\n"
        "with Record(pathlib.Path(sys.argv[1])).held():\n    print('held', flush=True)\n    time.sleep(60)\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", code, tmp_path / "state"], stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"held\n"
    holder.kill()
    holder.wait()
    holder.stdout.close()
    with Record(tmp_path / "state").held():
        pass


def test_a_report_says_what_happened_in_one_line() -> None:
    report = Report(sent=["a"], deleted=["b", "c"], bytes=1_500_000)
    assert str(report) == "1 file sent, 2 files deleted (1.5 MB)" and not Report()


def test_names_are_shown_so_that_they_can_be_read() -> None:
    assert [show(n) for n in ("a b", "a\nb", "\udcff")] == ["a b", "'a\\nb'", "'\\\\xff'"]


@pytest.mark.parametrize(("number", "text"), [(999, "999 B"), (1000, "1.0 kB"), (5_000_000_000, "5.0 GB")])
def test_sizes_read_as_people_write_them(number: int, text: str) -> None:
    assert size(number) == text


def test_a_disk_that_tells_upper_from_lower_case_is_known(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    assert not ignores_case(tmp_path / "a")
    (tmp_path / "A").symlink_to("a")
    assert ignores_case(tmp_path / "a")
