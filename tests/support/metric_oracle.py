"""AP and AR written a second time, loop by loop from the published formulas, for one video and one proposal at a time.

It shares no code with `pipeline.evaluation.metrics` and none of its ideas: no flat arrays, no list of overlapping
pairs, no ranks, and the curve is walked point by point as each evaluator walks it.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np

Video = tuple[list[list[float]], list[list[float]], int]
"""Proposals [score, start, end] and segments [start, end], in file order, and the label 0..3."""


# --- family A: LAV-DF, AV-Deepfake1M, the paper, its laboratory -------------------------------------------------


def iou_a(proposal: Sequence[float], segment: Sequence[float]) -> np.float32:
    start, end = np.float32(proposal[1]), np.float32(proposal[2])
    first, last = np.float32(segment[0]), np.float32(segment[1])
    inner = max(np.float32(0), min(end, last) - max(start, first))
    outer = max(end, last) - min(start, first)
    return np.float32(inner / outer) if outer > 0 else np.float32(0)


def ap_a(videos: Sequence[Video], threshold: float) -> float:
    rows: list[tuple[float, bool]] = []
    n = 0
    for proposals, segments, _ in videos:
        n += len(segments)
        used: set[int] = set()
        for segment in segments:
            for j, proposal in enumerate(proposals):
                if j not in used and iou_a(proposal, segment) > np.float32(threshold):
                    used.add(j)
                    break
        rows += [(float(np.float32(p[0])), j in used) for j, p in enumerate(proposals)]
    if n == 0:
        return float("nan")
    rows.sort(key=lambda row: -row[0])  # Python's sort is stable
    curve, right = [], 0
    for i, (_, hit) in enumerate(rows, start=1):
        right += hit
        curve.append((right / n, right / i))
    curve = [(1.0, 0.0), *reversed(curve)]
    area, best = 0.0, 0.0
    for (x, y), (after, _) in itertools.pairwise(curve):
        best = max(best, y)
        area += abs(x - after) * best
    return area


def ar_a(videos: Sequence[Video], n: int, thresholds: Sequence[float], skip: bool, in_time: bool) -> float:
    recalls = []
    for threshold in thresholds:
        right = wrong = 0
        for proposals, segments, _ in videos:
            if skip and not proposals:
                continue
            looked_at = sorted(proposals, key=lambda p: p[1]) if in_time else proposals
            for segment in segments:
                found = any(iou_a(p, segment) > np.float32(threshold) for p in looked_at[:n])
                right, wrong = right + found, wrong + (not found)
        recalls.append(right / (right + wrong) if right + wrong else float("nan"))
    return float(np.mean(recalls))


# --- family B: ActivityNet, and our own default ------------------------------------------------------------------


def iou_b(proposal: Sequence[float], segment: Sequence[float]) -> float:
    shared = max(0.0, min(proposal[2], segment[1]) - max(proposal[1], segment[0]))
    union = (proposal[2] - proposal[1]) + (segment[1] - segment[0]) - shared
    return shared / union if union > 0 else 0.0


def iou_honest(proposal: Sequence[float], segment: Sequence[float]) -> float:
    return round(iou_b(proposal, segment), 9)


def matches_b(
    order: Sequence[tuple[int, list[float]]], videos: Sequence[Video], iou: Any, threshold: float
) -> list[bool]:
    """Of each prediction, in the order given, whether it takes a segment that nobody has taken."""
    taken: set[tuple[int, int]] = set()
    hits = []
    for video, proposal in order:
        segments = videos[video][1]
        values = [iou(proposal, segment) for segment in segments]
        hit = False
        for k in sorted(range(len(segments)), key=lambda k: (values[k], k), reverse=True):
            if values[k] < threshold:
                break
            if (video, k) not in taken:
                taken.add((video, k))
                hit = True
                break
        hits.append(hit)
    return hits


def ap_b(videos: Sequence[Video], threshold: float) -> float:
    n = sum(len(segments) for _, segments, _ in videos)
    if n == 0:
        return float("nan")
    listed = [(v, p) for v, (proposals, _, _) in enumerate(videos) for p in proposals]
    order = sorted(listed, key=lambda row: row[1][0])[::-1]  # argsort()[::-1] with a stable sort
    precision, recall, right = [0.0], [0.0], 0
    for i, hit in enumerate(matches_b(order, videos, iou_b, threshold), start=1):
        right += hit
        precision.append(right / i)
        recall.append(right / n)
    return all_point(precision, recall)


def all_point(precision: list[float], recall: list[float]) -> float:
    precision, recall = [*precision, 0.0], [*recall, 1.0]
    for i in reversed(range(len(precision) - 1)):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def ar_average_budget(videos: Sequence[Video], n: int, most: int, thresholds: Sequence[float]) -> float:
    forged = [(proposals, segments) for proposals, segments, _ in videos if segments]
    total = sum(len(proposals) for proposals, _, _ in videos)
    if not forged:
        return float("nan")
    if not total:
        return 0.0
    ratio = most * float(len(forged)) / total
    kept = []
    for proposals, segments in forged:
        best_first = sorted(proposals, key=lambda p: p[0])[::-1]
        kept.append((best_first[: min(int(len(proposals) * ratio), len(proposals))], segments))
    used = sum(len(proposals) for proposals, _ in kept)
    if not used:
        return 0.0
    share = n / float(most) * (most * float(len(forged)) / used)
    recalls = []
    for threshold in thresholds:
        right = 0
        for proposals, segments in kept:
            quota = min(int(len(proposals) * share), len(proposals))
            right += sum(any(iou_b(p, s) >= threshold for p in proposals[:quota]) for s in segments)
        recalls.append(right / sum(len(segments) for _, segments in kept))
    return float(np.mean(recalls))


def ap_honest(videos: Sequence[Video], threshold: float) -> float:
    """As ActivityNet's, but equal scores are one point of the curve, and canonical in their matching."""
    n = sum(len(segments) for _, segments, _ in videos)
    if n == 0:
        return float("nan")
    rows: list[tuple[float, bool]] = []
    for v, (proposals, _, _) in enumerate(videos):
        order = [(v, p) for p in sorted(proposals, key=lambda p: (-p[0], p[1], p[2]))]
        rows += [
            (p[0], hit)
            for (_, p), hit in zip(order, matches_b(order, videos, iou_honest, threshold), strict=True)
        ]
    precision, recall = [0.0], [0.0]
    for score in sorted({score for score, _ in rows}, reverse=True):
        above = [hit for other, hit in rows if other >= score]
        precision.append(sum(above) / len(above))
        recall.append(sum(above) / n)
    return all_point(precision, recall)


