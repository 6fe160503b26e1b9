"""The rules of the look that a reader cannot see on the screen: tokens only, nothing inline, nothing unused."""

import ast
import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STATIC = ROOT / "dashboard" / "static"
VENDOR = STATIC / "vendor"
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
STYLES = sorted(path for path in (STATIC / "dashboard").glob("*.css") if path.name != "tokens.css")
SCRIPTS = sorted((STATIC / "dashboard").glob("*.js"))
PYTHON = sorted(path for path in (ROOT / "dashboard").rglob("*.py") if VENDOR not in path.parents)
# A link to a part of the page and a character by its number look like colours; #abc after them is not one.
COLOUR = re.compile(r"""(?<!href=")(?<!href=')(?<!&)#[0-9a-fA-F]{3,8}\b|\b(?:rgba?|hsla?|oklch|color-mix)\(""")
INLINE = re.compile(r"""\sstyle\s*=|<style\b|\son[a-z]+\s*=|\shx-on\b|javascript:""", re.IGNORECASE)
OPEN_SCRIPT = re.compile(r"<script\b([^>]*)>", re.IGNORECASE)
TEMPLATE_LOGIC = re.compile(r"{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)


def text_of(path: Path) -> str:
    return path.read_text("utf-8")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", STYLES + TEMPLATES, ids=named)
def test_colours_are_tokens(path):
    assert COLOUR.findall(text_of(path)) == []


@pytest.mark.parametrize("path", SCRIPTS, ids=named)
def test_scripts_hold_no_colour_and_run_no_text(path):
    text = text_of(path)

    assert COLOUR.findall(text) == []
    assert re.findall(r"\beval\(|new Function|innerHTML|outerHTML|document\.write", text) == []


def test_every_token_in_use_is_defined():
    tokens = set(re.findall(r"(--[\w-]+)\s*:", text_of(STATIC / "dashboard" / "tokens.css")))
    own = set(re.findall(r"[{;\s](--[\w-]+)\s*:", "".join(map(text_of, STYLES))))
    used = set(re.findall(r"var\((--[\w-]+)", "".join(map(text_of, STYLES))))
    used |= set(re.findall(r"css\(\"(--[\w-]+)\"", "".join(map(text_of, SCRIPTS))))
    used |= set(re.findall(r"\"(--[a-z][\w-]+)\"", text_of(ROOT / "dashboard" / "charts.py")))

    assert used - tokens - own == set()


@pytest.mark.parametrize("path", TEMPLATES, ids=named)
def test_templates_hold_nothing_inline(path):
    text = text_of(path)

    assert INLINE.findall(text) == []
    for attributes in OPEN_SCRIPT.findall(text):
        assert "src=" in attributes or 'type="application/json"' in attributes


@pytest.mark.parametrize("path", sorted((ROOT / "dashboard" / "templatetags").glob("*.py")), ids=named)
def test_tags_write_nothing_inline(path):
    assert INLINE.findall(text_of(path)) == []


def test_every_icon_in_use_is_in_the_sprite():
    sprite = set(re.findall(r'<symbol id="tabler-([\w-]+)"', text_of(VENDOR / "icons.svg")))
    used = {name for path in TEMPLATES for name in re.findall(r'{% icon "([\w-]+)"', text_of(path))}
    used |= {name for path in TEMPLATES for name in re.findall(r'{% chip "\w+" "([\w-]+)"', text_of(path))}
    used |= {name for path in PYTHON for name in icons_of(path)}

    assert used - sprite == set()
    assert sprite == set(text_of(VENDOR / "icons.txt").split())


def icons_of(path: Path) -> list[str]:
    """Return the icon names that a module hands to the parts, by the place they have in each call."""
    places = {"Band": 1, "Empty": 0, "Page": 2, "icon": 0, "chip": 1}
    found = []
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            arguments = [keyword.value for keyword in node.keywords if keyword.arg == "icon"]
            if name in places and len(node.args) > places[name]:
                arguments.append(node.args[places[name]])
            found += [value.value for value in arguments if isinstance(value, ast.Constant)]
    return found


def test_every_icon_of_the_chips_is_in_the_sprite():
    from dashboard.templatetags.look import MOVEMENTS, STATES

    sprite = text_of(VENDOR / "icons.svg")

    for _, glyph, _ in [*MOVEMENTS.values(), *STATES.values()]:
        assert f'id="tabler-{glyph}"' in sprite


def test_every_vendored_file_is_used_and_has_its_licence():
    users = "".join(map(text_of, TEMPLATES + PYTHON + [STATIC / "dashboard" / "tokens.css"]))
    kept = {"README.md", "fetch.py", "icons.txt"}
    served = [
        path for path in VENDOR.rglob("*") if path.is_file() and path.name not in kept and "LICENSE" not in path.name
    ]

    assert served
    for path in served:
        assert f"vendor/{path.relative_to(VENDOR)}" in users
        assert list(path.parent.glob("*LICENSE")), f"{path.name} has no licence beside it"


def test_every_static_file_named_in_a_template_exists():
    named_files = {name for path in TEMPLATES for name in re.findall(r"""{% static ['"]([^'"]+)['"]""", text_of(path))}

    assert [name for name in named_files if not (STATIC / name).is_file()] == []


def test_every_class_in_a_template_is_defined():
    defined = set(re.findall(r"\.([a-zA-Z][\w-]*)", "".join(map(text_of, [*STYLES, VENDOR / "tabler.min.css"]))))
    used = set()
    for path in TEMPLATES:
        for value in re.findall(r'\sclass="((?:{%.*?%}|{{.*?}}|[^"])*)"', text_of(path)):
            # A name that logic completes, as band-{{ kind }}, is left out; what stands whole is checked.
            whole = re.sub(r"[\w-]+-(?:{{.*?}}|{%.*?%}[\w-]*)+", " ", value)
            used |= set(TEMPLATE_LOGIC.sub(" ", whole).split())

    assert used - defined == set()


def test_the_vendor_readme_names_the_versions_that_are_fetched():
    spec = importlib.util.spec_from_file_location("fetch", VENDOR / "fetch.py")
    fetch = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch)
    readme = text_of(VENDOR / "README.md")

    for package, version in fetch.PACKAGES.items():
        assert f"`{package}` | {version} |" in readme


def test_the_browser_draws_with_the_plotly_that_checks_our_figures():
    from plotly.offline import get_plotlyjs_version

    assert f"v{get_plotlyjs_version()}\n" in text_of(VENDOR / "plotly-cartesian.min.js")[:100]
