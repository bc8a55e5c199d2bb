import dagster as dg
import pytest

from kwcolor_pipeline_tests.orchestration.stand_ins import World


@pytest.fixture
def instance():
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


@pytest.fixture
def world(instance):
    return World(instance)
