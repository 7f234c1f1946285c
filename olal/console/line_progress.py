"""LineProgress: one plain line per update, for logs and pipes."""

from __future__ import annotations

from rich.console import Console

from olal.console.closing import print_summary
from olal.console.formats import duration, number, percent, rate
from olal.experiments.progress import RunInfo, RunSummary, UpdateRow


class LineProgress:
    """Writes lines that a reader of a log file can follow and grep can find."""

    def __init__(self, console: Console) -> None:
        """Write to a console.

        Args:
            console: where lines go.
        """
        self._console = console
        self._updates = 0

    def status(self, text: str) -> None:
        """Write what is being done."""
        self._say(text)

    def started(self, info: RunInfo) -> None:
        """Write where the run is."""
        self._updates = info.updates
        self._say(f"run {info.run_dir} with {info.workers} rollout workers")
        if info.dashboard_url:
            self._say(f"dashboard {info.dashboard_url}")

    def updated(self, row: UpdateRow) -> None:
        """Write one update."""
        fields = {
            "return": number(row.mean_return),
            "success": percent(row.success_rate),
            "env_steps/s": rate(row.env_steps_per_s),
            "tokens/s": rate(row.tokens_per_s),
            "replay": f"{row.replay_episodes}/{row.replay_capacity}",
            "staleness": number(row.staleness, 2),
            "learner_s": number(row.learner_step_s, 2),
            "failed": str(row.failed_episodes) if row.failed_episodes else "",
            "elapsed": duration(row.elapsed_s).replace(" ", ""),
        }
        words = [f"{name}={value}" for name, value in fields.items() if value]
        self._say(f"version {row.version}/{self._updates} {' '.join(words)}")
        for name, line in row.alarms.items():
            self._say(f"ALARM {name} in version {row.version}: {line}")

    def finished(self, summary: RunSummary) -> None:
        """Write the comparison of the policies."""
        print_summary(self._console, summary)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)
