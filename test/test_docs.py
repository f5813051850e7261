"""Documentation goes stale unnoticed: its links, its reference pages and its sentences are measured here."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
from pathlib import Path
from types import ModuleType

import pytest

import vpr_ros

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "examples/README.md")] + sorted(DOCS.rglob("*.md"))
GUIDES = [ROOT / "README.md", DOCS / "index.md", DOCS / "quickstart.md", *sorted((DOCS / "guides").glob("*.md"))]
MOST_WORDS = 15


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings."""
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """`make docs` checks the site; this checks the same files as they are read in a repository."""
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(path.read_text())):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), target
        assert not anchor or anchor in anchors(page), target


def sentences(text: str) -> list[int]:
    """Words of each sentence of a page's prose: no code, tables or headings; `code` and a link's address are a word."""
    text = re.sub(r"<!--.*?-->", "", without_code(text), flags=re.S)
    text = re.sub(r"!\[[^]]*\]\([^)]*\)", "", text)
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"`[^`]*`", "code", text)
    lines = [line for line in text.splitlines() if not re.match(r"\s*(\||#)", line)]
    paragraphs = re.split(r"\n\s*\n|\n(?=\s*(?:[-*]|\d+\.) )", "\n".join(lines))
    found = [part for paragraph in paragraphs for part in re.split(r"(?<=[.!?])[*\"]*\s+", paragraph)]
    return [count for part in found if (count := len(re.findall(r"\w[\w'./-]*", part)))]


@pytest.mark.parametrize("path", GUIDES, ids=name_of)
def test_sentences_are_short(path: Path) -> None:
    """Who reads a guide wants to do something: 15 words to a sentence on average."""
    counts = sentences(path.read_text())
    assert sum(counts) / len(counts) <= MOST_WORDS, f"{sum(counts) / len(counts):.1f} words to a sentence"


def test_a_sentence_is_what_a_reader_takes_for_one() -> None:
    """The measure itself: a table, code or a heading must not make the average look shorter."""
    text = "# One\n\nTwo `vpr map build a b c` words. And [a link](x.md) here!\n\n| a | b |\n\n"
    text += "```\nno words\n```\n- x y\n- z"
    assert sentences(text) == [3, 4, 2, 1]


