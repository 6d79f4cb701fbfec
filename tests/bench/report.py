# SPDX-License-Identifier: GPL-2.0
"""From figures to what a person reads."""

from __future__ import annotations

import re
from statistics import median
from typing import Any, Iterable

from rows import Row

RING = "ring"
PEERS = ("usb-host", "usbip")       # what the ring has to beat in every row


# Exit codes of AMD's SVM.
REASONS = {0x60: "interrupt", 0x64: "interrupt window", 0x72: "CPUID",
           0x77: "PAUSE", 0x78: "HLT", 0x7b: "port", 0x7c: "MSR",
           0x81: "VMMCALL", 0x400: "page fault"}


def _key(text: str) -> str:
    """Key of a histogram, for people."""
    words = " ".join(text.replace(",", " ").split())
    reason = re.fullmatch(r"exit_reason: (\w+)", words)
    if reason:
        code = int(reason[1], 16)
        return REASONS.get(code, f"{code:#x}")
    return words


def _numbers(text: str) -> dict[str, int]:
    """Named numbers of a counter file: of one number, of "name number"
    lines, or of a histogram of the tracer."""
    text = text.strip()
    if re.fullmatch(r"\d+", text):
        return {"": int(text)}
    if "hitcount:" in text:
        return {_key(key): int(count) for key, count in
                re.findall(r"(?m)^\{(.*?)\} hitcount: +(\d+)", text)}
    return {name: int(value) for name, value in
            re.findall(r"(?m)^\s*([\w./-]+)[:=\s]\s*(\d+)$", text)}


def _difference(marks: list[dict[str, str]]) -> dict[str, int]:
    before, after = marks
    found = {}
    for file, text in after.items():
        old = _numbers(before.get(file, ""))
        name = file.rsplit("/", 1)[-1]
        if name == "hist":
            name = file.rsplit("/", 2)[-2]
        elif "/usbfront/" in file:
            name = "front"
        elif "/usbback/" in file:
            name = "back"
        for key, value in _numbers(text).items():
            found[f"{name} {key}".strip()] = value - old.get(key, 0)
    return found


def per_request(marks: list[dict[str, str]], idle: list[dict[str, str]],
                count: int) -> dict[str, float]:
    """Counters for each request, without what the marks cost."""
    base = _difference(idle)
    return {name: (value - base.get(name, 0)) / count
            for name, value in _difference(marks).items()
            if value or base.get(name)}


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": median(values), "min": min(values), "max": max(values)}


def _ratio(row: Row, mine: float, other: float) -> float:
    """How many times better mine is."""
    return mine / other if row.more_is_better else other / mine


def _cell(figures: list[dict[str, Any]]) -> dict[str, Any]:
    cell: dict[str, Any] = _spread([f["value"] for f in figures])
    cell["runs"] = figures
    names = {n: None for f in figures for n in f.get("counts", {})}
    cell["per_request"] = {
        name: median(f["counts"].get(name, 0) for f in figures)
        for name in names}
    return cell


def summary(rows: Iterable[Row], kinds: Iterable[Any],
            figures: dict[str, dict[str, list[dict[str, Any]]]],
            ) -> dict[str, Any]:
    """All figures, and whether the ring is where it has to be."""
    lines, missed = [], []
    for row in rows:
        cells = {key: _cell(found) for key, found in figures[row.key].items()
                 if found}
        line = {"row": row.key, "title": row.title,
                "more_is_better": row.more_is_better, "paths": cells,
                "ring_is_better": {}}
        bare, ring = cells.get("bare"), cells.get(RING)
        for cell in cells.values():
            if bare:
                cell["of_bare"] = cell["median"] / bare["median"]
        for key, cell in cells.items():
            if ring and key not in (RING, "bare"):
                times = _ratio(row, ring["median"], cell["median"])
                line["ring_is_better"][key] = times
                if key in PEERS and times <= 1:
                    missed.append(f"{row.key}: not better than {key} "
                                  f"(x{times:.2f})")
        exits = ring["per_request"].get("exits", 0) if ring else 0
        if row.most_exits and exits > row.most_exits:
            missed.append(f"{row.key}: {exits:.2f} exits for each request, "
                          f"allowed are {row.most_exits:g}")
        lines.append(line)
    return {"paths": {k.key: k.title for k in kinds}, "rows": lines,
            "missed": missed, "reached": not missed}


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def _noise(cell: dict[str, Any]) -> str:
    width = (cell["max"] - cell["min"]) / 2 / cell["median"] * 100
    return f"+-{width:.1f}%"


def _grid(head: list[str], body: list[list[str]]) -> str:
    widths = [max(len(line[n]) for line in [head, *body])
              for n in range(len(head))]

    def line(words: list[str]) -> str:
        return "  ".join([words[0].ljust(widths[0]),
                          *(w.rjust(n) for w, n in zip(words[1:],
                                                       widths[1:]))])

    return "\n".join([line(head), line(["-" * n for n in widths]),
                      *map(line, body)])


def _times(data: dict[str, Any]) -> str:
    body = []
    for row in data["rows"]:
        words = [row["title"]]
        for key in data["paths"]:
            cell = row["paths"].get(key)
            words.append("" if not cell else " ".join(
                [_number(cell["median"])]
                + ([f"x{cell['of_bare']:.3g}"] if "of_bare" in cell
                   and key != "bare" else []) + [_noise(cell)]))
        body.append(words)
    return _grid(["x: relative to the bare device",
                  *data["paths"].values()], body)


def _versus(data: dict[str, Any]) -> str:
    peers = [key for key in data["paths"] if key not in ("bare", RING)]
    body = [[row["title"], *(
        f"x{row['ring_is_better'][key]:.2f}"
        if key in row["ring_is_better"] else "" for key in peers)]
        for row in data["rows"]]
    return _grid(["how many times better the ring is than",
                  *(data["paths"][key] for key in peers)], body)


def _counts(data: dict[str, Any], name: str) -> str:
    keys = [k for k in data["paths"] if k != "bare"]
    body = []
    for row in data["rows"]:
        if any(c["per_request"] for c in row["paths"].values()):
            body.append([row["title"].split(", us")[0].split(", MB")[0]
                         .split(", IOPS")[0], *(
                f"{row['paths'][k]['per_request'].get(name, 0):.2f}"
                if k in row["paths"] else "" for k in keys)])
    return _grid([f"{name} for each request",
                  *(data["paths"][k] for k in keys)], body)


def _everything(data: dict[str, Any], path: str) -> str:
    """All counters of one path."""
    names: dict[str, None] = {}
    for row in data["rows"]:
        names.update(dict.fromkeys(row["paths"].get(path, {})
                                   .get("per_request", {})))
    used = [row for row in data["rows"]
            if row["paths"].get(path, {}).get("per_request")]
    body = [[name, *(f"{row['paths'][path]['per_request'].get(name, 0):.2f}"
                     for row in used)] for name in names]
    return _grid([f"{data['paths'][path]}, for each request",
                  *(row["row"] for row in used)],
                 [line for line in body
                  if any(abs(float(w)) >= 0.05 for w in line[1:])])


def table(data: dict[str, Any]) -> str:
    """What make bench prints."""
    parts = [_times(data)]
    if RING in data["paths"]:
        parts.append(_versus(data))
    parts.append(_counts(data, "exits"))
    parts += [_everything(data, key) for key in data["paths"]
              if key != "bare"]
    if RING in data["paths"]:
        parts.append("\n".join(["Missed:", *data["missed"]])
                     if data["missed"] else "All that was to be reached is.")
    return "\n\n".join(parts)
