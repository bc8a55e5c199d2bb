"""What both crawl assets have in common: how a year is crawled, and what is said about it."""

import functools
from collections.abc import Sequence

import dagster as dg

from kwcolor_pipeline.crawling.crawl import CrawlReport, crawl_partition
from kwcolor_pipeline.crawling.intake import Tone
from kwcolor_pipeline.crawling.requesting import HostTraffic
from kwcolor_pipeline.crawling.sources import open_sources
from kwcolor_pipeline.orchestration.checks import stored_some
from kwcolor_pipeline.orchestration.jobs import EDITION_TAG
from kwcolor_pipeline.orchestration.metadata import count_table, some_of, table, thumbnail_sheet
from kwcolor_pipeline.orchestration.source_pools import slot_for
from kwcolor_pipeline.photos.manifest import Status, read_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.photos.takedown import TAKEN_DOWN
from kwcolor_pipeline.settings import Settings


def crawl_year(
    context: dg.AssetExecutionContext, settings: Settings, specs: Sequence[str], *, target: bool, wanted_tone: Tone
) -> dg.MaterializeResult:
    """Crawl the partition of this run from the sources that ``specs`` names, and say what came of it."""
    report = crawl_partition(
        settings,
        open_sources(specs, settings, target=target),
        context.asset_key.to_user_string(),
        context.partition_key,
        wanted_tone=wanted_tone,
        edition=_edition(context.run),
        turn_of=functools.partial(slot_for, context),
    )
    return describe_crawl(context, report, settings)


def _edition(run: dg.DagsterRun) -> str:
    """What runs have in common that belong together: a `kwcolor run`, a backfill, a run and what retries it.

    A run that somebody executes once more, though it ended well, is to see what is new.
    """
    is_retry = "dagster/is_resume_retry" in run.tags or "dagster/retry_number" in run.tags
    own = (run.root_run_id if is_retry else None) or run.run_id
    return run.tags.get(EDITION_TAG) or run.tags.get("dagster/backfill") or own


def describe_crawl(context: dg.AssetExecutionContext, report: CrawlReport, settings: Settings) -> dg.MaterializeResult:
    """Counts, reasons, a thumbnail sheet, and the check of the year."""
    incomplete = some_of(report.incomplete)
    for sentence in incomplete:
        context.log.warning(f"This year is incomplete: {sentence}")
    rows = read_manifest(report.manifest)
    if not rows:
        context.log.info(f"No source has photographs for {report.key}.")
    stored = [row.photo_id for row in rows if row.status == Status.STORED and row.photo_id]
    reasons = {**report.rejected, **({"failed": report.failed} if report.failed else {})}
    rejected = sum(report.rejected.values())
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "listed": report.listed,
            "stored": report.stored,
            "rejected": rejected,
            "failed": report.failed,
            **({"rejected_share": round(rejected / len(rows), 3)} if rows else {}),
            "reasons": count_table(reasons, "reason"),
            "downloaded_files": report.downloaded,
            "downloaded_bytes": report.bytes,
            "hosts": table([{"host": host, **vars(traffic)} for host, traffic in _most_asked(report)]),
            "complete": not report.incomplete,
            "problems": dg.MetadataValue.json(incomplete),
            "manifest": dg.MetadataValue.path(str(report.manifest)),
            **thumbnail_sheet(PhotoStore(settings.paths.photos), stored),
        },
        data_version=dg.DataVersion(report.data_version),
        check_results=[
            # What was taken down is listed and not stored, as it should be.
            stored_some(report.asset, report.listed - report.rejected.get(TAKEN_DOWN, 0), report.stored, reasons)
        ],
    )


def _most_asked(report: CrawlReport) -> list[tuple[str, HostTraffic]]:
    """What each host was asked, the one that was asked most first."""
    return sorted(report.hosts.items(), key=lambda item: (-item[1].requests, item[0]))
