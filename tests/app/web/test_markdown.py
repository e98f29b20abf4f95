"""Markdown of a reply as data, as nodes, and as it is read out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.app.web.modules import Modules

pytestmark = pytest.mark.browser

SPANS = """(m, text) => {
    const one = (span) => [span.kind, ...(span.href ? [span.href] : []), ...(span.spans?.map(one) ?? [span.text])];
    return m.spans(text).map(one);
}"""
TABLE = "| a | b |\n|---|:-:|\n| 1 | `x` |\n| **2** |"


def _kinds(modules: Modules, text: str) -> list[str]:
    found = modules.call("markdown.js", "(m, text) => m.blocks(text).map(({ kind }) => kind)", text)
    return list(found)


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("", []),
        ("one\ntwo\n\nthree", ["paragraph", "paragraph"]),
        ("# Title\ntext\n- item", ["heading", "paragraph", "list"]),
        ("```\nnot # a heading\n\n- nor a list", ["code"]),
        ("~~~py\na\n~~~\n> quoted\n> more\n---", ["code", "quote", "rule"]),
        ("1. one\n\n2. two\n   more of two\nafter", ["list", "paragraph"]),
        (f"before\n{TABLE}\n\nafter", ["paragraph", "table", "paragraph"]),
        (f"{TABLE}\n# Title", ["table", "heading"]),
        ("a | b\n--|--\n1 | 2", ["table"]),
        ("| a | b |\n|---|\n| 1 | 2 |", ["paragraph"]),
        ("| a | b |\n| - x | - |", ["paragraph"]),
        ("a | b", ["paragraph"]),
        ("1. one\n   ```py\n   code\n   ```\n2. two", ["list", "code", "list"]),
    ],
)
def test_blocks_of_a_text(modules: Modules, text: str, kinds: list[str]) -> None:
    assert _kinds(modules, text) == kinds


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ("| a | b |", ["a", "b"]),
        ("a | b", ["a", "b"]),
        ("| a \\| b |  |", ["a | b", ""]),
        ("|", []),
        ("| open", ["open"]),
    ],
)
def test_cells_of_a_row(modules: Modules, line: str, cells: list[str]) -> None:
    assert modules.call("table.js", "(m, line) => m.cells(line)", line) == cells


def test_a_table_keeps_its_alignments_and_every_cell(modules: Modules) -> None:
    text = "|a|b|c|d|\n|---|:--|:-:|--:|\n|1|2|3|4|5|\n|6|"
    (table,) = modules.call("markdown.js", "(m, text) => m.blocks(text)", text)
    assert table["alignments"] == ["start", "start", "centre", "end"]
    assert table["rows"] == [["1", "2", "3", "4", "5"], ["6"]]


def test_code_under_an_item_loses_the_items_indent(modules: Modules) -> None:
    text = "- do:\n    ```py\n    if a:\n        b\n    ```"
    assert modules.call("markdown.js", "(m, text) => m.blocks(text).at(-1).text", text) == "if a:\n    b"


def test_tasks_have_boxes_and_quotes_have_blocks(modules: Modules) -> None:
    tasks, quote = modules.call(
        "markdown.js", "(m, text) => m.blocks(text)", "- [ ] open\n- [x] done\n\n> # Title\n> - item"
    )
    assert [item["text"] for item in tasks["items"]] == ["☐ open", "☑ done"]
    assert [block["kind"] for block in quote["blocks"]] == ["heading", "list"]


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("plain", [["text", "plain"]]),
        ("a **b** c", [["text", "a "], ["strong", ["text", "b"]], ["text", " c"]]),
        ("**b *c* d**", [["strong", ["text", "b "], ["em", ["text", "c"]], ["text", " d"]]]),
        ("**b *c***", [["strong", ["text", "b "], ["em", ["text", "c"]]]]),
        ("***both***", [["em", ["strong", ["text", "both"]]]]),
        ("*a **b** c*", [["em", ["text", "a "], ["strong", ["text", "b"]], ["text", " c"]]]),
        ("__b__ _c_", [["strong", ["text", "b"]], ["text", " "], ["em", ["text", "c"]]]),
        ("a_name_with_lines", [["text", "a_name_with_lines"]]),
        ("~~gone~~ ~5", [["del", ["text", "gone"]], ["text", " ~5"]]),
        ("2 * 3 * 4 and a*b*c", [["text", "2 * 3 * 4 and a*b*c"]]),
        ("`**x**` **open", [["code", "**x**"], ["text", " **open"]]),
        ("`` a`b `` and ` alone", [["code", "a`b"], ["text", " and ` alone"]]),
        (r"\*not em\* \\ \a", [["text", r"*not em* \ \a"]]),
        ("<b>&amp;</b>", [["text", "<b>&amp;</b>"]]),
    ],
)
def test_spans_of_a_paragraph(modules: Modules, text: str, spans: list[object]) -> None:
    assert modules.call("spans.js", SPANS, text) == spans


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("[a *b*](https://c.example/d_e)", [["link", "https://c.example/d_e", ["text", "a "], ["em", ["text", "b"]]]]),
        ('[a](https://c.example "Title")', [["link", "https://c.example", ["text", "a"]]]),
        ("[w](https://c.example/a_(b))", [["link", "https://c.example/a_(b)", ["text", "w"]]]),
        ("at https://c.be.", [["text", "at "], ["link", "https://c.be", ["text", "https://c.be"]], ["text", "."]]),
        ("**https://c.example**", [["strong", ["link", "https://c.example", ["text", "https://c.example"]]]]),
        ("[https://a.example](https://b.example)", [["link", "https://b.example", ["text", "https://a.example"]]]),
        ("[a](javascript:alert(1)) [b](/c) [d]", [["text", "[a](javascript:alert(1)) [b](/c) [d]"]]),
        ("[a](https://) https:// [", [["text", "[a](https://) https:// ["]]),
    ],
)  # fmt: skip
def test_only_addresses_of_the_web_become_links(modules: Modules, text: str, spans: list[object]) -> None:
    assert modules.call("spans.js", SPANS, text) == spans


@pytest.mark.parametrize(
    "text",
    [
        "*a " * 50_000, "`" * 50_001, "**" * 50_000, "> " * 50_000, "- a\n" * 20_000, "[" * 100_000,
        "[a](https://" * 10_000, "*a **b " * 10_000 + "c** d* " * 10_000, "https://a" * 10_000, "` `` " * 20_000,
        "|" * 50_000 + "\n" + "|-" * 50_000 + "\n" + "|\n" * 20_000, "a|b\n" * 20_000, "```" + "a" * 50_000 + "`",
        "~" * 100_000 + "`", "~~~" + " " * 100_000 + "`", "#" + " " * 100_000 + "\u2028", "```" + " " * 50_000 + "`",
        "-" + " " * 100_000 + "\u2028", "-" * 100_000 + "x", "> " + " " * 100_000 + "\u2028", "- " * 50_000 + "x",
        "_a" * 50_000, "~~a" * 30_000, "\\" * 100_001, "]" * 100_000, "| -\n" * 20_000,
    ],
)  # fmt: skip
def test_hostile_markdown_is_read_in_linear_time(modules: Modules, text: str) -> None:
    """Quadratic work on these would run past the test's own time limit by far."""
    body = """async (m, text) => {
        const { plain, spans } = await import("/spans.js");
        const { spoken } = await import("/spoken.js");
        return m.blocks(text).length + plain(spans(text)).length + spoken(text).length;
    }"""
    assert modules.call("markdown.js", body, text) > 0


