"""The tiny model and recipes of the training tests."""

from tests.core.training.conftest import make_recipe, tiny_model

__all__ = ["make_recipe", "tiny_model"]
