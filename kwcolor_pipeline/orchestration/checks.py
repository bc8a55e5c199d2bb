"""Asset checks: what has to hold of an asset before anything is built on it.

The checks of partitioned assets come with their materialization (one result per year); the
others are assets checks of their own. https://docs.dagster.io/guides/test/asset-checks
"""

import warnings

import dagster as dg

from kwcolor_pipeline.orchestration.metadata import count_table, most_frequent, shortened, some_of
from kwcolor_pipeline.orchestration.shared_home import shares_home
from kwcolor_pipeline.orchestration.step_resources import MEASURING
from kwcolor_pipeline.settings import Settings

STORED_SOME = "listed_photographs_were_stored"


def stored_some_spec(asset: str, years: dg.PartitionsDefinition) -> dg.AssetCheckSpec:
    """Blocking: a year whose sources listed photographs stored some of them. Each year has its own result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", dg.PreviewWarning)  # partitions_def: else a good year hides a bad one
        return dg.AssetCheckSpec(
            STORED_SOME,
            asset=asset,
            partitions_def=years,
            blocking=True,
            description="If the sources listed photographs for this year, at least one of them was stored.",
        )


def stored_some(asset: str, listed: int, stored: int, reasons: dict[str, int]) -> dg.AssetCheckResult:
    """The result of that check for one year."""
    passed = stored > 0 or listed == 0
    largest = most_frequent(reasons, "other reasons")
    why = ", ".join(f"{reason.replace('_', ' ')}: {count}" for reason, count in largest.items())
    return dg.AssetCheckResult(
        check_name=STORED_SOME,
        asset_key=asset,
        passed=passed,
        severity=dg.AssetCheckSeverity.ERROR,
        description=None if passed else f"None of the {listed} photographs that the sources list was stored ({why}).",
        metadata={"listed": listed, "stored": stored, "reasons": count_table(reasons, "reason")},
    )


@dg.asset_check(
    asset="grayscale_pairs",
    blocking=True,
    op_tags=MEASURING,
    description="Every pair decodes, grey and colour have one size and agree, no cluster is in two splits.",
)
@shares_home("grayscale_pairs", check=True)
def pairs_are_readable_and_aligned(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Reads every shard once."""
    from kwcolor_pipeline.photos.pairs import check_pairs

    problems = check_pairs(settings.paths)
    return dg.AssetCheckResult(
        passed=not problems,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"{shortened(problems[0])}; delete that shard below pairs/ and run again." if problems else None,
        metadata={"problems": len(problems), "first_problems": dg.MetadataValue.json(some_of(problems))},
    )


def _weights_are_finite(asset: str) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        asset=asset,
        name="weights_are_finite",
        blocking=True,
        op_tags=MEASURING,
        description="No weight is infinite or not a number.",
    )
    @shares_home(asset, check=True)
    def check(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        from kwcolor_pipeline.networks.bundle import nonfinite_tensors
        from kwcolor_pipeline.training.stages import latest

        bundle = latest(settings.paths, asset).bundle
        broken = nonfinite_tensors(bundle)
        remedy = f"{len(broken)} tensors in {bundle.weights_file} are not finite; delete that folder and train again."
        return dg.AssetCheckResult(
            passed=not broken,
            severity=dg.AssetCheckSeverity.ERROR,
            description=remedy if broken else None,
            metadata={"broken_tensors": some_of(broken)},
        )

    return check


def _verdict_check(name: str, description: str) -> dg.AssetChecksDefinition:
    """A check of the latest verdict. It only warns: a model that does not pass is not promoted, which harms nobody."""

    @dg.asset_check(asset="evaluation_report", name=name, op_tags=MEASURING, description=description)
    @shares_home("evaluation_report", check=True)
    def check(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
        from kwcolor_pipeline.evaluation.comparison import latest_comparison

        verdict = latest_comparison(settings).verdict
        problem = verdict.problems.get(name)
        return dg.AssetCheckResult(
            passed=problem is None,
            severity=dg.AssetCheckSeverity.WARN,
            description=problem,
            metadata={"verdict": verdict.reason},
        )

    return check


@dg.asset_check(
    asset="evaluation_report",
    name="no_test_photograph_was_trained_on",
    op_tags=MEASURING,
    description="No test photograph, and no part of one, is among the pairs that train or that choose the epoch.",
)
@shares_home("evaluation_report", check=True)
def no_test_photograph_was_trained_on(settings: dg.ResourceParam[Settings]) -> dg.AssetCheckResult:
    """Looks at the pictures in the shards; those of shards that are unchanged were looked at before."""
    from kwcolor_pipeline.evaluation.leaks import find_leaks, leaked

    leaks = find_leaks(settings)
    return dg.AssetCheckResult(
        passed=not leaks,
        severity=dg.AssetCheckSeverity.ERROR,
        description=leaked(leaks),
        metadata={"leaks": len(leaks), "first_leaks": dg.MetadataValue.json(some_of([str(leak) for leak in leaks]))},
    )


CHECKS = [
    pairs_are_readable_and_aligned,
    *(_weights_are_finite(asset) for asset in ("pretrained_generator", "critic", "gan_model")),
    no_test_photograph_was_trained_on,
    _verdict_check("better_than_grey", "The model is better than leaving the photographs grey."),
    _verdict_check("not_worse_than_the_champion", "The model is not surely worse than the champion."),
    _verdict_check("colours_did_not_collapse", "The model's colours are neither all but gone nor all of one hue."),
]
