"""Pre-trained models: their format, and those shipped with the package."""

from recbole_universal.pretrained.checkpoint import Pretrained, load_pretrained, save_pretrained, shipped

__all__ = ["Pretrained", "load_pretrained", "save_pretrained", "shipped"]
