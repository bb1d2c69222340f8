"""The config: what it refuses and how."""

import dataclasses
import json

import pytest
from vits import SMALL, small

from tinyvit.errors import InputError
from tinyvit.models import SIZES, ViTConfig
from tinyvit.models.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_size": 0}, "image_size is 0: it must be at least 1"),
        ({"patch_size": -4}, "patch_size is -4: it must be at least 1"),
        ({"channels": 0}, "channels is 0: it must be at least 1"),
        ({"width": 0}, "width is 0: it must be at least 1"),
        ({"depth": 0}, "depth is 0: it must be at least 1"),
        ({"heads": 0}, "heads is 0: it must be at least 1"),
        ({"mlp_width": 0}, "mlp_width is 0: it must be at least 1"),
        ({"classes": -1}, "classes is -1: it must be at least 0"),
        ({"representation": -1}, "representation is -1: it must be at least 0"),
        ({"dropout": 1.0}, "dropout is 1.0: it must be at least 0 and less than 1"),
        ({"dropout": float("nan")}, "dropout is nan: it must be at least 0 and less than 1"),
        ({"stochastic_depth": -0.1}, "stochastic_depth is -0.1: it must be at least 0 and less than 1"),
        ({"norm_eps": 0.0}, "norm_eps is 0.0: it must be more than 0"),
        ({"pool": "zz"}, "unknown pool 'zz': known are class_token, mean"),
        ({"pool": "means"}, "unknown pool 'means': did you mean 'mean'? known are class_token, mean"),
        ({"gelu": None}, "unknown gelu None: known are tanh, exact"),
        (
            {"position_embedding": "sinusodial"},
            "unknown position embedding 'sinusodial': did you mean 'sinusoidal'? "
            "known are learned, learned_2d, sinusoidal, none",
        ),
        ({"patch_size": 5}, "patch size 5 does not divide image size 12: choose one of 1, 2, 3, 4, 6, 12"),
        ({"heads": 5}, "5 heads do not divide width 24: choose one of 1, 2, 3, 4, 6, 8, 12, 24 heads"),
        (
            {"width": 9, "heads": 3, "position_embedding": "learned_2d"},
            "width 9 is odd: a 2-D position embedding needs an even one",
        ),
        ({"registers": -1}, "registers is -1: it must be at least 0"),
        ({"layer_scale": -0.1}, "layer_scale is -0.1: it must be at least 0"),
        ({"layer_scale": float("nan")}, "layer_scale is nan: it must be at least 0"),
        ({"stem": "resnets"}, "unknown stem 'resnets': did you mean 'resnet'? known are patches, resnet"),
        ({"stem_convention": "Timm"}, "unknown stem convention 'Timm': did you mean 'timm'? known are official, timm"),
        ({"stem_depths": (3, 0)}, "stem_depths is (3, 0): give numbers of at least 1, such as (3, 4, 9)"),
        ({"stem_depths": (3, 1.5)}, "stem_depths is (3, 1.5): give numbers of at least 1, such as (3, 4, 9)"),
        (
            {"stem": "resnet"},
            "patch size 4 is no multiple of 16, the stride of a ResNet stem of stem_depths (3, 4, 9)",
        ),
        (
            {"stem": "resnet", "stem_depths": (2,), "patch_size": 6},
            "patch size 6 is no multiple of 4, the stride of a ResNet stem of stem_depths (2,)",
        ),
        (
            {"distillation": True, "pool": "mean"},
            'distillation needs the pool "class_token", and no representation layer',
        ),
        (
            {"distillation": True, "representation": 3},
            'distillation needs the pool "class_token", and no representation layer',
        ),
        (
            {"width": 6, "position_embedding": "sinusoidal"},
            "width 6 is no multiple of 4: a sinusoidal position embedding needs one",
        ),
        (
            {"channels": 1, "preprocessing": Preprocessing((0.5,) * 3, (0.5,) * 3)},
            "preprocessing has a mean for 3 channels, the model has 1",
        ),
    ],
)
def test_a_bad_config_says_what_and_what_to_do(changes, message):
    with pytest.raises(InputError) as caught:
        small(**changes)
    assert str(caught.value) == message
    assert "\n" not in message


def test_named_sizes():
    assert set(SIZES) == {"nano", "tiny", "small", "base", "large", "huge"}
    config = ViTConfig.named("base", image_size=384, patch_size=32, width=384)
    assert (config.width, config.depth, config.heads, config.mlp_width, config.tokens) == (384, 12, 12, 3072, 145)
    with pytest.raises(InputError, match=r"^unknown size 'Tinny': did you mean 'tiny'\? known are nano, tiny, "):
        ViTConfig.named("Tinny")


def test_a_config_read_back_is_the_same():
    preprocessing = Preprocessing(mean=IMAGENET_MEAN[:2], std=IMAGENET_STD[:2], crop=0.9)
    hybrid = small(stem="resnet", stem_depths=(1,), distillation=True, layer_scale=0.5, preprocessing=preprocessing)
    for config in (SMALL, hybrid):
        assert ViTConfig.from_dict(json.loads(json.dumps(dataclasses.asdict(config)))) == config
        assert hash(config) != hash(small(depth=7))
    before = {"image_size": 12, "patch_size": 4, "width": 24, "heads": 2}  # a file of the first version
    assert ViTConfig.from_dict(before) == ViTConfig(**before)
    assert ViTConfig.from_dict({"dropout": 0}).dropout == 0  # JSON writes 0.0 as 0 where it can
    for values, message in (
        ({"widht": 3}, "unknown model field 'widht': did you mean 'width'?"),
        ({"width": "64"}, "model field width is '64': it must be of type int"),
        ({"width": 64.0}, "model field width is 64.0: it must be of type int"),
        ({"heads": True}, "model field heads is True: it must be of type int"),
        ({"pool": 3}, "model field pool is 3: it must be of type str"),
        ({"distillation": 1}, "model field distillation is 1: it must be of type bool"),
        ({"stem_depths": 3}, "model field stem_depths is 3: it must be of type tuple"),
        ({"preprocessing": [0.5]}, "model field preprocessing is (0.5,): it must be of type Preprocessing"),
        ({"preprocessing": {"meen": [0.5]}}, "unknown preprocessing field 'meen': did you mean 'mean'?"),
        ({"heads": 7}, "7 heads do not divide width 768"),
    ):
        with pytest.raises(InputError) as caught:
            ViTConfig.from_dict(values)
        assert str(caught.value).startswith(message)
