"""What Sphinx cannot do by itself: films, quizzes and exercises in a page, MathML, docstrings that are no reST.

As a Sphinx extension. Its directives, for any page of the site:

    {film} 05                 the film of a lesson
    {runs} FILM ...           several films behind one slider; its content says something of each, a line a film
    {quiz} 05                 the questions of a lesson, every option with its reason
    {exercise} row_cosine     hints and answer of an exercise
"""

import gzip
import html
import json
import re
import struct
import tomllib
from pathlib import Path
from typing import Any

import ziamath
from docutils import nodes
from fontTools import subset
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from uda_lessons import films
from uda_lessons.exercises import dialogue, questions
from uda_lessons.exercises.catalog import EXERCISES


def setup(app: Sphinx) -> dict[str, bool]:
    """Called by Sphinx."""
    for name, directive in {"film": Film, "runs": Runs, "quiz": Quiz, "exercise": Answer}.items():
        app.add_directive(name, directive)
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("builder-inited", add_font)
    app.connect("autodoc-process-docstring", as_rest, priority=100)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}


# -- directives --------------------------------------------------------------------------------------------------------


class _Directive(SphinxDirective):
    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes in place of the directive."""
        return [_raw(self.html())]

    def html(self) -> str:
        """The same as HTML."""
        raise NotImplementedError


class Film(_Directive):
    """The film of a lesson."""

    def html(self) -> str:
        """An inner page."""
        return f'<div class="uda-film">{films.frame(self.arguments[0])}</div>'


class Runs(_Directive):
    """Films of one seed; `{score}` in what is said of one is its target score at the end."""

    optional_arguments = 9
    has_content = True

    def html(self) -> str:
        """An inner page."""
        paths = [Path(self.env.app.confdir, "films", name) for name in self.arguments]
        runs = {}
        for path, said in zip(paths, self.content, strict=True):
            film = path.read_bytes()
            runs[said.format(score=f"{100 * final_score(film):.1f} %")] = film
        title = "A run and two others, which differ in one weight"
        return f'<div class="uda-film">{films.inner(films.page_of_runs(runs, title), title)}</div>'


class Quiz(_Directive):
    """Five questions. Each option is a disclosure of its own: by mouse or keyboard, without a script."""

    def html(self) -> str:
        """One list of options a question."""
        file = questions.QUIZZES / f"{self.arguments[0]}.toml"
        parts = []
        for number, question in enumerate(tomllib.loads(file.read_text(encoding="utf-8"))["question"], 1):
            parts.append(f"<p><b>{number}. {html.escape(question['text'])}</b></p>")
            for option in question["options"]:
                kind, word = ("right", "Right") if option.get("right") else ("wrong", "Not quite")
                name = f"quiz-{self.arguments[0]}-{number}"  # of one name, one is open at a time
                reason = f"<p><b>{word}:</b> {html.escape(option['reason'])}</p>"
                summary = f"<summary>{html.escape(option['text'])}</summary>"
                parts.append(f'<details name="{name}" class="{kind}">{summary}{reason}</details>')
        return f'<div class="uda-quiz">{"".join(parts)}</div>'


class Answer(_Directive):
    """Hints of an exercise, one below the other, and the package's own function."""

    def run(self) -> list[nodes.Node]:
        """Disclosures; the function is highlighted as all code is."""
        exercise = EXERCISES[self.arguments[0]]
        hints = [
            f"<details><summary>Hint {i} of {len(exercise.hints)}</summary><p>{html.escape(hint)}</p></details>"
            for i, hint in enumerate(exercise.hints, 1)
        ]
        answer = dialogue.solution(exercise)
        code = nodes.literal_block(answer, answer, language="python")
        return [
            _raw(f'<div class="uda-help">{"".join(hints)}<details><summary>Answer</summary>'),
            code,
            _raw(f"<p>{html.escape(exercise.right)}</p></details></div>"),
        ]


