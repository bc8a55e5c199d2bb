"""A PostgreSQL server for one test: Debian's binaries, a folder of its own, a port of the loopback, a password."""

import contextlib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PASSWORD = "only for a test"


@dataclass(frozen=True)
class Postgres:
    """A running server; ``address`` has its password in it."""

    port: int

    def address(self, database: str) -> str:
        return f"postgresql://kwcolor:{_PASSWORD.replace(' ', '%20')}@127.0.0.1:{self.port}/{database}"

    def create(self, database: str) -> str:
        """A new, empty database; gives its address."""
        import sqlalchemy

        engine = sqlalchemy.create_engine(self.address("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(f"CREATE DATABASE {database}"))
        engine.dispose()
        return self.address(database)


def postgres_binaries() -> Path | None:
    """Where Debian's package `postgresql` put `initdb` and `postgres`, the newest; None where it is not installed."""
    return max(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), default=None)


def cannot_run() -> str | None:
    """Why no server can be started here; None where one can."""
    if postgres_binaries() is None:
        return "needs Debian's postgresql"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "needs psycopg"
    return None


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """A server; afterwards it is stopped and its files are gone. It refuses root, which starts it as `postgres`."""
    binaries = postgres_binaries()
    assert binaries is not None
    user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
    # pytest's own folders may be closed to that user.
    home = Path(tempfile.mkdtemp(prefix="kwcolor-postgres-"))
    log = (home / "log").open("wb")
    data, password = home / "data", home / "password"
    password.write_text(_PASSWORD)
    for path in (home, password):
        shutil.chown(path, user)
    options = {"cwd": home, "stdout": log, "stderr": subprocess.STDOUT, "user": user, "extra_groups": []}
    if os.getuid() != 0:
        options = {name: value for name, value in options.items() if name not in ("user", "extra_groups")}
    try:
        subprocess.run(
            [
                *[binaries / "initdb", "-D", data, "-U", "kwcolor", "--auth=scram-sha-256", f"--pwfile={password}"],
                *["--no-sync", "--locale=C", "--encoding=UTF8"],
            ],
            check=True,
            **options,  # type: ignore[call-overload]
        )
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        settings = {"listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "fsync": "off"}
        server = subprocess.Popen(
            [binaries / "postgres", "-D", data, *(f"--{name}={value}" for name, value in settings.items())],
            **options,  # type: ignore[call-overload]
        )
        try:
            _wait_for(server, port, home / "log")
            yield Postgres(port)
        finally:
            server.send_signal(signal.SIGINT)  # ends its sessions, then itself
            server.wait(60)
    finally:
        log.close()
        shutil.rmtree(home)


def _wait_for(server: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise AssertionError(f"PostgreSQL did not start:\n{log.read_text()}")
