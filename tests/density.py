"""How dense is the code? Syntax nodes per line that holds code: `python tests/density.py`.

Nodes are all nodes of the syntax tree but docstrings. Lines that hold code are those with a token
that is neither a comment nor part of a docstring. PEFT has 7.1, this package's first edition 14.7.
"""

from __future__ import annotations

import ast
import io
import sys
import tokenize
from collections.abc import Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "lander_lite"
WITHOUT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def docstrings(tree: ast.AST) -> list[ast.Expr]:
    """The docstring statements of a module, its classes and its functions."""
    owners = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    first = [node.body[0] for node in ast.walk(tree) if isinstance(node, owners) and node.body]
    return [
        node
        for node in first
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ]


def counts(source: str) -> tuple[int, int]:
    """(syntax nodes, lines that hold code) of a module's text."""
    tree = ast.parse(source)
    left_out = docstrings(tree)
    skipped = {line for doc in left_out for line in range(doc.lineno, doc.end_lineno + 1)}
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in WITHOUT_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(list(ast.walk(tree))) - 2 * len(left_out), len(lines - skipped)


def density(paths: Iterable[Path]) -> float:
    """Syntax nodes per line that holds code, over all files together."""
    found = [counts(path.read_text(encoding="utf-8")) for path in paths]
    return sum(nodes for nodes, _ in found) / sum(lines for _, lines in found)


def core() -> list[Path]:
    """The files at the top of the package."""
    return sorted(PACKAGE.glob("*.py"))


if __name__ == "__main__":
    for path in [Path(name) for name in sys.argv[1:]] or sorted(PACKAGE.rglob("*.py")):
        lines = len(path.read_text(encoding="utf-8").splitlines())
        print(f"{density([path]) if lines > 1 else 0:5.1f} {lines:6} {path}")
    print(f"core {density(core()):.1f}, package {density(PACKAGE.rglob('*.py')):.1f}")
