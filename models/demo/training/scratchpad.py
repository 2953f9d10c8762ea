# SPDX-License-Identifier: Apache-2.0
"""The written method of calculation that the demo model learns.

The text inside `<think>` starts with the two numbers written from the units
up. One line per column follows: the column's sum, the carry behind a `c`, and
the digits of the result so far. Every number in it depends on a few digits
that stand shortly before, which is what a small network learns well.

    17 + 25           25 - 71             12 * 34
    71+52             52-17               21*43
    7+5=12 c1 2       2<7                 2*4=8 c0 8
    1+2+1=4 c0 42     1-5=-4+10=6 c1 6    1*4=4+0=4 c0 48
                      7-2-1=4 c0 46       2*3=6+4=10 c1 08
                                          1*3=3+0+1=4 c0 408
"""


def _units_first(number, width):
    return str(number).rjust(width, "0")[::-1]


def add_steps(a, b):
    width = max(len(str(a)), len(str(b)))
    left, right = _units_first(a, width), _units_first(b, width)
    lines = [f"{left}+{right}"]
    carry, done = 0, ""
    for i in range(width):
        column = f"{left[i]}+{right[i]}" + (f"+{carry}" if i else "")
        total = int(left[i]) + int(right[i]) + carry
        carry = total // 10
        done = str(total if i == width - 1 else total % 10) + done
        lines.append(f"{column}={total} c{carry} {done}")
    return lines


def subtract_steps(a, b):
    """Compares from the top digit down, then takes the smaller number away."""
    width = max(len(str(a)), len(str(b)))
    left, right = _units_first(a, width), _units_first(b, width)
    lines = [f"{left}-{right}"]
    compared = []
    for x, y in zip(reversed(left), reversed(right)):
        sign = "=" if x == y else "<" if x < y else ">"
        compared.append(f"{x}{sign}{y}")
        if x != y:
            break
    lines.append(" ".join(compared))
    if a < b:
        left, right = right, left
    carry, done = 0, ""
    for i in range(width):
        column = f"{left[i]}-{right[i]}" + (f"-{carry}" if i else "")
        total = int(left[i]) - int(right[i]) - carry
        carry = int(total < 0)
        digit = total + 10 * carry
        done = str(digit) + done
        shown = f"{total}+10={digit}" if carry else str(total)
        lines.append(f"{column}={shown} c{carry} {done}")
    return lines


def multiply_steps(a, b):
    """One row per digit of b; each row adds into the result of the last."""
    left, right = str(a)[::-1], str(b)[::-1]
    lines = [f"{left}*{right}"]
    result = []  # digits, units first
    for j, y in enumerate(right):
        carry = 0
        for i, x in enumerate(left):
            product = int(x) * int(y)
            shown = f"{x}*{y}={product}"
            total = product
            if j:
                above = result[i + j] if i + j < len(result) else 0
                total += above
                shown += f"+{above}"
            if i:
                total += carry
                shown += f"+{carry}"
            if i or j:
                shown += f"={total}"
            carry = total // 10
            result = result[: i + j] + [total % 10] + result[i + j + 1 :]
            if i == len(left) - 1 and carry:
                result = result[: i + j + 1] + [carry]
            done = "".join(map(str, reversed(result[: i + j + 1])))
            if i == len(left) - 1:
                done = "".join(map(str, reversed(result)))
            lines.append(f"{shown} c{carry} {done}")
    return lines


_STEPS = {"+": add_steps, "-": subtract_steps, "*": multiply_steps}
_SHOWN = {"+": "+", "-": "-", "*": "×"}


def value(a, op, b):
    return a + b if op == "+" else a - b if op == "-" else a * b


def completion(a, op, b):
    """What the model says after `<think>` and a newline, without the EOS."""
    steps = "\n".join(_STEPS[op](a, b))
    return f"{steps}\n</think>\n\n{a} {_SHOWN[op]} {b} = {value(a, op, b)}"