@pytest.mark.parametrize(
    "text",
    [
        "*" * 6_000 + "a" + "*" * 6_000,
        "[" + "*" * 6_000 + "a" + "*" * 6_000 + "](http://x.example)",
        "*a **b " * 1_000 + "c** d* " * 1_000,
        "***a " * 1_000 + "b*** " * 1_000,
        "[a " * 1_000 + "](http://x.example)" * 1_000,
        "*[" * 1_000 + "a" + "](http://x.example)*" * 1_000,
        "_*" * 1_000 + "a" + "*_" * 1_000,
    ],
)
def test_spans_lie_in_each_other_to_a_bounded_depth(modules: Modules, text: str) -> None:
    body = """(m, text) => {
        const root = document.createElement("div");
        new m.MarkdownView(root).show(text);
        const depth = (node) => 1 + Math.max(0, ...[...node.children].map(depth));
        return [depth(root), root.querySelector("a a") === null, root.textContent.includes("a")];
    }"""
    depth, links_are_apart, said = modules.call("markdown-view.js", body, text)
    assert depth < 40
    assert links_are_apart
    assert said


def test_code_with_its_own_marks_behind_tildes(modules: Modules) -> None:
    (code,) = modules.call("markdown.js", "(m, text) => m.blocks(text)", "~~~ js `x`\na\n```\n~~~")
    assert (code["kind"], code["language"], code["text"]) == ("code", "js", "a\n```")
    assert _kinds(modules, "``` a `b` ```") == ["paragraph"]


def test_no_character_of_a_growing_text_is_lost(modules: Modules) -> None:
    text = (
        f"# A *b\n\n- c **d** `e\n  f\n\n```js\ng\nh\n```\n> h\n\n{TABLE}\n\n[i](https://j.example) ***k***"
    )
    body = """(m, text) => {
        const root = document.createElement("div");
        const view = new m.MarkdownView(root);
        for (let end = 0; end <= text.length; end++) view.show(text.slice(0, end));
        const grown = root.innerHTML;
        const whole = document.createElement("div");
        new m.MarkdownView(whole).show(text);
        return [grown, whole.innerHTML];
    }"""
    grown, whole = modules.call("markdown-view.js", body, text)
    assert grown == whole


def test_code_that_grows_stays_the_same_node(modules: Modules) -> None:
    """A selection in it, its focus and its place sideways stay with the reader."""
    body = """(m) => {
        const root = document.createElement("div");
        const view = new m.MarkdownView(root);
        view.show("a\\n```py\\nfirst");
        const [, before] = root.children;
        view.show("a\\n```py\\nfirst line\\nsecond\\n```\\nafter");
        return [before === root.children[1], before.querySelector("pre").textContent, root.children.length];
    }"""
    assert modules.call("markdown-view.js", body) == [True, "first line\nsecond", 3]


def test_a_link_tells_where_it_leads_and_takes_nothing_along(modules: Modules) -> None:
    body = """(m) => {
        const root = document.createElement("div");
        new m.MarkdownView(root).show("[here](https://a.example/b)");
        const { title, rel, target, textContent } = root.querySelector("a");
        return [title, rel, target, textContent];
    }"""
    title, rel, target, text = modules.call("markdown-view.js", body)
    assert (title, target, text) == ("https://a.example/b", "_blank", "here")
    assert {"noopener", "noreferrer"} <= set(rel.split())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("## A **bold** _claim_", "A bold claim"),
        (TABLE, "a, b\n1, x\n2"),
        ("```py\nprint(1)\n```", "print(1)"),
        ("- see [here](https://a.example)", "see here"),
        ("---", ""),
    ],
)
def test_marks_are_not_read_out(modules: Modules, text: str, said: Any) -> None:
    assert modules.call("spoken.js", "(m, text) => m.spoken(text)", text) == said
