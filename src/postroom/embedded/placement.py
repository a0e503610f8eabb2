"""Whom the servers run as, and where their files lie: PostgreSQL refuses root, and root's folders."""

import hashlib
import os
import pwd
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from postroom.embedded.command import CommandFailed
from postroom.embedded.datadir import DataDir

# Every user can pass through here, unlike through /root or a private home.
MOVED_HOMES = Path("/var/lib/postroom")

_NOT_TO_COPY = shutil.ignore_patterns("include", "*.py", "__pycache__")


@dataclass(frozen=True)
class ServerUser:
    """Whom root turns into for the servers."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Placement:
    """`user` is None where this process is not root: the servers then run as whoever it is."""

    cluster: Path
    user: ServerUser | None

    def own(self, path: Path) -> None:
        if self.user:
            os.chown(path, self.user.uid, self.user.gid)


def place(data: DataDir, environ: Mapping[str, str], password: str) -> Placement:
    """Settles both questions; afterwards the cluster's folder is there and belongs to its user."""
    cluster = data.root / "cluster"
    if os.geteuid() != 0:
        _require_own_passwd_entry()
        _require_ownership(cluster)
        placement = Placement(cluster, None)
    else:
        user = _user_for_root(cluster, environ)
        placement = Placement(_reachable_cluster(data, cluster, user, password), user)
    placement.cluster.mkdir(mode=0o700, exist_ok=True)
    placement.own(placement.cluster)
    _require_password(placement.cluster, password)
    return placement


def moved_home(data: DataDir) -> Path:
    """Where the cluster goes when its user cannot reach the data directory; one for each path."""
    return MOVED_HOMES / _digest(str(data.root.resolve()))[:16]


def reachable_program(program: Path, placement: Placement) -> Path:
    """`program` itself, or its twin in a copy of its wheel that the servers' user can reach."""
    if not placement.user or _can(placement.user, program, os.X_OK):
        return program
    package = _wheel_package_of(program)
    if not package:
        raise CommandFailed(f"The user {placement.user.name} is not allowed to run {program}.")
    stamp = f"{program}:{program.stat().st_mtime_ns}"
    copy = MOVED_HOMES / "programs" / _digest(stamp)[:16]
    if not copy.is_dir():
        _copy_package(package, copy)
    return copy / program.relative_to(package.parent)


def forget_lost_homes() -> None:
    """Removes moved clusters whose data directory was deleted; nothing else would ever do it."""
    for note in MOVED_HOMES.glob("*/data-dir"):
        if not Path(note.read_text()).exists():
            shutil.rmtree(note.parent)


def _require_own_passwd_entry() -> None:
    try:
        pwd.getpwuid(os.geteuid())
    except KeyError:
        raise CommandFailed(
            f"The user id {os.geteuid()} has no entry in the password file, which PostgreSQL needs:"
            " add one, or set DATABASE_URL to a running server."
        ) from None


def _require_ownership(cluster: Path) -> None:
    if cluster.exists() and cluster.stat().st_uid != os.geteuid():
        raise CommandFailed(
            f"{cluster} belongs to another user (id {cluster.stat().st_uid}):"
            " start as that user or as root, or choose another --data-dir."
        )


def _user_for_root(cluster: Path, environ: Mapping[str, str]) -> ServerUser:
    # A cluster keeps its owner: PostgreSQL refuses files that belong to anybody else.
    if cluster.exists() and (owner := cluster.stat().st_uid):
        return _user_by_id(owner)
    for name in (environ.get("SUDO_USER", ""), "postgres", "nobody"):
        if (user := _user_by_name(name)) and user.uid != 0:
            return user
    raise CommandFailed(
        "PostgreSQL refuses to run as root, and there is no user `postgres` or `nobody` to run it"
        " as: start as an ordinary user, or set DATABASE_URL to a running server."
    )


def _user_by_id(uid: int) -> ServerUser:
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise CommandFailed(
            f"The cluster belongs to the user id {uid}, which has no entry in the password file."
        ) from None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _user_by_name(name: str) -> ServerUser | None:
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return None
    return ServerUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _reachable_cluster(data: DataDir, cluster: Path, user: ServerUser, password: str) -> Path:
    if _can(user, data.root, os.X_OK):
        return cluster
    if cluster.exists():
        raise CommandFailed(
            f"The user {user.name}, to whom {cluster} belongs, can no longer reach it:"
            " let others pass through the folders above it, or delete it to start empty."
        )
    home = moved_home(data)
    # Another password means that the data directory was deleted and made anew: start empty, too.
    if home.exists() and not _was_made_for(home / "cluster", password):
        shutil.rmtree(home)
    home.mkdir(mode=0o711, parents=True, exist_ok=True)
    (home / "data-dir").write_text(str(data.root.resolve()))
    return home / "cluster"


def _require_password(cluster: Path, password: str) -> None:
    note = cluster / "made-for"
    if not note.exists():
        note.write_text(_digest(password))
    elif not _was_made_for(cluster, password):
        raise CommandFailed(
            f"The cluster in {cluster} was made with another password than the one kept beside it:"
            " restore servers.json, or delete the cluster to start empty."
        )


def _was_made_for(cluster: Path, password: str) -> bool:
    note = cluster / "made-for"
    return note.exists() and note.read_text() == _digest(password)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _can(user: ServerUser, path: Path, mode: int) -> bool:
    """Asks the kernel, as that user: mode bits alone know nothing of access lists."""
    child = os.fork()
    if child == 0:
        allowed = False
        try:
            os.setgroups([])
            os.setgid(user.gid)
            os.setuid(user.uid)
            allowed = os.access(path, mode)
        finally:
            os._exit(0 if allowed else 1)
    return os.waitpid(child, 0)[1] == 0


def _wheel_package_of(program: Path) -> Path | None:
    folders = ("site-packages", "dist-packages")
    return next((path for path in program.parents if path.parent.name in folders), None)


def _copy_package(package: Path, copy: Path) -> None:
    # Whole or not at all: a start that is killed half-way leaves only the folder aside.
    aside = copy.with_name(f"{copy.name}.{os.getpid()}")
    aside.mkdir(mode=0o755, parents=True)
    # A wheel's bundled libraries lie beside its package.
    for folder in (package, package.with_name(package.name + ".libs")):
        if folder.is_dir():
            shutil.copytree(folder, aside / folder.name, symlinks=True, ignore=_NOT_TO_COPY)
    try:
        aside.rename(copy)
    except OSError:
        # Another start was quicker with the same copy.
        if not copy.is_dir():
            raise
        shutil.rmtree(aside)
