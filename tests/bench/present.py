"""From samples to the report: medians, ratios against the targets, a table to read and a plot."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

import targets

if TYPE_CHECKING:
    from bench import Cell, Sample

BUSY = 0.3  # cores used by others from which on a figure is marked


def _summary(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def _row(samples: list[Sample], latency: bool) -> dict[str, Any]:
    row: dict[str, Any] = _summary([s.value for s in samples])
    row["samples"] = [round(s.value, 4) for s in samples]
    if latency:
        row["p99"] = statistics.median([s.p99 for s in samples if s.p99 is not None])
    else:
        row["cpu_initiator"] = statistics.median([s.cpu_initiator for s in samples])
        row["cpu_target"] = statistics.median([s.cpu_target for s in samples])
    row["others"] = statistics.median([s.others for s in samples])
    row["others_max"] = max(s.others for s in samples)
    row["repetitions"] = sum(s.repetitions for s in samples)
    return row


def _ratio(cell: Cell, target: targets.Target) -> dict[str, Any] | None:
    """The median over the runs of ours / theirs, each within its run, against that one of `against` which is best."""
    name = cell.work.name
    bound = (target.latency if cell.work.latency else target.bounds).get(name)
    ours = cell.samples.get(target.ours)
    theirs = [cell.samples[a] for a in target.against if a in cell.samples]
    if bound is None or not ours or not theirs:
        return None
    pick = min if cell.work.latency else max
    best = pick(theirs, key=lambda row: statistics.median(s.value for s in row))
    count = min(len(ours), len(best))
    ratios = [ours[i].value / best[i].value for i in range(count)]
    ratio = statistics.median(ratios)
    met = ratio <= bound if cell.work.latency else ratio >= bound
    if target.cap is not None and not cell.work.latency and not met:
        plain = [statistics.median(s.value for s in cell.samples[p]) for p in targets.PLAIN_APART if p in cell.samples]
        met = bool(plain) and statistics.median(s.value for s in ours) >= target.cap * max(plain)
    out = {
        "workload": name,
        "op": cell.op,
        "ours": target.ours,
        "against": _against(target),
        "ratio": ratio,
        "min": min(ratios),
        "max": max(ratios),
        "bound": bound,
        "lower_is_better": cell.work.latency,
        "cap": target.cap,
        "met": met,
        "counts": target.counts,
    }
    if target.cpu is not None and not cell.work.latency:
        cpu = [
            (ours[i].cpu_initiator + ours[i].cpu_target) / (best[i].cpu_initiator + best[i].cpu_target)
            for i in range(count)
        ]
        out["cpu_ratio"], out["cpu_bound"] = statistics.median(cpu), target.cpu
        out["cpu_met"] = out["cpu_ratio"] <= target.cpu
    return out


def _against(target: targets.Target) -> str:
    if len(target.against) == 1:
        return target.against[0]
    apart = targets.APART if target.against == targets.PLAIN_APART else ""
    return f"the better {target.against[0].split(',')[0]}{apart}"


def _floor(cells: list[Cell], limits: dict[str, list[float]]) -> dict[str, Any]:
    """Whether the plain C program is a yardstick: W1 on one connection against iperf3 and memcpy."""
    values = [
        statistics.median(s.value for s in cell.samples[targets.PLAIN[0]])
        for cell in cells
        if cell.work.name == "W1" and targets.PLAIN[0] in cell.samples
    ]
    if not values:
        return {"held": False, "why": "W1 of plain C was not measured"}
    plain, failed, out = max(values), [], {}
    for name, bound in (("iperf3, 1 stream", targets.FLOOR_OF_IPERF3), ("memcpy", targets.FLOOR_OF_MEMCPY)):
        if not limits.get(name):
            failed.append(f"{name} was not measured")
            continue
        out[name] = plain / statistics.median(limits[name])
        if out[name] < bound:
            failed.append(f"W1 on one connection is {out[name]:.2f} of {name}, at least {bound} is wanted")
    return {"held": not failed, "why": "; ".join(failed), **out}


def report(
    cells: list[Cell],
    limits: dict[str, list[float]],
    *,
    submit: dict[str, float],
    machine: dict[str, Any],
    about: dict[str, Any],
) -> dict[str, Any]:
    floor = {"held": False, "why": "the workloads are tiny"} if about["tiny"] else _floor(cells, limits)
    found = [r for cell in cells for t in targets.TARGETS if (r := _ratio(cell, t)) is not None]
    others = [s.others for cell in cells for row in cell.samples.values() for s in row]
    return {
        "about": about,
        "machine": machine,
        "others_cores": {"median": statistics.median(others), "max": max(others)} if others else {},
        "limits": {name: _summary(values) for name, values in limits.items() if values},
        "floor": floor,
        "submit_us": submit,
        "cells": [
            {
                "workload": c.work.name,
                "title": c.work.title,
                "op": c.op,
                "unit": "us" if c.work.latency else "GB/s",
                "rows": {name: _row(samples, c.work.latency) for name, samples in c.samples.items()},
            }
            for c in cells
        ],
        # Without a yardstick there are no ratios.
        "ratios": found if floor["held"] else [],
    }


def progress(cell: Cell) -> str:
    parts = [f"{name} {statistics.median(s.value for s in samples):.3g}" for name, samples in cell.samples.items()]
    return f"{cell.work.name} {cell.op}: {'; '.join(parts)}"


def _figure(row: dict[str, Any]) -> str:
    mark = "~" if row["others"] > BUSY else ""
    return f"{row['median']:.3g} ({row['min']:.3g}-{row['max']:.3g}){mark}"


def _lines(head: list[str], rows: list[list[str]]) -> list[str]:
    widths = [max(len(r[i]) for r in [head, *rows]) for i in range(len(head))]
    out = ["  ".join(text.ljust(w) for text, w in zip(r, widths, strict=True)).rstrip() for r in [head, *rows]]
    return [out[0], "-" * len(out[0]), *out[1:]]


def table(found: dict[str, Any]) -> str:
    host, about, others = found["machine"], found["about"], found["others_cores"]
    changed = " with uncommitted changes" if host["uncommitted"] else ""
    out = [
        f"{about['name']}: {host['cores']} x {host['cpu']}, kernel {host['kernel']}, {host['go']}, "
        f"Python {host['python']}",
        f"commit {host['commit'] or 'unknown'}{changed}",
        f"{about['runs']} alternating runs of each, {about['seconds']} s in all; all bytes verified; GB = 10^9 bytes",
        f"other processes used {others.get('median', 0):.2f} cores in the median measurement, "
        f"{others.get('max', 0):.2f} at most; ~ marks figures with more than {BUSY}",
        "",
    ]
    for name, limit in found["limits"].items():
        out.append(f"{name}: {limit['min']:.2f} / {limit['median']:.2f} / {limit['max']:.2f} GB/s (min/median/max)")
    for name, why in about["left_out"].items():
        out.append(f"left out: {name}: {why}")
    for unit, title in (("GB/s", "GB/s: median (min-max)"), ("us", "Latency in us, p50 of a run: median (min-max)")):
        out += _table_of(found, unit, title)
    out += _cpu(found)
    if found["submit_us"]:
        said = ", ".join(f"{n} requests {us:.1f}" for n, us in found["submit_us"].items())
        out += ["", f"the call that submits a READ of prepared arrays, us: {said}"]
    return "\n".join(out + _ratios(found))


def _table_of(found: dict[str, Any], unit: str, title: str) -> list[str]:
    cells = [c for c in found["cells"] if c["unit"] == unit]
    names = list(dict.fromkeys(name for c in cells for name in c["rows"]))
    if not names:
        return []
    rows = [
        [f"{c['workload']} {c['op']}", *[_figure(c["rows"][n]) if n in c["rows"] else "-" for n in names]]
        for c in cells
    ]
    return ["", title, *_lines(["", *names], rows)]


def _cpu(found: dict[str, Any]) -> list[str]:
    cells = [c for c in found["cells"] if c["unit"] == "GB/s"]
    names = list(dict.fromkeys(name for c in cells for name in c["rows"]))
    if not names:
        return []
    rows = []
    for c in cells:
        rows.append([f"{c['workload']} {c['op']}"])
        for n in names:
            row = c["rows"].get(n)
            rows[-1].append(f"{row['cpu_initiator']:.2f} + {row['cpu_target']:.2f}" if row else "-")
    return ["", "CPU seconds per GB, initiator + target", *_lines(["", *names], rows)]


def _ratios(found: dict[str, Any]) -> list[str]:
    floor = found["floor"]
    if not floor["held"]:
        return ["", f"no ratios: {floor['why']}"]
    rows = []
    for r in found["ratios"]:
        sign = "<=" if r["lower_is_better"] else ">="
        cpu = ""
        if "cpu_ratio" in r:
            cpu = f"{r['cpu_ratio']:.2f} (<= {r['cpu_bound']}{'' if r['cpu_met'] else ', missed'})"
        rows.append(
            [
                f"{r['workload']} {r['op']}",
                f"{r['ours']} / {r['against']}",
                f"{r['ratio']:.2f} ({r['min']:.2f}-{r['max']:.2f})",
                f"{sign} {r['bound']}"
                + (f", or {r['cap']} of plain C" if r["cap"] and not r["lower_is_better"] else ""),
                "met" if r["met"] else "MISSED" if r["counts"] else "(below)",
                cpu,
            ]
        )
    counted = [r for r in found["ratios"] if r["counts"]]
    met = sum(r["met"] for r in counted)
    cpu = [r["cpu_met"] for r in counted if "cpu_met" in r]
    return [
        "",
        "Ratios in one run: median (min-max), target; CPU per GB likewise",
        *_lines(["", "ratio of", "seen", "target", "", "CPU"], rows),
        f"{met} of {len(counted)} ratios and {sum(cpu)} of {len(cpu)} CPU ratios meet their target; "
        "those without a processor for each side are for information",
    ]


COLOURS = ["#bdc1c6", "#9aa0a6", "#8ab4f8", "#669df6", "#80868b", "#5f6368", "#1a73e8", "#174ea6", "#e8710a", "#a142f4"]


def plot(found: dict[str, Any]) -> str:
    """Bars of the medians with whiskers from min to max, one group for each workload and direction, as SVG."""
    cells = [c for c in found["cells"] if c["unit"] == "GB/s"]
    names = list(dict.fromkeys(name for c in cells for name in c["rows"]))
    top = max([row["max"] for c in cells for row in c["rows"].values()] or [1.0])
    bar, gap, height, left, legend = 11, 16, 260, 44, 24
    group = bar * max(len(names), 1) + gap
    width = max(left + group * len(cells) + 10, 720)
    total = height + 60 + legend * ((len(names) + 2) // 3)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{total}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]

    def y(value: float) -> float:
        return 20 + height * (1 - value / (top * 1.02))

    for tick in range(int(top) + 1):
        out.append(f'<line x1="{left}" x2="{width - 10}" y1="{y(tick):.1f}" y2="{y(tick):.1f}" stroke="#e0e0e0"/>')
        out.append(f'<text x="{left - 6}" y="{y(tick) + 4:.1f}" text-anchor="end">{tick}</text>')
    out.append(f'<text x="4" y="12">GB/s, {escape(found["about"]["name"])}</text>')
    for i, cell in enumerate(cells):
        x = left + i * group + gap / 2
        for k, name in enumerate(names):
            row = cell["rows"].get(name)
            if row is None:
                continue
            at, colour = x + k * bar, COLOURS[k % len(COLOURS)]
            out.append(
                f'<rect x="{at:.1f}" y="{y(row["median"]):.1f}" width="{bar - 2}" '
                f'height="{y(0) - y(row["median"]):.1f}" fill="{colour}"/>'
            )
            middle = at + (bar - 2) / 2
            out.append(
                f'<line x1="{middle:.1f}" x2="{middle:.1f}" y1="{y(row["min"]):.1f}" y2="{y(row["max"]):.1f}" stroke="black"/>'
            )
        label = x + bar * len(names) / 2
        out.append(f'<text x="{label:.1f}" y="{y(0) + 14:.1f}" text-anchor="middle">{cell["workload"]}</text>')
        out.append(f'<text x="{label:.1f}" y="{y(0) + 27:.1f}" text-anchor="middle">{cell["op"]}</text>')
    for k, name in enumerate(names):
        at, line = left + (k % 3) * 230, y(0) + 50 + legend * (k // 3)
        out.append(f'<rect x="{at}" y="{line - 10:.1f}" width="10" height="10" fill="{COLOURS[k % len(COLOURS)]}"/>')
        out.append(f'<text x="{at + 15}" y="{line:.1f}">{escape(name)}</text>')
    return "\n".join([*out, "</svg>", ""])
