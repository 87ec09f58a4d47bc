"""Executed lessons as one HTML page that needs no network: formulas become MathML, which browsers
draw by themselves."""

from __future__ import annotations

import re
from html import escape

import nbformat
from latex2mathml.converter import convert
from nbconvert import HTMLExporter
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

# the page of nbconvert without its scripts, all of which are loaded from elsewhere; with a list of
# the lessons that stays in view, titles for pictures, and the dark colours of JupyterLab
TEMPLATE = """{%- extends 'index.html.j2' -%}
{%- block html_head_js -%}{%- endblock -%}{%- block html_head_js_mathjax -%}{%- endblock -%}
{%- block html_head_js_mermaidjs -%}{%- endblock -%}
{%- block html_head_css -%}
{{ resources.include_css("static/theme-dark.css")
   | replace("<style", "<style media='(prefers-color-scheme: dark)'", 1) }}
<style>
math { font-size: 1.15em } mtd[columnalign=left] { text-align: left }
.formula, .jp-RenderedHTMLCommon table, .jp-OutputArea-output pre, .jp-InputArea-editor {
  overflow-x: auto }
.jp-RenderedHTMLCommon table { display: block; max-width: 100% }
.jp-OutputArea-output pre { white-space: pre; word-break: normal }
.jp-RenderedImage img { max-width: 100%; background: white }
:target { scroll-margin-top: 3rem }
.contents a { color: var(--jp-content-link-color); display: block; padding: .3rem 0 }
.contents { position: fixed; top: 0; left: 0; bottom: 0; width: 14rem; overflow-y: auto;
  padding: 1rem; box-sizing: border-box; font-family: var(--jp-content-font-family);
  background: var(--jp-layout-color2); font-size: .9rem }
main { margin-left: 14rem; max-width: 70rem }
@media (max-width: 60rem) {
  .contents { position: sticky; z-index: 1; width: auto; white-space: nowrap; overflow-x: auto;
    padding: .2rem .6rem }
  .contents a { display: inline-block; margin-right: 1rem }
  main { margin-left: 0 } body.jp-Notebook { padding: 0; overflow: visible }
  .jp-InputPrompt, .jp-OutputPrompt { display: none }
}
@media print { .contents { display: none } main { margin-left: 0 } }
</style>{%- endblock -%}
{%- block body_header -%}{{ super() | replace("<main>", "") }}
<nav class="contents" aria-label="Lessons">
{%- for name, heading in resources.contents.items() -%}
<a href="#{{ name }}">{{ heading | e }}</a>
{%- endfor -%}
</nav><main>{%- endblock -%}
{%- block data_png scoped -%}<div class="jp-RenderedImage jp-OutputArea-output">
<img alt="{{ (output | get_metadata('alt', 'image/png') or 'a picture without a title') | e }}"
  src="data:image/png;base64,{{ output.data['image/png'] | escape_html }}"></div>
{%- endblock -%}"""
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
    """Markdown of a lesson: formulas as MathML."""

    def block_math(self, body: str) -> str:
        return f"<div class='formula'>{mathml(body, 'block')}</div>"

    def inline_math(self, body: str) -> str:
        return mathml(body)

    def latex_environment(self, name: str, body: str) -> str:
        return self.block_math(f"\\begin{{{name}}}{body}\\end{{{name}}}")


def report(notebooks: dict[str, nbformat.NotebookNode], title: str) -> str:
    """All notebooks {name: notebook}, one after another, as one HTML page with a title and a list
    of the lessons. Links to these, in texts and in outputs, lead to their place on the page."""

    def markdown2html(source: str) -> str:
        return MarkdownWithMath(renderer=Renderer(escape=False)).render(source)

    def inside(link: re.Match) -> str:
        return f'href="#{link[1]}"' if link[1] in notebooks else link[0]

    contents = {name: heading(notebook) or name for name, notebook in notebooks.items()}
    cells = [nbformat.v4.new_markdown_cell(f"# {title}", id="contents")]
    for number, (name, notebook) in enumerate(notebooks.items()):
        cells.append(nbformat.v4.new_markdown_cell(f'<a id="{name}"></a>', id=f"lesson{number}"))
        for index, cell in enumerate(notebook.cells):
            cells.append(nbformat.from_dict({**cell, "id": f"lesson{number}-{index}"}))
    metadata = {**next(iter(notebooks.values())).metadata, "title": title}
    exporter = HTMLExporter(raw_template=TEMPLATE, filters={"markdown2html": markdown2html})
    page = nbformat.v4.new_notebook(metadata=metadata, cells=cells)
    written = exporter.from_notebook_node(page, {"contents": contents})[0]
    return re.sub(r'href="(\w+)\.ipynb[^"]*"', inside, written)


def heading(notebook: nbformat.NotebookNode) -> str:
    """The first heading of a lesson, or ""."""
    texts = [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]
    found = re.search(r"^# +(.*)", "\n".join(texts), flags=re.MULTILINE)
    return found[1] if found else ""
