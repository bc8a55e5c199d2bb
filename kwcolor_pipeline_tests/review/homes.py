"""Homes that have something to review, and a client of the server that knows what the page knows."""

import http.client
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from kwcolor_pipeline.home import Home
from kwcolor_pipeline.photos.curation import SCHEMA, curate, read_curated
from kwcolor_pipeline.photos.measured import Row
from kwcolor_pipeline.photos.near_duplicates import deduplicate
from kwcolor_pipeline.review.server import TOKEN_HEADER, ReviewServer
from kwcolor_pipeline_tests.photos.pictures import PhotoHome, encoded, scene

_REVIEWED = {"review": pa.string(), "number": pa.float32(), "threshold": pa.float32(), "copies": pa.int32()}


def curated(home: PhotoHome, **rows: Row) -> None:
    """Deduplicate and curate; then ``rows`` (photo_id -> columns) are as the test says."""
    deduplicate(home.settings)
    curate(home.settings)
    write_curated(
        home.settings.paths, [row | rows.get(row["photo_id"], {}) for row in read_curated(home.settings.paths)]
    )


def write_curated(home: Home, rows: list[Row]) -> None:
    known = {field.name: field.type for field in SCHEMA}
    path = home.manifests / "curated_photos" / "all.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema({**known, **_REVIEWED}.items())), path)


def small_home(root: Path, **settings: Any) -> tuple[PhotoHome, list[str]]:
    """A kept photograph, one that is kept and doubtful, one that is refused and doubtful, and one that is refused."""
    home = PhotoHome(root, **settings)
    ids = [
        home.add(encoded(scene(1)), title="Kept tank", year_taken=1942),
        home.add(encoded(scene(2)), title="Doubtful river", creator="Ä. Müller", year_taken=1943),
        home.add(encoded(scene(3).convert("L")), title="Grey bridge", year_taken=1944),
        home.add(encoded(scene(4).convert("L")), title="Grey road", date_text="ca. 1944"),
    ]
    doubts = {"review": "Perhaps grey", "threshold": 6.0}
    curated(home, **{ids[1]: {**doubts, "number": 6.3}, ids[2]: {**doubts, "number": 5.9}})
    return home, ids


class Client:
    """Asks a server as its page does."""

    def __init__(self, server: ReviewServer) -> None:
        self.server = server

    def ask(
        self, path: str, sent: Any = None, method: str | None = None, **headers: str | None
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body. ``headers`` replace the page's (``_`` for ``-``); None leaves one out."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=30)
        own: dict[str, str | None] = {"Host": f"127.0.0.1:{self.server.server_port}"}
        body = sent if isinstance(sent, bytes) or sent is None else json.dumps(sent).encode()
        if body is not None:
            own |= {"Content-Type": "application/json", TOKEN_HEADER: self.server.token}
            own["Content-Length"] = str(len(body))
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.putrequest(method or ("GET" if body is None else "POST"), path, skip_host=True)
            for name, value in own.items():
                if value is not None:
                    connection.putheader(name, value)
            connection.endheaders(body)
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        status, _, body = self.ask(path)
        assert status == 200, body
        return json.loads(body)

    def decide(self, photo_id: str, decision: str) -> Any:
        status, _, body = self.ask("/api/decisions", {"photo_id": photo_id, "decision": decision})
        assert status == 200, body
        return json.loads(body)
