"""Slides of a lesson, made from its notebook and shown by reveal.js, with nothing to load from elsewhere.

No notebook says where its slides begin: headings, paragraphs and cells do. A slide shows the first sentence of each
paragraph and item, with equations, tables and the code beside an equation; its speaker notes hold the whole text.
"""

import ast
import importlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import nbformat
from nbconvert import SlidesExporter

from uda_core.errors import UserError
from uda_core.lab import results
from uda_lessons import films
from uda_lessons.exercises.questions import QUIZZES
from uda_lessons.site.build import tables

BODY = 575  # pixels below the title of a slide, which has 1280x720: a browser's window scales them
SHIPPED = {  # package -> folder in it, and what is taken from there to where
    "sphinx-revealjs": (
        "sphinx_revealjs/_static/revealjs",
        "reveal",
        (
            "LICENSE",
            "dist/reveal.css",
            "dist/reveal.js",
            "dist/theme/white.css",
            "dist/theme/fonts/source-sans-pro/*",
            "plugin/notes/notes.js",
        ),
    ),
    "django-static-mathjax": ("mathjax/static/mathjax", "mathjax", ("LICENSE", "es5/tex-svg.js")),
}
PAGE = """
{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}
{%- block html_head_js_mathjax -%}
<script>
MathJax = {
  tex: { inlineMath: [["$", "$"]], processEscapes: true },
  svg: { displayAlign: "left", displayIndent: "1em", matchFontHeight: false },
  options: { enableMenu: false },
};
</script>
<script src="mathjax/es5/tex-svg.js" defer></script>
{%- endblock -%}
{%- block footer_js -%}
<link rel="stylesheet" href="slides.css">
<script src="reveal/dist/reveal.js"></script>
<script src="reveal/plugin/notes/notes.js"></script>
<script>
Reveal.initialize({ width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: "c/t",
                    transition: "none", plugins: [RevealNotes] });
</script>
{%- endblock -%}
"""


@dataclass
class Slide:
    """One slide: Markdown to show, how many pixels it takes, what the speaker sees, which code cells to run."""

    title: str
    section: str = ""
    body: list[str] = field(default_factory=list)
    height: float = 0
    notes: list[str] = field(default_factory=list)
    cells: list[int] = field(default_factory=list)

    def add(self, text: str, height: float) -> None:
        """Put a block below the others."""
        self.body.append(text)
        self.height += height


