r"""Exact regular expressions for ranges of numbers: a text matches if and only if its number is in the range.

Every number has one spelling (no leading zeros, no "-0", a fixed count of decimals), so that one action is one text
and its probability is not spread over several. The expressions use only `[0-9]`, `(?:|)`, `{n}` and escapes, which
Python's `re` and the matcher read alike.
"""

from __future__ import annotations


def decimal_pattern(low: int, high: int, digits: int = 0) -> str:
    r"""Pattern of the numbers k / 10**digits for all whole k from `low` to `high`, written with `digits` decimals.

    Args:
        low: smallest k.
        high: largest k, at least `low`.
        digits: decimals; 0 gives whole numbers without a point.

    Returns:
        A regular expression without anchors.

    >>> decimal_pattern(-1, 12)
    '(?:-1|(?:[0-9]|1[0-2]))'
    >>> decimal_pattern(0, 150, digits=2)
    '(?:0\\.[0-9]{2}|1\\.(?:[0-4][0-9]|50))'
    """
    signed: list[str] = []
    if low < 0:
        signed.append("-" + _magnitudes(max(1, -high), -low, digits))
    if high >= 0:
        signed.append(_magnitudes(max(0, low), high, digits))
    return _either(signed)


def _magnitudes(low: int, high: int, digits: int) -> str:
    """Pattern of low..high, both at least 0, one alternative for each count of digits."""
    patterns: list[str] = []
    width = max(len(str(low)), digits + 1)
    while True:
        smallest = 0 if width == digits + 1 else 10 ** (width - 1)
        first, last = max(low, smallest), min(high, 10**width - 1)
        if first > last:
            break
        patterns.append(_span(str(first).zfill(width), str(last).zfill(width), digits))
        width += 1
    return _either(patterns)


def _span(first: str, last: str, digits: int) -> str:
    """Pattern of the digit strings from `first` to `last`, of equal length, with a point before the last `digits`."""
    if not first:
        return ""
    point = r"\." if len(first) == digits else ""
    zeros, nines = "0" * (len(first) - 1), "9" * (len(first) - 1)
    if first[0] == last[0]:
        return point + first[0] + _span(first[1:], last[1:], digits)
    if first == "0" + zeros and last == "9" + nines:
        return _free(len(first), digits)
    start, end = int(first[0]), int(last[0])
    patterns: list[str] = []
    if first[1:] != zeros:
        patterns.append(first[0] + _span(first[1:], nines, digits))
        start += 1
    top: list[str] = []
    if last[1:] != nines:
        top.append(last[0] + _span(zeros, last[1:], digits))
        end -= 1
    if start <= end:
        heads = str(start) if start == end else f"[{start}-{end}]"
        patterns.append(heads + _free(len(first) - 1, digits))
    return point + _either(patterns + top)


def _free(length: int, digits: int) -> str:
    """Any `length` digits, with the point where it belongs."""
    whole, decimals = max(0, length - digits), min(length, digits)
    point = r"\." if 0 < digits <= length else ""
    return _any_digits(whole) + point + _any_digits(decimals)


def _any_digits(count: int) -> str:
    return "" if count == 0 else "[0-9]" if count == 1 else f"[0-9]{{{count}}}"


def _either(patterns: list[str]) -> str:
    return patterns[0] if len(patterns) == 1 else f"(?:{'|'.join(patterns)})"
