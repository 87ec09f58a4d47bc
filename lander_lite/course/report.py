"""Executed lessons as one HTML page that needs no network: formulas become MathML, which browsers
draw by themselves."""

from __future__ import annotations

import re
from html import escape

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# the page of nbconvert without its scripts: all of them are loaded from elsewhere
TEMPLATE = """{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}<style>
math { font-size: 1.15em } mtd[columnalign=left] { text-align: left }
.jp-InputArea-editor { overflow-x: auto }
</style>{%- endblock -%}"""
# the converter leaves these without space or does not know them
FUNCTIONS = re.compile(r"\\(arg|log)\b")


def mathml(latex: str, display: str = "inline") -> str:
    """MathML of a formula; the LaTeX itself where it can't be converted, for a report must not fail
    over a formula."""
    try:
        return convert(FUNCTIONS.sub(r"\\operatorname{\1}", latex), display=display)
    except Exception:  # the library raises many types
        return f"<code>{escape(latex)}</code>"


class Renderer(IPythonRenderer):
    """Markdown of a lesson: formulas as MathML, links to other lessons of the page as links inside
    the page."""

    lessons: frozenset[str] = frozenset()

    def block_math(self, body: str) -> str:
        return mathml(body, "block")

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

    def link(self, text: str, url: str, title: str | None = None) -> str:
        name, ipynb, _ = url.partition(".ipynb")
        return super().link(text, f"#{name}" if ipynb and name in self.lessons else url, title)


def report(notebooks: dict[str, nbformat.NotebookNode], title: str) -> str:
    """All notebooks {name: notebook}, one after another, as one HTML page with a title and a list
    of the lessons."""

    def markdown2html(source: str) -> str:
        renderer = Renderer(escape=False)
        renderer.lessons = frozenset(notebooks)
        return MarkdownWithMath(renderer=renderer).render(source)

    contents = "\n".join(
        f"- [{heading(notebook) or name}]({name}.ipynb)" for name, notebook in notebooks.items()
    )
    cells = [nbformat.v4.new_markdown_cell(f"# {title}\n\n{contents}", id="contents")]
    for number, (name, notebook) in enumerate(notebooks.items()):
        cells.append(nbformat.v4.new_markdown_cell(f'<a id="{name}"></a>', id=f"lesson{number}"))
        for index, cell in enumerate(notebook.cells):
            cells.append(nbformat.from_dict({**cell, "id": f"lesson{number}-{index}"}))
    metadata = {**next(iter(notebooks.values())).metadata, "title": title}
    exporter = HTMLExporter(raw_template=TEMPLATE, filters={"markdown2html": markdown2html})
    return exporter.from_notebook_node(nbformat.v4.new_notebook(metadata=metadata, cells=cells))[0]


def heading(notebook: nbformat.NotebookNode) -> str:
    """The first heading of a lesson, or ""."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    found = re.search(r"^# +(.*)", "\n".join(texts), flags=re.MULTILINE)
    return found[1] if found else ""