def ar_honest(videos: Sequence[Video], n: int, thresholds: Sequence[float]) -> float:
    recalls = []
    for threshold in thresholds:
        right = total = 0
        for proposals, segments, _ in videos:
            best = sorted(proposals, key=lambda p: (-p[0], p[1], p[2]))[:n]
            total += len(segments)
            right += sum(any(iou_honest(p, s) >= threshold for p in best) for s in segments)
        recalls.append(right / total if total else float("nan"))
    return float(np.mean(recalls))


# --- all of it by the name of a protocol -------------------------------------------------------------------------

PAPER = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
HALF_UP = [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def measure(name: str, videos: Sequence[Video]) -> dict[str, float]:
    """What `localization` should return."""
    if name == "honest":
        found = {f"AP@{t:g}": ap_honest(videos, t) for t in PAPER}
        recalls = {f"AR@{n}": ar_honest(videos, n, PAPER) for n in (20, 10, 5, 2)}
    elif name == "activitynet":
        found = {f"AP@{t:g}": ap_b(videos, t) for t in HALF_UP}
        recalls = {f"AR@{n}": ar_average_budget(videos, n, 100, HALF_UP) for n in (100, 50, 20, 10)}
    else:
        thresholds, budgets, over = {
            "lavdf": ([0.5, 0.75, 0.95], (100, 50, 20, 10), HALF_UP),
            "avdeepfake1m": ([0.5, 0.75, 0.9, 0.95], (50, 30, 20, 10, 5), HALF_UP),
            "paper": (PAPER, (20, 10, 5, 2), PAPER),
            "lab": (PAPER, (20, 10, 5, 2), PAPER),
        }[name]
        lab = name == "lab"
        if lab:
            videos = [video for video in videos if video[2] == 3]
        if name == "avdeepfake1m":
            videos = [(p if p else [[0.0, 0.0, 0.0]], s, label) for p, s, label in videos]
        found = {f"AP@{t:g}": ap_a(videos, t) for t in thresholds}
        recalls = {f"AR@{n}": ar_a(videos, n, over, lab, lab) for n in budgets}
    found["mAP"] = float(np.mean(list(found.values())))
    return {**found, **recalls, "mAR": float(np.mean(list(recalls.values())))}


def auc(scores: Sequence[float], forged: Sequence[bool]) -> float:
    """Every pair, one by one."""
    pairs = [
        (a, b)
        for a, f in zip(scores, forged, strict=True)
        if f
        for b, g in zip(scores, forged, strict=True)
        if not g
    ]
    return sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
