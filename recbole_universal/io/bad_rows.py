"""Counts rows that are left out."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class BadRows:
    """The number of unusable rows, and the first of them."""

    count: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, row: str, reason: str) -> None:
        """Count one row."""
        self.count += 1
        if len(self.examples) < 5:
            self.examples.append(f"{row} ({reason})")

    def text(self, where: str, n_rows: int) -> str:
        """A sentence that reports the rows."""
        more = ", ..." if self.count > len(self.examples) else ""
        rows = f"{n_rows} row{'s' * (n_rows != 1)} {'is' if self.count == 1 else 'are'}"
        examples = ", ".join(self.examples)
        return f"{where}: {self.count} of {rows} unreadable and left out: {examples}{more}."
