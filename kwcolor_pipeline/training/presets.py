"""Presets: every knob of a training, flat, documented and logged whole.

No heavy import here: Dagster shows these fields in its launchpad.
"""

from typing import Annotated, Any, Literal

import pydantic
from pydantic import BaseModel, ConfigDict, Field

from kwcolor_pipeline.settings import SettingsProblem

#: Raise when a change in the networks or in training changes what is learned.
CODE_VERSION = "2"

_Width = Annotated[int, Field(ge=1)]
#: Channels of the starter's decoder; what begins as the starter has the same.
STARTER_WIDTHS = (384, 256, 160, 96)


class Preset(BaseModel):
    """A training recipe. Fields that begin with a stage's name change only that stage and what follows it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="Name of the preset that this began as")
    recipe: Literal["archive", "paper"] = Field(
        "archive", description="Networks, losses and steps: ours (archive) or those of the paper of 2020"
    )
    original_faults: bool = Field(
        False, description="Recipe paper: restore the faults of fastai's code, as the paper had them"
    )
    seed: int = Field(0, ge=0, description="Seed of weights, order and augmentation")
    size: int = Field(64, ge=32, multiple_of=32, description="Side of a training crop in pixels")
    batch_size: int = Field(16, ge=2, description="Pictures a step")
    accumulate: int = Field(
        1,
        ge=1,
        description="Parts that a process takes its share of a step's pictures in, one after the other, to save memory",
    )
    precision: Literal["float32", "bfloat16"] = Field("float32", description="Arithmetic of the networks")
    compile: bool = Field(False, description="Compile the networks with torch.compile")
    capture: bool = Field(False, description="Recipe archive, on CUDA: pretrain with one CUDA graph a step")
    crop_scale: float = Field(
        1.5, ge=1, le=3, description="Shortest side at which a picture is seen whole, over the side of a crop"
    )
    lightness_jitter: float = Field(
        0.2, ge=0, lt=1, description="Spread of the gamma that only the input's lightness is given, never the target"
    )
    film_response: float = Field(
        0.0, ge=0, le=1, description="How far the input's grey may go from the eye's to a film's; 1: all the way"
    )
    blur: float = Field(0.0, ge=0, le=8, description="Width in pixels of the widest Gaussian that blurs the input")
    uneven_light: float = Field(
        0.0, ge=0, le=1, description="Dark corners and sides of the input; 1: up to half of the lightness"
    )
    grain: float = Field(0.0, ge=0, le=30, description="Largest deviation of the input's film grain, in units of L*")
    fade: float = Field(
        0.0, ge=0, le=1, description="Raised black and lowered white of the input; 1: up to a third of the range each"
    )
    scratches: float = Field(
        0.0, ge=0, le=1, description="Dust and scratches on the input; 1: up to 16 marks a picture, mostly fewer"
    )
    blockiness: float = Field(
        0.0, ge=0, le=1, description="Blocks in the input as of JPEG; 1: down to libjpeg's quality 25"
    )
    perceptual_weights: str = Field(
        "auto",
        description="Features of the perceptual losses: auto (VGG16 where it can be downloaded, else Lite0), "
        "bundled (Lite0), hub (VGG16, download), or a file of VGG16",
    )
    score_pictures: int = Field(
        64,
        ge=0,
        description="Validation photographs whose distribution of colours chooses the best epoch; "
        "with fewer than 50 the chroma error does",
    )
    ema_decay: float = Field(0.998, ge=0, lt=1, description="Decay a step of the averaged weights that are kept")

    encoder: str = Field("tf_efficientnet_lite0.in1k", description="timm name of the generator's encoder")
    encoder_weights: str = Field(
        "bundled", description="ImageNet weights: bundled (Lite0 only), hub (download), none (random), or a file"
    )
    generator_widths: tuple[_Width, _Width, _Width, _Width] = Field(
        (128, 96, 64, 48), description="Channels of the decoder at strides 16, 8, 4 and 2"
    )
    critic_widths: tuple[_Width, ...] = Field(
        (48, 96, 192, 192), min_length=1, description="Channels of the critic's layers"
    )

    pretrain_start: str = Field(
        "none",
        min_length=1,
        description="Generator to begin with: starter (the one that comes with the package), a folder with a model "
        "bundle, or none (the encoder's weights alone)",
    )
    pretrain_epochs: int = Field(12, ge=1, description="Passes over the training pictures with pixel loss")
    pretrain_min_steps: int = Field(240, ge=1, description="Steps at least, for small collections")
    pretrain_lr: float = Field(1e-3, gt=0, description="Largest learning rate of the one-cycle schedule")
    pretrain_encoder_lr_scale: float = Field(0.3, ge=0, le=1, description="The encoder's rate over the decoder's")
    pretrain_weight_decay: float = Field(1e-2, ge=0, description="Decoupled weight decay")
    pretrain_patience: int = Field(
        0, ge=0, description="Epochs without a better score after which pretraining stops; 0 for all epochs"
    )
    pretrain_frozen_epochs: int = Field(
        0, ge=0, description="Recipe paper: of the passes, so many in which the encoder is frozen"
    )
    pretrain_shallow_lr: float = Field(
        1e-6, gt=0, description="Recipe paper: largest rate of the encoder's first layers; it rises in equal ratios"
    )
    pretrain_perceptual_weight: float = Field(
        0.0, ge=0, description="Weight of the perceptual distance beside L1 on a*, b*; see perceptual_weights"
    )

    critic_epochs: int = Field(2, ge=1, description="Passes in which the critic learns to tell generated pictures")
    critic_min_steps: int = Field(90, ge=1, description="Steps at least, for small collections")
    critic_lr: float = Field(5e-4, gt=0, description="Learning rate")

    gan_epochs: int = Field(3, ge=1, description="Passes in which generator and critic learn together")
    gan_min_steps: int = Field(90, ge=1, description="Steps at least, for small collections")
    gan_patience: int = Field(
        0, ge=0, description="Epochs without a better score after which this stage stops; 0 for all epochs"
    )
    gan_lr: float = Field(2e-5, gt=0, description="Learning rate of the generator")
    gan_critic_lr: float = Field(1e-4, gt=0, description="Learning rate of the critic")
    gan_adversarial_weight: float = Field(0.03, ge=0, description="Weight of the critic's verdict beside L1")
    gan_pixel_weight: float = Field(1.0, ge=0, description="Recipe paper: weight of the mean squared error")
    gan_critic_threshold: float = Field(
        0.65, gt=0, description="Recipe paper: the critic learns until its batch loss is below; ln 2 is a guess"
    )
    gan_perceptual_weight: float = Field(0.0, ge=0, description="Weight of the perceptual distance")
    gan_colour_gain: float = Field(
        1.0,
        ge=1,
        le=3,
        description="Most that the finished model's chroma is multiplied with, so that validation photographs (50 at "
        "least) are as colourful as the originals; 1: it stays as it is",
    )

    @property
    def generator_architecture(self) -> dict[str, Any]:
        """What a bundle has to know to build the generator."""
        if self.recipe == "paper":
            return {"recipe": "paper", "encoder": self.encoder}
        return {"encoder": self.encoder, "widths": list(self.generator_widths)}

    @property
    def critic_architecture(self) -> dict[str, Any]:
        """What a bundle has to know to build the critic."""
        recipe = {"recipe": "paper"} if self.recipe == "paper" else {}
        return {**recipe, "widths": list(self.critic_widths)}

    def of_stage(self, *stages: Literal["pretrain", "critic", "gan"]) -> dict[str, Any]:
        """The fields that decide the result of a stage: the shared ones and those of ``stages``."""
        others = tuple(f"{stage}_" for stage in ("pretrain", "critic", "gan") if stage not in stages)
        kept = {key: value for key, value in self.model_dump().items() if not key.startswith(others) and key != "name"}
        return kept


PRESETS: dict[str, Preset] = {
    "demo": Preset(
        name="demo",
        generator_widths=STARTER_WIDTHS,
        pretrain_start="starter",
        # What the starter knows shall not be forgotten over a few photographs.
        pretrain_epochs=6,
        pretrain_min_steps=60,
        pretrain_lr=5e-5,
        critic_min_steps=40,
        gan_min_steps=40,
        film_response=0.4,
        blur=0.6,
        uneven_light=0.2,
        grain=2.0,
        fade=0.2,
        scratches=0.1,
        blockiness=0.2,
    ),
    # https://github.com/fastai/course-v3, lesson 7, with the paper's own numbers for the critic and the GAN.
    "paper": Preset(
        name="paper",
        recipe="paper",
        size=128,
        batch_size=32,
        crop_scale=2,
        lightness_jitter=0,
        ema_decay=0,
        encoder="resnet34.tv_in1k",
        encoder_weights="hub",
        critic_widths=(128, 256, 512, 1024),
        pretrain_epochs=5,
        pretrain_min_steps=1,
        pretrain_frozen_epochs=2,
        pretrain_lr=1e-3,
        pretrain_weight_decay=1e-3,
        critic_epochs=10,
        critic_min_steps=1,
        critic_lr=1e-3,
        gan_epochs=40,
        gan_min_steps=1,
        gan_lr=1e-4,
        gan_critic_lr=5e-4,
        gan_adversarial_weight=1,
        gan_pixel_weight=100,
    ),
    "archive": Preset(
        name="archive",
        size=256,
        batch_size=32,
        precision="bfloat16",
        compile=True,
        lightness_jitter=0.25,
        film_response=1.0,
        blur=1.5,
        uneven_light=0.5,
        grain=5.0,
        fade=0.5,
        scratches=0.3,
        blockiness=0.5,
        score_pictures=256,
        generator_widths=STARTER_WIDTHS,
        pretrain_start="starter",
        critic_widths=(64, 128, 256, 256),
        ema_decay=0.999,
        pretrain_epochs=40,
        pretrain_min_steps=4000,
        pretrain_lr=3e-4,
        pretrain_perceptual_weight=2.0,
        critic_epochs=4,
        critic_min_steps=500,
        gan_epochs=12,
        gan_min_steps=1500,
        gan_patience=4,
        gan_lr=2e-5,
        gan_critic_lr=8e-5,
        gan_adversarial_weight=0.05,
        gan_perceptual_weight=2.0,
        gan_colour_gain=1.6,
    ),
}


def load_preset(name: str, replace: dict[str, Any] | None = None) -> Preset:
    """The preset ``name`` with some fields replaced.

    Raises SettingsProblem that names the preset or the field and what it may be.
    """
    if name not in PRESETS:
        raise SettingsProblem(f"There is no preset `{name}`; use one of: {', '.join(PRESETS)}.")
    given = {key: value for key, value in (replace or {}).items() if value is not None}
    try:
        return Preset(**{**PRESETS[name].model_dump(), **given})
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise SettingsProblem(f"Training field `{field}` of preset `{name}`: {first['msg']}.") from error
