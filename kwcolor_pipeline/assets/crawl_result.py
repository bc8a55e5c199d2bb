"""What both crawl assets say about a crawled year."""

import dagster as dg

from kwcolor_pipeline.crawling.crawl import CrawlReport
from kwcolor_pipeline.orchestration.checks import stored_some
from kwcolor_pipeline.orchestration.metadata import count_table, thumbnail_sheet
from kwcolor_pipeline.photos.manifest import Status, read_manifest
from kwcolor_pipeline.photos.store import PhotoStore
from kwcolor_pipeline.settings import Settings


def describe_crawl(context: dg.AssetExecutionContext, report: CrawlReport, settings: Settings) -> dg.MaterializeResult:
    """Counts, reasons, a thumbnail sheet, and the check of the year."""
    for sentence in report.incomplete:
        context.log.warning(f"This year is incomplete: {sentence}")
    rows = read_manifest(report.manifest)
    if not rows:
        context.log.info(f"No source has photographs for {report.key}.")
    stored = [row.photo_id for row in rows if row.status == Status.STORED and row.photo_id]
    reasons = {**report.rejected, **({"failed": report.failed} if report.failed else {})}
    return dg.MaterializeResult(
        metadata={
            "dagster/row_count": len(rows),
            "listed": report.listed,
            "stored": report.stored,
            "rejected": count_table(reasons, "reason") if reasons else dg.MetadataValue.text("none"),
            "downloaded_files": report.downloaded,
            "downloaded_bytes": report.bytes,
            "complete": not report.incomplete,
            "problems": dg.MetadataValue.json(list(report.incomplete)),
            "manifest": dg.MetadataValue.path(str(report.manifest)),
            **thumbnail_sheet(PhotoStore(settings.paths.photos), stored),
        },
        data_version=dg.DataVersion(report.data_version),
        check_results=[stored_some(report.asset, report.listed, report.stored, reasons)],
    )
