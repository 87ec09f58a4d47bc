"""report.py: the report opens without a network, shows its formulas, and its lessons link to each
other. tables.py: tables scroll and are narrow."""

import re
from html.parser import HTMLParser
from pathlib import Path

import nbformat
import pytest
from matplotlib import pyplot as plt

from lander_lite.course import notebooks as runner
from lander_lite.course.diagrams import neuron_sum, partition, router
from lander_lite.course.plots import COLOURS, MARKERS, alt_text, looks, panels
from lander_lite.course.report import mathml, report
from lander_lite.course.tables import Link, Table, bleu_table

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
TEXT = """# 00 · First

Of $x_i < y$, and $$\\Phi(i) = \\Big| \\frac{\\partial L}{\\partial h_i} \\Big|$$

Next: [second](01_second.ipynb), [third](02_third.ipynb), [paper](https://arxiv.org/abs/2409.19523).
It costs $5."""


class Page(HTMLParser):
    """What a page loads by itself, what it links to, its ids and its scripts."""

    def __init__(self, text):
        super().__init__()
        self.loads, self.links, self.ids, self.tags, self.texts = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append(tag)
        self.ids.append(attrs.get("id"))
        if tag == "img":
            self.texts.append(attrs["alt"])
        if tag == "a":
            self.links.append(attrs.get("href"))
        else:
            self.loads += [
                attrs[name] for name in ("src", "href", "data", "srcset") if name in attrs
            ]


@pytest.fixture(scope="module")
def html():
    first = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_markdown_cell(TEXT), nbformat.v4.new_code_cell("print('$x$')")]
    )
    for metadata in ({"image/png": {"alt": 'BLEU, "a < b"'}}, {}):
        picture = nbformat.v4.new_output("display_data", {"image/png": "AAAA"}, metadata=metadata)
        first.cells[1].outputs.append(picture)
    table = Table(["shown in"], [[Link("lesson 01", "01_second.ipynb#Second")]])
    output = nbformat.v4.new_output("display_data", {"text/html": table._repr_html_()})
    first.cells[1].outputs.append(output)
    second = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# 01 · Second")])
    return report({"00_first": first, "01_second": second}, "All lessons")


def test_nothing_is_loaded_from_elsewhere(html):
    page = Page(html)
    assert (
        not [address for address in page.loads if not address.startswith("data:")]
        and "script" not in page.tags
    )
    assert "@import" not in html and not [
        address for address in re.findall(r"url\(['\"]?([^'\")]+)", html) if address[:5] != "data:"
    ]


def test_formulas_are_mathml(html):
    assert (
        Page(html).tags.count("math") == 2
        and "<mfrac>" in html
        and "<msub><mi>x</mi><mi>i</mi></msub>" in html
    )
    assert "$$" not in html and "\\Phi" not in html and "It costs $5." in html


def test_title_contents_and_links_between_lessons(html):
    page = Page(html)
    assert "<title>All lessons</title>" in html and re.search(r"<h1[^>]*>All lessons", html)
    assert (
        page.links.count("#00_first") == 1
        and page.links.count("#01_second") == 3
        and {"00_first", "01_second"} <= set(page.ids)
    )
    assert "02_third.ipynb" in page.links and "https://arxiv.org/abs/2409.19523" in page.links
    assert (
        html.index(">00 · First</a>") < html.index(">01 · Second</a>") < html.index('id="00_first"')
    )


def test_the_folder_of_a_run_has_every_page_that_it_links_to(tmp_path, capsys):
    text = """[word](GLOSSARY.md#nats), [next](01_b.ipynb), [left out](12_atlas.ipynb#x),
[gone](../README.md), [here](#place), [elsewhere](https://a.b/c.md), `list[i](x)`"""
    lessons = [tmp_path / f"{name}.ipynb" for name in ("00_a", "01_b")]
    for path in lessons:
        cells = [nbformat.v4.new_markdown_cell(text), nbformat.v4.new_code_cell("x = 1")]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    out = tmp_path / "out"
    assert runner.main([*map(str, lessons), "--output-dir", str(out)]) == 0
    assert nbformat.read(lessons[0], as_version=4).cells[0].source == text
    kept = text.replace("[left out](12_atlas.ipynb#x)", "left out")
    kept = kept.replace("[gone](../README.md)", "gone")
    assert nbformat.read(out / "00_a.ipynb", as_version=4).cells[0].source == kept
    links = [link for link in Page((out / "report.html").read_text("utf-8")).links if link]
    assert {"GLOSSARY.md#nats", "#01_b", "https://a.b/c.md"} <= {*links}
    pages = [page.read_text(encoding="utf-8") for page in out.glob("*.md")]
    links += re.findall(r"\]\(([^)\s]+)\)", "\n".join(pages))
    assert "PROJECT.md" in links
    for link in links:
        assert re.match("#|https?:", link) or (out / link.split("#")[0]).exists(), link
    before = lessons[0].read_bytes()
    assert runner.main([*map(str, lessons), "--output-dir", str(tmp_path)]) == 2
    assert "--in-place" in capsys.readouterr().err and lessons[0].read_bytes() == before