class Talk:
    """The slides of one lesson, as they are made from cell after cell."""

    def __init__(self, path: Path):
        self.path, self.lesson = path, path.stem[:2]
        self.slides, self.names, self.rows = list[Slide](), Names(), dict[str, Any]()
        count = 0
        for cell in nbformat.read(path, as_version=4).cells:
            count += cell.cell_type == "code"
            if cell.source.startswith("## Appendix"):
                break
            if cell.cell_type == "markdown":
                self.text(cell.source)
            elif count > 1:  # the first one installs
                self.code(cell, count)

    # -- text ----------------------------------------------------------------------------------------------------------

    def text(self, source: str) -> None:
        """The blocks of a Markdown cell."""
        for block in blocks(source):
            if heading := re.match(r"(#+) (.*)", block):
                self.begin(heading[2], heading[2] if len(heading[1]) == 2 else self.section)
            elif block.startswith("[![Open in Colab]"):
                continue
            else:
                self.block(block)

    @property
    def section(self) -> str:
        """Under which heading the last slide stands."""
        return self.slides[-1].section if self.slides else ""

    def begin(self, title: str, section: str) -> Slide:
        """A new slide; one that nothing was put on is used again."""
        if self.slides and not self.slides[-1].body and not self.slides[-1].cells:
            self.slides.pop()
        self.slides.append(Slide(without_links(title), section))
        return self.slides[-1]

    def block(self, block: str) -> None:
        """A paragraph, list, table or piece of code: cut short on the slide, whole in the notes."""
        plain = without_links(block)
        lead = re.match(r"\*\*([^*]+?)(\*\*[.:?]|[.:?]\*\*|\*\* (?=\(\w+ minutes\)))\s*", plain)
        if lead and self.slides[-1].height:
            self.begin(lead[1] + lead[2].strip("*.: "), self.section)
            plain = plain[lead.end() :]
        parts = list(cut(plain, whole=self.section in ("Question", "So what") or len(self.slides) == 1))
        if self.slides[-1].height and self.slides[-1].height + sum(height for _, height in parts) > BODY:
            self.begin(self.slides[-1].title, self.section)  # a list stays together where it can
        for text, height in parts:
            self.put(text, height)
        self.slides[-1].notes.append(without_links(block))

    def put(self, text: str, height: float) -> None:
        """On this slide if there is room, or else on a next one."""
        now = self.slides[-1]
        if now.height and now.height + height > BODY:
            now = self.begin(now.title, now.section)
        now.add(text, height)

    # -- code ----------------------------------------------------------------------------------------------------------

    def code(self, cell: Any, count: int) -> None:
        """What a code cell gives to a slide: film, guesses, tables, quiz, or the code itself."""
        source, tree = cell.source, ast.parse(re.sub(r"^(\s*)%.*", r"\1pass", cell.source, flags=re.MULTILINE))
        self.names.learn(tree)
        calls = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                calls.setdefault(ast.unparse(node.func), []).append(node)
        if "films.show" in calls:
            self.begin("What do you see?", "Film").add(frame(f"films/{self.lesson}.html"), 435)
        elif "replay" in calls:
            self.slides[-1].cells.append(count)
        elif "quiz" in calls:
            self.quiz()
        elif "exercise" in cell.metadata.get("tags", []):
            self.put(*listing(source))
        else:
            for call in calls.get("predict", []):
                self.guess(call)
            for name, rows in tables(source, self.rows):
                self.table(name, rows)
            if self.section == "Explain" and source.count("\n") < 16 and "new_figure" not in source:
                self.put(*listing(source))
            picture = self.path.parent / "images" / f"lesson{self.lesson}.png"
            if "board.show" in calls and picture.is_file():
                self.begin("The board", self.section).add(f'<img alt="The board" src="images/{picture.name}">', BODY)
            self.slides[-1].cells.append(count)

    def guess(self, call: ast.Call) -> None:
        """A question to be answered before the experiment."""
        question, *_ = (self.names.value(part) for part in call.args[1:2])
        choices = [self.names.value(part.value) for part in call.keywords if part.arg == "choices"]
        text = f"- {question}" + "".join(f" *{', '.join(options)}?*" for options in choices)
        self.put(text, height_of(text))

    def table(self, name: str, rows: Sequence[str] | None) -> None:
        """A table of results, without the columns of single seeds; several slides where it is long."""
        for part in results.table(name, rows).split("\n\n"):
            if not part.startswith("|"):
                self.slides[-1].notes.append(part)
                continue
            heads, _, *body = [re.split(r"\s*\|\s*", line[1:-1].strip(" ")) for line in part.strip().splitlines()]
            kept = [k for k, head in enumerate(heads) if not re.fullmatch(r"seeds? [\d-]+", head)]
            widths = [max(len(line[k]) for line in [heads, *body]) for k in range(len(heads))]
            while (size := min(26, 1150 / sum(0.5 * widths[k] + 1.6 for k in kept))) < 16:
                self.slides[-1].notes.append(f"On {name}, more in the notebook: {heads[kept.pop()]}")
            shown = ["| " + " | ".join(line[k] for k in kept) + " |" for line in [heads, *body]]
            room = int(BODY / (1.85 * size)) - 1
            each = -(-len(body) // -(-len(body) // room))  # rows of a slide
            for start in range(0, len(body), each):
                text = "\n".join([shown[0], "|---" + "|---:" * (len(kept) - 1) + "|", *shown[1:][start : start + each]])
                slide = self.begin(f"Measured: {name}", self.section)
                slide.add(sized(text, size), 1.85 * size * (each + 1) + 30)

    def quiz(self) -> None:
        """The questions; a click shows the right option and why."""
        self.slides.pop()  # which says that there are five questions
        questions = tomllib.loads((QUIZZES / f"{self.lesson}.toml").read_text(encoding="utf-8"))["question"]
        for n, question in enumerate(questions, 1):
            slide = self.begin(f"{n}. {question['text']}", "Quiz")
            options = dict(zip(ascii_uppercase, question["options"], strict=False))
            slide.add("\n\n".join(f"**{letter}** {option['text']}" for letter, option in options.items()), BODY)
            right = next(f"**{letter}**: {o['reason']}" for letter, o in options.items() if o.get("right"))
            slide.add(f'<div class="fragment">\n\n{right}\n\n</div>', 0)
            slide.notes += [f"{letter}: {option['reason']}" for letter, option in options.items()]

    # -- the page ------------------------------------------------------------------------------------------------------

    def notebook(self) -> Any:
        """The slides as a notebook with the metadata that nbconvert reads."""
        made, cells = nbformat.v4.new_notebook(), []
        for n, slide in enumerate(self.slides):
            cells_to_run = ", ".join(f"[{k}]" for k in slide.cells)
            run = f'<p class="cells">In the notebook: {cells_to_run}</p>' if cells_to_run else ""
            head = f'<p class="section">{self.path.stem[:2]} {slide.section}</p>' if n else ""
            parts = [head, f"{'##' if n else '#'} {slide.title}", *beside(slide.body), run]
            notes = "\n\n".join(slide.notes) or "(nothing more in the text)"
            for kind, text in (("slide", "\n\n".join(filter(None, parts))), ("notes", notes)):
                cells.append(nbformat.v4.new_markdown_cell(text, metadata={"slideshow": {"slide_type": kind}}))
                cells[-1]["id"] = f"{kind}-{n}"
        made.cells = cells
        made.metadata.title = self.slides[0].title
        return made

    def page(self) -> str:
        """HTML for reveal.js."""
        exporter = SlidesExporter(raw_template=PAGE, reveal_url_prefix="reveal", reveal_theme="white")
        return exporter.from_notebook_node(self.notebook())[0]


class Names(dict):
    """What cells assign without a call, for the words of a guess; and the lessons' modules."""

    def __missing__(self, name: str) -> Any:
        try:
            return importlib.import_module(f"uda_lessons.{name}")
        except ImportError:
            raise KeyError(name) from None

    def learn(self, tree: ast.Module) -> None:
        """Run the assignments that call nothing."""
        for node in tree.body:
            if isinstance(node, ast.Assign | ast.AugAssign) and not any(
                isinstance(part, ast.Call | ast.Attribute) for part in ast.walk(node)
            ):
                try:
                    exec(compile(ast.Module([node], []), "lesson", "exec"), {"__builtins__": {}}, self)
                except (NameError, KeyError, TypeError):
                    continue  # of something that a cell computes

    def value(self, node: ast.expr) -> Any:
        """Of an expression that calls nothing."""
        return eval(compile(ast.Expression(node), "lesson", "eval"), {"__builtins__": {}} | self, self)


# -- Markdown ----------------------------------------------------------------------------------------------------------


def blocks(source: str) -> Iterator[str]:
    """Paragraphs, lists, tables, headings and pieces of code of a Markdown text."""
    for block in re.split(r"\n\s*\n", source.strip("\n")):
        heading = re.match(r"#+ .*", block)
        if heading:
            yield heading[0]
            block = block[heading.end() :].strip("\n")
        if block:
            yield from re.split(r"\n(?=\|)(?<!\|\n)", block)  # a table may stand right below a line of text


def without_links(text: str) -> str:
    """Words in place of links; a notebook is no page, and a slide asks nobody for anything."""
    return re.sub(r"!?\[([^\[\]]*)\]\([^()\s]*\)", r"\1", text)


def sentences(text: str) -> list[str]:
    """Of a paragraph; a full stop in an equation or in code ends none."""
    kept = list[str]()

    def hide(found: re.Match) -> str:
        kept.append(found[0])
        return f"\0{len(kept) - 1}\0"

    flat = re.sub(r"`[^`]*`|\$[^$]*\$", hide, " ".join(text.split()))
    parts = re.split(r"(?:(?<=[.?!])(?<!et al\.)|(?<=[.?!]\*\*))\s+(?=[A-Z*(\0\d])", flat)
    return [re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], part) for part in parts]


