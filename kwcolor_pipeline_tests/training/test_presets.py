import pytest

from kwcolor_pipeline.settings import SettingsProblem
from kwcolor_pipeline.training.presets import PRESETS, Preset, load_preset

STAGES = ("pretrain", "critic", "gan")


def test_every_field_is_documented_and_every_preset_is_named() -> None:
    assert all(field.description for field in Preset.model_fields.values())
    assert {name: preset.name for name, preset in PRESETS.items()} == {name: name for name in PRESETS}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("field", sorted(Preset.model_fields))
def test_a_field_changes_its_stage_and_no_other(field: str) -> None:
    preset = PRESETS["demo"]
    changed = preset.model_copy(update={field: "something else"})
    differing = {stage for stage in STAGES if preset.of_stage(stage) != changed.of_stage(stage)}  # type: ignore[arg-type]
    prefix = field.partition("_")[0]
    if field == "name":
        assert differing == set()
    else:
        assert differing == ({prefix} if prefix in STAGES else set(STAGES))


def test_replaced_fields_may_be_text_and_empty_ones_are_the_presets_own() -> None:
    preset = load_preset("demo", {"size": "96", "pretrain_lr": "2e-4", "compile": "true", "seed": None})
    assert (preset.size, preset.pretrain_lr, preset.compile, preset.seed) == (96, 2e-4, True, 0)
    assert preset.gan_lr == PRESETS["demo"].gan_lr


@pytest.mark.parametrize(
    ("name", "replace", "says"),
    [
        ("paper2", {}, "no preset `paper2`; use one of: demo, paper, archive"),
        ("demo", {"size": 50}, "`size` of preset `demo`.*multiple of 32"),
        ("demo", {"size": "big"}, "`size`.*integer"),
        ("demo", {"learning_rate": 1}, "`learning_rate`.*not permitted"),
        ("demo", {"precision": "float16"}, "`precision`"),
        ("demo", {"seed": -1}, "`seed`"),
        ("demo", {"critic_widths": ()}, "`critic_widths`"),
        ("demo", {"generator_widths": (8, 8, 8)}, "`generator_widths"),
        ("demo", {"generator_widths": (8, 8, 8, 0)}, "`generator_widths.3`"),
        ("demo", {"pretrain_lr": 0}, "`pretrain_lr`"),
    ],
)
def test_a_wrong_preset_names_the_field(name: str, replace: dict[str, object], says: str) -> None:
    with pytest.raises(SettingsProblem, match=says) as problem:
        load_preset(name, replace)
    assert "\n" not in str(problem.value)