def _raw(text: str) -> nodes.raw:
    return nodes.raw("", text, format="html")


def final_score(film: bytes) -> float:
    """The target score in the last frame of a film that was revealed, a share of 1."""
    data = gzip.decompress(film)
    (size,) = struct.unpack_from("<I", data)
    return json.loads(data[4 : 4 + size])["frames"][-1]["scores"]["target_accuracy"]


# -- equations ---------------------------------------------------------------------------------------------------------

SPELLED_OUT = (  # what the converter does not read as TeX does
    (r"\\(hat|bar|overline)\s*(\w)", r"\\\1{\2}"),
    (r"\\overline\{([^}]*)\}", r"{\\overline{\1}}"),
    (r"\\mathcal\s*(\w)", r"\\mathcal{\1}"),
    (r"\\arg\\min", r"\\mathrm{arg\\,min}"),
    (r"\\[lr]Vert|\\[bB]ig[lr]?\\\|", r"\\Vert "),
    (r"\\[bB]ig[lr]?\|", "|"),
    (r"\\log\s+(?=\w)", r"\\log\\,"),
    ("'", r"^{\\prime}"),
)
GLYPHS = "20-7E A0-FF 300-36F 391-3F5 2000-206F 20D0-20EF 2100-22FF 2308-230B 23DC-23E1 27E6-27EF 1D400-1D7FF"


def mathml(tex: str, display: str) -> str:
    """An equation as browsers draw it without a script; `display` is "inline" or "block"."""
    for spelling, other in SPELLED_OUT:
        tex = re.sub(spelling, other, tex)
    return convert(tex, display=display).replace('<mo accent="true">&#x02015;', '<mo stretchy="true">&#x0203E;')


def inline_math(translator: HTML5Translator, node: nodes.math) -> None:
    """MathML in a line.

    Raises:
        SkipNode: always: there is nothing inside.
    """
    translator.body.append(mathml(node.astext(), "inline"))
    raise nodes.SkipNode


def block_math(translator: HTML5Translator, node: nodes.math_block) -> None:
    """MathML in a block, which scrolls where it is too wide.

    Raises:
        SkipNode: always: there is nothing inside.
    """
    translator.body.append(f'<div class="uda-math" tabindex="0">{mathml(node.astext(), "block")}</div>\n')
    raise nodes.SkipNode


def add_font(app: Sphinx) -> None:
    """Put a font with brackets and braces that grow beside the style sheets: no phone has one."""
    options = subset.Options(flavor="woff", layout_features=["*"], name_IDs=["*"])  # its licence stands in its names
    font = subset.load_font(str(Path(ziamath.__file__).with_name("fonts") / "STIXTwoMath-Regular.ttf"), options)
    subsetter = subset.Subsetter(options)
    subsetter.populate(unicodes=subset.parse_unicodes(GLYPHS))
    subsetter.subset(font)
    static = Path(app.outdir, "_static")
    static.mkdir(parents=True, exist_ok=True)
    subset.save_font(font, str(static / "math.woff"), options)


# -- docstrings --------------------------------------------------------------------------------------------------------


def as_rest(app: Sphinx, what: str, name: str, of: object, options: Any, lines: list[str]) -> None:
    """Docstrings are plain text with `code`: mark it as reST does, and escape what reST would take for markup.

    An indented paragraph, such as a list of formulas, stays as it is.
    """

    def escape(part: str) -> str:
        if part.startswith("`"):
            return f"``{part.strip('`')}``"
        return re.sub(r"([*|\\]|_(?!\w))", r"\\\1", part)

    made: list[str] = []
    literal = False
    for line in lines:
        if line.startswith(" ") and made and not made[-1] and not literal:
            made += ["::", ""]
            literal = True
        literal = literal and (not line or line.startswith(" "))
        made.append(line if literal else "".join(map(escape, re.split(r"(`+[^`]+`+)", line))))
    lines[:] = made