def first(text: str, words: int) -> str:
    """The first sentence, and the next ones as long as all have at most so many words."""
    chosen = list[str]()
    for sentence in sentences(text):
        alone = len(chosen) == 1 and chosen[0].endswith("**")  # words in bold print, which say nothing by themselves
        if chosen and not alone and len(" ".join([*chosen, sentence]).split()) > words:
            break
        chosen.append(sentence)
    return " ".join(chosen)


def cut(block: str, whole: bool) -> Iterator[tuple[str, float]]:
    """What a slide shows of a block, in pieces that stay together, with their heights."""
    if block.startswith("    "):
        yield listing(re.sub(r"^ {4}", "", block, flags=re.MULTILINE))
    elif block.startswith("|"):
        lines = block.splitlines()
        size = min(24, 2600 / max(map(len, lines)))
        yield sized(block, size), 2.2 * size * (len(lines) - 1) + 30
    elif re.match(r"- |\d+\. ", block):
        for item in re.split(r"\n(?=- |\d+\. )", block):
            mark, _, words = item.partition(" ")
            text = f"{mark} {first(words, 1000 if whole else 30)}"
            yield text, height_of(text)
    elif "$$" in block:
        before, *parts = block.split("$$")
        intro = sentences(before)[-1]
        text = "\n\n".join(([intro] if intro else []) + [f"$$ {' '.join(part.split())} $$" for part in parts[::2]])
        yield text, height_of(intro) + 110 * len(parts[::2])
    elif block:
        text = " ".join(block.split()) if whole else first(block, 40)
        yield text, height_of(text)


