"""What `kwcolor run` says of a step that failed."""

import dagster as dg
import pytest

from kwcolor_pipeline.orchestration.incremental import Outcome, Step, execute
from kwcolor_pipeline.settings import SettingsProblem


def outcome_of(failure: Exception) -> Outcome:
    @dg.asset
    def photographs() -> None:
        try:
            raise OSError("the disk is far away")
        except OSError as error:
            raise failure from error

    definitions = dg.Definitions(assets=[photographs], jobs=[dg.define_asset_job("all", selection="*")])
    outcome = Outcome()
    with dg.DagsterInstance.ephemeral() as instance:
        execute(definitions, instance, Step("all", ("photographs",)), outcome, "edition")
    return outcome


def test_a_problem_of_the_operator_is_told_in_its_own_words_whatever_caused_it(capfd: pytest.CaptureFixture[str]):
    outcome = outcome_of(SettingsProblem("Plug the disk in."))
    assert outcome.problems == ["photographs: Plug the disk in."]
    assert outcome.failed
    assert outcome.could_not_start
    assert "Traceback" not in "".join(capfd.readouterr())


def test_another_failure_names_its_cause_and_where_its_traceback_is():
    outcome = outcome_of(RuntimeError("no idea"))
    assert len(outcome.problems) == 1
    assert outcome.problems[0].startswith("photographs: ")
    assert "the disk is far away" in outcome.problems[0]
    assert "run's page in Dagster" in outcome.problems[0]
    assert outcome.failed
    assert not outcome.could_not_start
