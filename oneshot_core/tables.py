"""A table, as a notebook and as a terminal show it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from .terminal import printable

if TYPE_CHECKING:
    import rich.table


@dataclass(frozen=True)
class Table:
    """Rows of text. Nothing in a cell is markup.

    Args:
        head: names of the columns.
        rows: cells, as many in each row as there are columns.
        title: stands above.
        more: how many rows are left out.
        right: positions of the columns of numbers.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""
    more: int = 0
    right: Sequence[int] = ()

    def html(self) -> str:
        """Return the table as HTML, for ``_repr_html_``."""
        import html  # takes long to import, and listing plugins does without

        # Notebooks align all cells to the right, which only a style of the cell itself overrides.
        aligned = [
            f' style="text-align: {"right" if index in self.right else "left"}"'
            for index in range(len(self.head))
        ]

        def line(tag: str, cells: Iterable[str]) -> str:
            shown = zip(aligned, cells, strict=True)
            return (
                "<tr>" + "".join(f"<{tag}{a}>{html.escape(c)}</{tag}>" for a, c in shown) + "</tr>"
            )

        left = ' style="text-align: left"'
        title = f"<caption{left}>{html.escape(self.title)}</caption>" if self.title else ""
        body = "".join(line("td", cells) for cells in self.rows)
        more = f"<p>... and {self.more:,} more</p>" if self.more else ""
        head = f"<thead>{line('th', self.head)}</thead>"
        return f"<table>{title}{head}<tbody>{body}</tbody></table>{more}"

    def rich(self) -> rich.table.Table:
        """Return the table for ``rich.print``, for ``__rich__``."""
        from rich import box
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(
            title=Text(self.title) if self.title else None,
            caption=f"... and {self.more:,} more" if self.more else None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
        )
        for index, name in enumerate(self.head):
            justify: Literal["left", "right"] = "right" if index in self.right else "left"
            table.add_column(Text(name), justify=justify, overflow="fold")
        for cells in self.rows:
            table.add_row(*(Text(printable(cell)) for cell in cells))
        return table


def number(value: float) -> str:
    """Return a number for a cell: whole ones with all digits, others with six."""
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.6g}"
