"""Learning curves as a picture: one panel a learner, one line a seed, on the scale random policy 0, optimum 1."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")


def draw_curves(title: str, runs: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Write a PNG.

    Args:
        title: of the whole picture.
        runs: by learner; each has its "seed", its final "score", and "curve", pairs of episodes played and the score
            of those of the last update.
        path: of the picture.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(
        1, len(runs), figsize=(4 * len(runs), 3.4), sharey=True, squeeze=False, layout="constrained"
    )
    for panel, (learner, seeds) in zip(panels[0], runs.items(), strict=True):
        for line in (0.0, 1.0):
            panel.axhline(line, color="0.6", linewidth=0.8, linestyle="--")
        for run, colour in zip(seeds, _COLOURS * len(seeds), strict=False):
            episodes, scores = zip(*run["curve"], strict=True)
            panel.plot(episodes, scores, color=colour, linewidth=1, alpha=0.8, label=f"seed {run['seed']}")
            panel.plot(episodes[-1:], [run["score"]], "o", color=colour, markersize=6, clip_on=False, zorder=3)
        panel.set_title(learner, fontsize=10)
        panel.set_xlabel("episodes played (dot: evaluation)")
        panel.set_ylim(bottom=max(panel.get_ylim()[0], -1.0), top=1.1)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("score (0 random, 1 optimum)")
    fullest = max(range(len(runs)), key=lambda i: len(list(runs.values())[i]))
    panels[0][fullest].legend(loc="lower right", fontsize=8, frameon=False)
    figure.suptitle(title, fontsize=11)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    pyplot.close(figure)
