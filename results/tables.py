"""Tables that no command makes, in the pages of this folder."""

from collections.abc import Mapping, Sequence
from pathlib import Path


def write(page: Path, tables: Mapping[str, Sequence[str]]) -> None:
    """Replace what stands in a page's README between the marks of each name."""
    readme = page / "README.md"
    text = readme.read_text()
    for name, lines in tables.items():
        before, rest = text.split(f"<!-- {name} -->\n")
        after = rest.split("<!-- end -->\n", 1)[1]
        text = f"{before}<!-- {name} -->\n" + "\n".join(lines) + f"\n<!-- end -->\n{after}"
    readme.write_text(text)
