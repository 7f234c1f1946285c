"""Validity: 10,000 generations of a model with random weights, over 50 schemas and grammars, judged by other libraries.

A model that knows nothing goes wherever the grammar lets it, and so finds what a trained one would find in a million
steps. jsonschema, pydantic, `re` and lark judge every text that the engine calls complete. A sentence that the token
limit cuts is no action; the engine must say so, and its share is told.
"""

from __future__ import annotations

import time

from _grammars import CORPUS
from _report import arguments, measure, report
from _validity import judge, random_engine


def main() -> None:
    """Generate, judge, report."""
    parser = arguments(__doc__)
    parser.add_argument("--each", type=int, default=200, help="generations per grammar")
    parser.add_argument("--max-tokens", type=int, default=96)
    options = parser.parse_args()
    started = time.perf_counter()
    tally = judge(random_engine(), CORPUS, options.each, max_tokens=options.max_tokens)
    for name, text in tally.invalid[:20]:
        print(f"invalid: {name}: {text!r}")
    total = tally.num_complete + tally.num_cut + tally.num_other
    report(
        [
            measure("valid_share", 1 - len(tally.invalid) / max(tally.num_complete, 1), "share", ">= 1.0"),
            measure("told_share", (tally.num_complete + tally.num_cut) / total, "share", ">= 1.0"),
            measure("cut_share", tally.num_cut / total, "share"),
            measure("generations", total, "count"),
            measure("grammars", len(CORPUS), "count", ">= 50"),
            measure("seconds", time.perf_counter() - started, "s"),
        ],
        options.json,
    )


if __name__ == "__main__":
    main()
