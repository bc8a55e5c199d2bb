"""The sensor on the registry: a champion set by hand is shown once, and what shows it by itself is left alone."""

from types import SimpleNamespace

import dagster as dg
import pytest

from kwcolor_pipeline.orchestration.champion import champion_sensor


class Registry:
    """Stands for MLflow, with a champion of the test's choosing."""

    def __init__(self):
        self.number = None

    def open(self):
        return self

    def champion(self):
        return SimpleNamespace(number=self.number) if self.number else None


class Gallery:
    def __init__(self, world):
        self.world, self.registry, self.cursor = world, Registry(), None

    def shows(self, number):
        event = dg.AssetMaterialization("colorized_gallery", metadata={"model_version": number})
        self.world.instance.report_runless_asset_event(event)

    def tick(self):
        """Whether the gallery is asked for."""
        context = dg.build_sensor_context(
            instance=self.world.instance, cursor=self.cursor, resources={"mlflow": self.registry}
        )
        answer = champion_sensor(context)
        if isinstance(answer, dg.SkipReason):
            return False
        self.cursor = answer.cursor
        return bool(answer.run_requests)


@pytest.fixture
def gallery(world):
    return Gallery(world)


def test_without_gallery_or_champion_nothing_is_asked_for(gallery):
    gallery.registry.number = 2
    assert not gallery.tick()
    gallery.shows(1)
    gallery.registry.number = None
    assert not gallery.tick()


def test_each_move_of_the_alias_is_followed_once(gallery):
    gallery.shows(2)
    gallery.registry.number = 2
    assert not gallery.tick()
    for number in (1, 2, 1):
        gallery.registry.number = number
        assert gallery.tick()
        assert not gallery.tick()  # the run failed, or has not begun yet
        gallery.shows(number)
        assert not gallery.tick()


def test_a_move_back_after_a_failed_run_is_followed_later_again(gallery):
    gallery.shows(2)
    gallery.registry.number = 1
    assert gallery.tick()
    gallery.registry.number = 2  # somebody thought better of it
    assert not gallery.tick()
    gallery.registry.number = 1
    assert gallery.tick()


@pytest.mark.parametrize("asset", ["evaluation_report", "colorized_gallery"])
def test_what_is_under_way_is_waited_for(gallery, asset):
    gallery.shows(1)
    gallery.registry.number = 2
    under_way = gallery.world.begin(asset)
    assert not gallery.tick()
    gallery.world.instance.report_run_failed(under_way)
    assert gallery.tick()
