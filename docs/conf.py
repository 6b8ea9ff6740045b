"""How Sphinx builds the site. `uda site` lays out its sources, and runs it."""

from uda_lessons.colab import PUBLISHED, is_named

project = html_title = "uda-core"
root_doc = "index"
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "uda_lessons.site.extension",
]
exclude_patterns = ["README.md"]  # parts of it are included

nb_execution_mode = "off"  # `uda site --run` forces it
nb_execution_timeout = 900
nb_execution_raise_on_error = True
nb_ipywidgets_js = {}  # nothing comes from another host
nb_merge_streams = True
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "dollarmath"]
suppress_warnings = ["myst.header"]  # a page that begins with a smaller heading

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(?!uda_core\.).*|.*\.SettingsT")]  # of torch and Python; a type variable

html_theme = "sphinx_book_theme"
html_math_renderer = "mathml"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_copyright = False
html_show_search_summary = False  # it is fetched, which a page from disk may not do
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the search stands in the sidebar
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
    "footer_content_items": [],
}
if is_named(PUBLISHED):
    repository, tag = PUBLISHED.split("@")
    html_theme_options |= {
        "repository_url": f"https://github.com/{repository}",
        "repository_branch": tag,
        "use_repository_button": True,
    }
