"""Sphinx's settings for the book. Build it with book/build.py, which says what this expects."""

import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "extensions"))

from api_pages import write_api_pages  # noqa: E402
from chapters import copy_chapters  # noqa: E402

project = "tinyvit"
author = "the tinyvit authors"
copyright = "2026, the tinyvit authors"
language = "en"
version = release = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

# What is made from elsewhere, each time, and never committed.
copy_chapters(HERE.parent / "notebooks", HERE / "chapters", HERE / "derivations")
write_api_pages(HERE.parent / "tinyvit", HERE / "api")

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "docstrings",
    "interactive",
    "mathematics",
]
exclude_patterns = ["_build", "figures", "images", "make_data.py", "*.json"]  # the last two are no files of the site
suppress_warnings = ["mystnb.unknown_mime_type"]
on_paper = tags.has("print") or tags.has("epub")  # noqa: F821 (Sphinx brings the name)
if on_paper:
    extensions.append("paper")
    exclude_patterns.append("api/tinyvit*")
    suppress_warnings.append("toc.excluded")

# Chapters are executed by notebooks/build.py; here their outputs are shown as they were committed.
nb_execution_mode = "off"
nb_merge_streams = True
nb_ipywidgets_js = {}  # no widgets, and so nothing from a network
myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_mock_imports = ["torch"]  # only the bench's comparison takes it, and readers may not have it
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_use_param = False  # names that share a line of a docstring share a line of the page
napoleon_custom_sections = [("Attributes", "params_style")]
napoleon_use_rtype = False
add_module_names = False
toc_object_entries = False  # the contents name modules, not each function
viewcode_line_numbers = True
viewcode_follow_imported_members = False  # its links back would lead to names that are not on the page

mathjax3_config = {
    # No menu: what it offers would have to be loaded from somewhere.
    "options": {"enableMenu": False},
    "svg": {"fontCache": "global"},
}

html_title = "tinyvit"
html_static_path = ["static"] if on_paper else ["static", "figures"]
html_css_files = ["book.css"]
html_favicon = "static/favicon.svg"
html_show_sourcelink = False
html_copy_source = False
if tags.has("print"):  # noqa: F821
    html_theme = "basic"
    html_css_files = ["print.css"]
    html_sidebars = {"**": []}
    html_domain_indices = html_use_index = False
else:
    html_theme = "sphinx_book_theme"
    html_theme_options = {
        "logo": {
            "image_light": "static/logo.svg",
            "image_dark": "static/logo_dark.svg",
            "alt_text": "tinyvit",
        },
        "show_navbar_depth": 1,
        "show_toc_level": 2,
        "use_download_button": False,
        "use_fullscreen_button": False,
        "back_to_top_button": False,
        "navbar_persistent": [],
        "footer_content_items": "copyright.html",
        "pygments_light_style": "a11y-high-contrast-light",
        "pygments_dark_style": "a11y-high-contrast-dark",
    }
    # Pages of source code do without the list of all chapters, which takes longer to make than the rest of a page.
    head = ["navbar-logo.html", "search-button-field.html"]
    html_context = {"default_mode": "auto"}  # as the reader's screen is: dark or light
    html_sidebars = {"[!_]**": [*head, "sbt-sidebar-nav.html"], "_modules/**": head}

epub_title = "tinyvit: a Vision Transformer from scratch"
epub_description = "Build a Vision Transformer, all of it, in Python and NumPy."
epub_uid = "tinyvit-book"
epub_identifier = "tinyvit-book"
epub_scheme = "URN"
epub_publisher = epub_contributor = author
epub_theme_options = {"relbar1": False, "footer": False}
epub_css_files = ["reader.css"]
epub_show_urls = "no"
epub_use_index = False
epub_tocscope = "includehidden"  # the site's lists of pages stand beside the page, not in it
epub_tocdepth = 2