def test_the_readme_is_short() -> None:
    """The first page is read on one's feet."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec and spec.loader
    sys.modules[name] = module = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["parameters.md", "command_line.md"])
def test_reference_pages_are_those_of_the_code(name: str) -> None:
    """A stale reference is worse than none: python tools/make_reference.py writes both pages again."""
    assert (DOCS / "reference" / name).read_text() == tool("make_reference").PAGES[name](), (
        "run tools/make_reference.py"
    )


@pytest.mark.parametrize("path", sorted(DOCS.rglob("*.md")), ids=name_of)
def test_files_are_shown_as_they_are(path: Path) -> None:
    """Code that is read on a page is the code that the tests run: python tools/make_reference.py writes it again."""
    text = path.read_text()
    assert tool("make_reference").with_files(text) == text, "run tools/make_reference.py"


def test_the_api_page_has_every_public_name() -> None:
    """And no other."""
    shown = re.findall(r"^::: vpr_ros\.(\w+)$", (DOCS / "reference" / "python.md").read_text(), re.M)
    assert sorted(shown) == sorted(vpr_ros.__all__)


def test_every_page_is_in_the_navigation() -> None:
    """A page that nothing leads to is not read."""
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:")[2]
    assert sorted(re.findall(r"([\w/]+\.md)", navigation)) == sorted(
        str(path.relative_to(DOCS)) for path in DOCS.rglob("*.md")
    )


def test_every_benchmark_is_in_the_table() -> None:
    """A benchmark that no page names remakes nothing."""
    text = (DOCS / "benchmarks.md").read_text()
    for path in (ROOT / "benchmarks").glob("*.py"):
        part = path.stem.startswith("hostile_") and "`hostile_*.py`" in text
        assert part or path.name in text, path.name


def test_benchmarks_find_what_they_take_from_each_other() -> None:
    """They are scripts that no other test imports: one that changes must not break its neighbours."""
    scripts = {path.stem: ast.parse(path.read_text()) for path in (ROOT / "benchmarks").glob("*.py")}
    for name, script in scripts.items():
        for node in ast.walk(script):
            if isinstance(node, ast.ImportFrom) and node.module in scripts:
                body = scripts[node.module].body
                has = {one.name for one in body if isinstance(one, (ast.FunctionDef, ast.ClassDef))}
                assigned = [
                    target for one in body if isinstance(one, ast.Assign) for target in ast.walk(one.targets[0])
                ]
                has |= {target.id for target in assigned if isinstance(target, ast.Name)}
                missing = {alias.name for alias in node.names} - has
                assert not missing, f"{name} takes {missing} from {node.module}"


def test_figures_are_those_of_their_script() -> None:
    """A figure that somebody moved by hand is lost the next time it is drawn."""
    for name, make in tool("draw_figures").FIGURES.items():
        assert (DOCS / "images" / f"{name}.svg").read_text() == make().svg()


def test_the_release_is_the_same_everywhere() -> None:
    """A tag needs one version: of the package, its manifest, its messages, the changelog and the citation."""
    found = {
        "package.xml": r"<version>(.+?)</version>",
        "vpr_msgs/package.xml": r"<version>(.+?)</version>",
        "CITATION.cff": r"^version: (.+)$",
        "CHANGELOG.rst": r"^(\d\S+) \(\d{4}-\d\d-\d\d\)$",
    }
    for name, pattern in found.items():
        first = re.search(pattern, (ROOT / name).read_text(), re.M)
        assert first and first[1] == vpr_ros.__version__, name


def test_every_renamed_parameter_is_in_the_changelog() -> None:
    """Who updates a robot reads it there first."""
    from vpr_ros.localize.config import LocalizerConfig

    text = (ROOT / "CHANGELOG.rst").read_text()
    for old in LocalizerConfig.RENAMED:
        assert f"``{old}``" in text, old


def command_lines(path: Path, start: str) -> list[list[str]]:
    """The words of each line in a page's code blocks that begins so, comments left out."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", path.read_text(), re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").replace(" && ", "\n").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.startswith(start)]


@pytest.mark.parametrize("path", [page for page in PAGES if page.name != "command_line.md"], ids=name_of)
def test_vpr_commands_exist(path: Path) -> None:
    """The command and each of its options, on every page: an option that was renamed is found here first."""
    import typer

    from vpr_ros.cli.main import app

    for words in command_lines(path, "vpr "):
        command = typer.main.get_command(app)
        rest = words[1:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command = command.commands[rest.pop(0)]  # type: ignore[attr-defined]
        known = {flag for parameter in command.params for flag in parameter.opts} | {"--help"}
        assert not hasattr(command, "commands") or not rest or rest[0].startswith("-"), " ".join(words)
        for word in rest:
            if re.match(r"--?[a-z]", word):
                assert word.partition("=")[0] in known, f"{word} of {' '.join(words)}"


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_launch_arguments_exist(path: Path) -> None:
    """ros2 launch takes an argument that no launch file declares without a word."""
    for words in command_lines(path, "ros2 launch vpr_ros"):
        launch = (ROOT / "launch" / words[3]).read_text() + (ROOT / "vpr_ros" / "ros" / "launching.py").read_text()
        for word in words[4:]:
            if ":=" in word:
                assert f'"{word.partition(":=")[0]}"' in launch, word


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_files_that_commands_name_exist(path: Path) -> None:
    """A benchmark or tool that was moved."""
    for words in command_lines(path, "python "):
        assert (ROOT / words[1]).is_file(), " ".join(words)