def height_of(text: str) -> float:
    """About how many pixels a paragraph or item takes."""
    return 38 * (1 + len(re.sub(r"\\[a-z]+|[*`$\\{}]", "", text)) // 86) + 12


def listing(source: str) -> tuple[str, float]:
    """Code, as large as it fits, and its height."""
    lines = source.splitlines()
    size = min(21, 1100 / (0.61 * max(map(len, lines))), 0.9 * BODY / (1.35 * len(lines)))
    return sized(f"```python\n{source}\n```", size), 1.35 * size * len(lines) + 50


def sized(text: str, size: float) -> str:
    """Markdown in letters of so many pixels."""
    return f'<div class="sized" style="font-size: {size:.1f}px">\n\n{text}\n\n</div>'


def beside(body: Sequence[str]) -> list[str]:
    """The blocks, with narrow code moved to the right of the equation above it."""
    made = list[str]()
    for text in body:
        code = re.search(r"```python\n(.*)\n```", text, re.DOTALL)
        narrow = code and max(map(len, code[1].splitlines())) <= 52
        if narrow and made and "$$" in made[-1]:
            made[-1] = f'<div class="two">\n<div>\n\n{made[-1]}\n\n</div>\n<div>\n\n{text}\n\n</div>\n</div>'
        else:
            made.append(text)
    return made


def frame(address: str) -> str:
    """A page inside the slide, loaded once it is shown."""
    return f'<div class="film"><iframe title="Film" data-src="{address}"></iframe></div>'


# -- files -------------------------------------------------------------------------------------------------------------


def shipped() -> dict[str, bytes]:
    """reveal.js and MathJax from the packages that bring them; name -> content.

    Raises:
        UserError: if one is not installed, or has its files in other places.
    """
    found = dict[str, bytes]()
    for package, (folder, name, patterns) in SHIPPED.items():
        try:
            root = Path(str(distribution(package).locate_file(folder)))
        except PackageNotFoundError:
            raise UserError(f'slides need {package}: python3 -m pip install -e ".[site]"') from None
        for pattern in patterns:
            if not (paths := sorted(root.glob(pattern))):
                raise UserError(f"{package} holds no {folder}/{pattern}; install the version that pyproject.toml names")
            found |= {f"{name}/{path.relative_to(root).as_posix()}": path.read_bytes() for path in paths}
    return found


def files(lessons: Sequence[Path]) -> dict[str, bytes]:
    """All files of the slides of these lessons; name -> content.

    Raises:
        UserError: if reveal.js or MathJax is not installed.
    """
    made = shipped() | {"slides.css": Path(__file__).with_suffix(".css").read_bytes()}
    for path in lessons:
        lesson = path.stem[:2]
        made[f"{path.stem}.html"] = Talk(path).page().encode()
        film = films.page((films.HERE / f"{lesson}.film").read_bytes(), f"Film of lesson {lesson}")
        made[f"films/{lesson}.html"] = film.encode()
    images = sorted((lessons[0].parent / "images").glob("lesson*.png"))
    return made | {f"images/{path.name}": path.read_bytes() for path in images}
