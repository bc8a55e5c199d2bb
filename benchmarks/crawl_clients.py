"""The clients that `crawl.py` compares, each in a process of its own.

Belongs here: fetching everything that the archive lists, in three ways. Counting what they stored does
not; `crawl.py` looks at the files. `python crawl_clients.py CLIENT URL PAGES THREADS FOLDER` prints a JSON
object when the crawl has returned: `started` (seconds since 1970), `seconds`, `cpu_seconds`.
"""

import concurrent.futures
import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import icrawler
import requests
from icrawler.downloader import ImageDownloader

from kwcolor_pipeline.crawling import fetcher  # noqa: F401 - the crawl imports it late; not on the clock here
from kwcolor_pipeline.crawling.crawl import crawl_partition
from kwcolor_pipeline.crawling.sources.base import Candidate, Limits, ListingPage, PagedSource
from kwcolor_pipeline.settings import load_settings

YEAR = "1943"


@dataclass(frozen=True)
class Task:
    """What every client is given to do."""

    url: str
    """Address of the archive"""
    pages: list[str]
    """Addresses of its listing pages"""
    threads: int
    folder: Path
    """Where to store pictures"""


class PageFeeder(icrawler.Feeder):
    """What icrawler's documentation asks its users to write: the addresses of the pages."""

    def feed(self, pages: Iterable[str]) -> None:
        for page in pages:
            self.output(page)


class PageParser(icrawler.Parser):
    """What icrawler's documentation asks its users to write: a task for each picture of a page."""

    def parse(self, response: requests.Response) -> Iterator[dict[str, str]]:
        for picture in response.json()["pictures"]:
            yield {"file_url": picture["url"]}


class ServedSource(PagedSource):
    """The archive as a source of ours, with limits that hold nothing back."""

    name = "benchmark"
    year_meaning = "taken"
    base_url_is_set = True

    def __init__(self, url: str, pages: Sequence[str], threads: int) -> None:
        self.base_url = url
        self._pages = pages
        self.page_limits = Limits(at_once=1)
        self.picture_limits = Limits(at_once=threads)

    def covers(self, partitions: Sequence[str]) -> set[str]:
        return {YEAR} & set(partitions)

    def first_pages(self, key: str) -> Iterable[str]:
        return self._pages

    def read_page(self, key: str, url: str, status: int, body: bytes) -> ListingPage:
        year = int(key)
        return ListingPage(
            [
                Candidate(
                    source=self.name,
                    source_id=picture["id"],
                    file_url=picture["url"],
                    licence="Public domain",
                    first_year=year,
                    last_year=year,
                )
                for picture in json.loads(body)["pictures"]
            ]
        )


def ours(task: Task) -> dict[str, Any]:
    """Crawl with this project's fetcher into a home of its own; what its report says."""
    settings = load_settings(home=task.folder, contact="https://example.org/benchmark")
    report = crawl_partition(settings, [ServedSource(task.url, task.pages, task.threads)], "crawled_photos", YEAR)
    return {
        "stored": report.stored,
        "rejected": report.rejected,
        "failed": report.failed,
        "incomplete": report.incomplete,
    }


def released(task: Task) -> dict[str, Any]:
    """Crawl with icrawler as released: its downloader, queues and storage, its default timeouts."""
    crawler = icrawler.Crawler(
        PageFeeder,
        PageParser,
        ImageDownloader,
        downloader_threads=task.threads,
        storage={"backend": "FileSystem", "root_dir": str(task.folder)},
    )
    crawler.crawl(feeder_kwargs={"pages": task.pages}, downloader_kwargs={"max_num": 0})  # 0: as many as there are
    return {}


def bare(task: Task) -> dict[str, Any]:
    """Only ask for everything, with one session of `requests` and some threads; nothing is stored."""
    with requests.Session() as session, concurrent.futures.ThreadPoolExecutor(task.threads) as pool:
        addresses = [picture["url"] for page in task.pages for picture in session.get(page).json()["pictures"]]
        sizes = list(pool.map(lambda address: len(session.get(address).content), addresses))
    return {"fetched": len(sizes), "bytes": sum(sizes)}


CLIENTS: dict[str, Callable[[Task], dict[str, Any]]] = {
    "ours": ours,
    "icrawler": released,
    "bare": bare,
}


def main(client: str, url: str, pages: str, threads: str, folder: str) -> None:
    """Crawl on the clock and print what came of it."""
    addresses = [f"{url}/listing?page={page}" for page in range(1, int(pages) + 1)]
    started, start, cpu = time.time(), time.perf_counter(), time.process_time()
    told = CLIENTS[client](Task(url, addresses, int(threads), Path(folder)))
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"started": started, "seconds": seconds, "cpu_seconds": cpu_seconds, "told": told}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
