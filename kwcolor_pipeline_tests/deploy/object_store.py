"""An S3 server for one test: moto in server mode, on a port of the loopback, with everything in its memory."""

import contextlib
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kwcolor_pipeline_tests.test_servers import free_ports

BUCKET = "photographs"


@dataclass(frozen=True)
class ObjectStore:
    """A running server with one bucket, and what a client of it has in its environment."""

    environment: dict[str, str]

    def names(self, prefix: str = "") -> list[str]:
        """Names of the objects below a prefix."""
        pages = _client(self.environment).get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return sorted(found["Key"] for page in pages for found in page.get("Contents", []))


def cannot_run() -> str | None:
    """Why no server can be started here; None where one can."""
    missing = [name for name in ("moto", "s3fs", "flask_cors") if importlib.util.find_spec(name) is None]
    return f"needs {', '.join(missing)}" if missing else None


@contextlib.contextmanager
def running_object_store(log: Path) -> Iterator[ObjectStore]:
    """A server with the bucket ``BUCKET``; afterwards it is gone and so is all that was in it."""
    (port,) = free_ports()[:1]
    environment = {
        "AWS_ACCESS_KEY_ID": "only-for-a-test",
        "AWS_SECRET_ACCESS_KEY": "only-for-a-test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        "NO_PROXY": "127.0.0.1",
    }
    with log.open("wb") as written:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        server = subprocess.Popen(command, stdout=written, stderr=written, env=os.environ | environment)
        try:
            _create_bucket(environment, server, log)
            yield ObjectStore(environment)
        finally:
            server.terminate()
            server.wait(60)


def _create_bucket(environment: dict[str, str], server: "subprocess.Popen[bytes]", log: Path) -> None:
    import botocore.exceptions

    deadline = time.monotonic() + 60
    while True:
        try:
            _client(environment).create_bucket(Bucket=BUCKET)
            return
        except botocore.exceptions.EndpointConnectionError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)


def _client(environment: dict[str, str]):
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        region_name=environment["AWS_DEFAULT_REGION"],
        aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
    )
