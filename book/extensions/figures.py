"""The interactive figures of book/figures: copies them beside the site's other files."""

from pathlib import Path


def setup(app) -> dict:
    folder = Path(app.confdir) / "figures"
    if folder.is_dir():
        app.config.html_static_path = [*app.config.html_static_path, "figures"]
    return {"parallel_read_safe": True}
