"""A run that stands still says so.

Pinned: nothing is said before the limit; then one line, again after twice the time, and so on; progress starts anew.
"""

from __future__ import annotations

from olal.experiments.stall_watch import StallWatch


def test_it_speaks_at_the_limit_and_whenever_the_time_has_doubled():
    now = [0.0]
    watch = StallWatch(60, clock=lambda: now[0])
    said = []
    for now[0] in range(0, 300, 10):
        if line := watch.check(lambda: "the learner waits for rollout-3"):
            said.append((now[0], line))
    assert [when for when, _ in said] == [60, 120, 240]
    assert said[0][1] == "nothing has come forward for 60 s: the learner waits for rollout-3"


def test_progress_starts_the_watch_anew():
    now = [0.0]
    watch = StallWatch(60, clock=lambda: now[0])
    now[0] = 59.0
    watch.progress()
    now[0] = 118.0
    assert watch.check(lambda: "nobody is asked") == ""
    now[0] = 119.0
    assert watch.check(lambda: "x")