def test_pictures_have_a_text_and_dark_screens_their_colours(html):
    page = Page(html)
    assert page.texts == ['BLEU, "a < b"', "a picture without a title"]
    assert '<style media="(prefers-color-scheme: dark)"' in html
    assert html.count("<main>") == 1 and html.index("<nav") < html.index("<main>")


@pytest.mark.parametrize(
    "draw, arguments, says",
    [
        (neuron_sum, [512], ["row 512 of up", "column 512 of down", "$h_{512}$"]),
        (
            partition,
            [["en", "de", "it"], 512],
            ["general: the 460 neurons of lowest variance", "52"],
        ),
        (router, [["en", "de", "it", "zh"], "it-en"], ["de zh: take no part in it-en", "it", "en"]),
    ],
)
def test_diagrams_say_what_they_were_given_and_stay_inside(draw, arguments, says):
    draw(*arguments)
    figure = plt.gcf()
    figure.canvas.draw()
    (ax,) = figure.axes
    assert {*says} <= {text.get_text() for text in ax.texts} and alt_text(figure)
    inside = figure.bbox.padded(1)
    for text in ax.texts:
        box = text.get_window_extent()
        assert inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0, text
    plt.close(figure)


def test_a_picture_is_described_by_its_titles_or_else_by_its_axes():
    figure, (left, right) = panels(1, 2)
    left.set(xlabel="block", ylabel="RA")
    assert alt_text(figure) == "RA by block"
    right.set_title("chosen")
    figure.suptitle("Layers")
    assert alt_text(figure) == "Layers; chosen"
    assert left.plot([0, 1])[0].get_color() == COLOURS[0]
    plt.close(figure)


def test_a_formula_that_cannot_be_converted_is_shown_as_it_is():
    assert mathml(r"\left( a < b") == r"<code>\left( a &lt; b</code>"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_formula_of_the_lessons_can_be_converted(path):
    cells = [
        cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "markdown"
    ]
    formulas = [
        formula.strip("$")
        for source in cells
        for formula in re.findall(r"\$\$.+?\$\$|\$[^$\n]+\$", source, flags=re.DOTALL)
    ]
    assert formulas
    for formula in formulas:
        assert mathml(formula).startswith("<math") and "\\" not in mathml(formula), formula


def test_a_table_scrolls_and_is_text_elsewhere():
    table = Table(["pair", "<BLEU>", "95%"], [["en-de", 12.345, [1.0, 20.0]], ["mean", 3, None]])
    html = table._repr_html_()
    assert html.startswith('<div style="overflow-x: auto"><table>') and "<th>&lt;BLEU&gt;" in html
    assert html.count("<tr>") == 3 and html.count("<td>") == 6
    assert repr(table).splitlines() == [
        "pair   <BLEU>  95%",
        "en-de  12.3    [1.0, 20.0]",
        "mean   3",
    ]
    with pytest.raises(ValueError, match="9 columns: a table has at most 8"):
        Table(range(9), [])


def test_a_cell_may_lead_somewhere():
    table = Table(["claim", "shown in"], [["L1", Link("lesson <01>", '01.ipynb#"a"')]])
    link = '<td><a href="01.ipynb#&quot;a&quot;">lesson &lt;01&gt;</a></td>'
    assert link in table._repr_html_() and repr(table).endswith("L1     lesson <01>")


def test_no_two_of_many_names_look_alike():
    names = [f"method {i}" for i in range(len(COLOURS) * len(MARKERS))]
    seen = [(look["marker"], look["color"]) for look in looks(names).values()]
    assert len(set(seen)) == len(names) and len({mark for mark, _ in seen[:9]}) == 9
    assert looks(names, {"method 1": "black"})["method 1"] == {"color": "black", "marker": "s"}


def test_a_table_of_bleu_has_a_row_per_pair_and_the_means():
    scores = {"en-de": {"bleu": 10.0, "bleu_ci": None}, "mean": {"bleu": 11.0}}
    table = bleu_table({"ours": scores}, ["en-de"], {"paper": {"en-de": 8, "fr-en": 0}})
    assert table.columns == ["direction", "ours", "95%", "paper"]
    assert table.rows == [["en-de", "10.0", "", "8.0"], ["mean", "11.0", "", "8.0"]]


def test_each_picture_of_the_lessons_says_what_it_shows():
    seen = 0
    for path in NOTEBOOKS:
        for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    seen += 1
                    alt = output.metadata.get("image/png", {}).get("alt", "")
                    assert alt.strip(), f"{path.name}, cell {number}: a picture without a title"
    assert seen > 20
