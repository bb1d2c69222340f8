"""Published checkpoints: Google's, timm's, Hugging Face's and tinyvit's own, read and written.

Each source is a file with a table of names. May import the rest of models, nn, files and errors.
"""

from tinyvit.models.published.load import load_pretrained
from tinyvit.models.published.save import FORMS, save_pretrained

__all__ = ["FORMS", "load_pretrained", "save_pretrained"]
