"""Rows of metadata.py: samples, the one figure of them that has a target, and the table."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Row:
    """Samples of one figure. `judged` says which of them the target bounds: p50, p99 or max."""

    part: str
    name: str
    unit: str
    values: list[float]
    target: float | None = None
    judged: str = "p50"
    note: str = field(default="")

    def percentile(self, share: float) -> float:
        """The smallest sample that at least this share of them does not exceed."""
        ordered = sorted(self.values)
        return ordered[math.ceil(share * len(ordered)) - 1]

    @property
    def figure(self) -> float:
        if self.judged == "p50":
            return statistics.median(self.values)
        return max(self.values) if self.judged == "max" else self.percentile(0.99)

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if self.figure <= self.target else "MISSED"

    def said(self) -> str:
        return f"{self.name}: {self.judged} {self.figure:.4g} {self.unit} {self.verdict}"

    def document(self) -> dict[str, Any]:
        return {
            "part": self.part,
            "name": self.name,
            "unit": self.unit,
            "p50": statistics.median(self.values),
            "p99": self.percentile(0.99),
            "max": max(self.values),
            "target": self.target,
            "judged": self.judged,
            "met": None if self.target is None else self.figure <= self.target,
            "note": self.note,
            "samples": [round(v, 6) for v in self.values],
        }


def table(found: dict[str, Any], rows: list[Row]) -> str:
    host, about = found["machine"], found["about"]
    changed = " with uncommitted changes" if host["uncommitted"] else ""
    out = [
        f"{about['name']}: {host['cores']} x {host['cpu']}, kernel {host['kernel']}, {host['go']}, Python {host['python']}",
        f"commit {host['commit'] or 'unknown'}{changed}, {about['at']}",
        f"{about['seconds']} s; all processes of the machine together used {about['cores_used']} cores",
        "",
    ]
    head = ["", "n", "p50", "p99", "max", "unit", "target", ""]
    cells = [head]
    for row in rows:
        target = "" if row.target is None else f"{row.judged} <= {row.target:g}"
        figures = [f"{v:.4g}" for v in (statistics.median(row.values), row.percentile(0.99), max(row.values))]
        cells.append([f"{row.part}: {row.name}", str(len(row.values)), *figures, row.unit, target, row.verdict])
    widths = [max(len(c[i]) for c in cells) for i in range(len(head))]
    lines = ["  ".join(text.ljust(w) for text, w in zip(c, widths, strict=True)).rstrip() for c in cells]
    out += [lines[0], "-" * len(lines[0]), *lines[1:]]
    judged = [row for row in rows if row.target is not None]
    out += ["", f"{sum(row.verdict == 'met' for row in judged)} of {len(judged)} figures meet their target"]
    out += [f"{row.part}: {row.name}: {row.note}" for row in rows if row.note]
    return "\n".join(out)
