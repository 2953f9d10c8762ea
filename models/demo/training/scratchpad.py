# SPDX-License-Identifier: Apache-2.0
"""The written method of calculation that the demo model learns.

The text inside `<think>` starts with the two numbers at full width. One line
per column follows, from the units up: the column's sum, the carry behind a
`c`, and the digits of the result so far. The last carry and the last digits
are the result, without leading zeros. Numbers of every length take the same
lines, so each digit that a line needs stands in a fixed place.

    57 + 65              25 - 71              12 * 94
    0057+0065            0025-0071            12*94
    7+5=12 c1 2          0:0= 0:0= 2:7<       2*4=8 c0 8
    5+6+1=12 c1 22       1-5=-4+10=6 c1 6     1*4=4+0=4 c0 48
    0+0+1=1 c0 122       7-2-1=4 c0 46        2*9=18+4=22 c2 28
    0+0+0=0 c0 0122      0-0-0=0 c0 046       1*9=9+0=9+2=11 c1 128
                         0-0-0=0 c0 0046
"""

_SUM_WIDTH, _PRODUCT_WIDTH = 4, 2


def _columns(a, b):
    """The pairs of digits, from the units up."""
    return list(zip(f"{a:0{_SUM_WIDTH}}"[::-1], f"{b:0{_SUM_WIDTH}}"[::-1]))


def _heading(a, op, b, width):
    return f"{a:0{width}}{op}{b:0{width}}"


def add_steps(a, b):
    lines = [_heading(a, "+", b, _SUM_WIDTH)]
    carry, done = 0, ""
    for i, (x, y) in enumerate(_columns(a, b)):
        total = int(x) + int(y) + carry
        column = f"{x}+{y}" + (f"+{carry}" if i else "")
        carry = total // 10
        done = str(total % 10) + done
        lines.append(f"{column}={total} c{carry} {done}")
    return lines


def subtract_steps(a, b):
    """Compares from the top digit down, then takes the smaller number away."""
    lines = [_heading(a, "-", b, _SUM_WIDTH)]
    columns = _columns(a, b)
    compared = []
    for x, y in reversed(columns):
        sign = "=" if x == y else "<" if x < y else ">"
        compared.append(f"{x}:{y}{sign}")
        if x != y:
            break
    lines.append(" ".join(compared))
    carry, done = 0, ""
    for i, (x, y) in enumerate(columns):
        if a < b:
            x, y = y, x
        total = int(x) - int(y) - carry
        column = f"{x}-{y}" + (f"-{carry}" if i else "")
        carry = int(total < 0)
        digit = total + 10 * carry
        done = str(digit) + done
        shown = f"{total}+10={digit}" if carry else str(total)
        lines.append(f"{column}={shown} c{carry} {done}")
    return lines


def multiply_steps(a, b):
    """Always two rows of two columns, zeros included; the second row adds into the result of the first."""
    lines = [_heading(a, "*", b, _PRODUCT_WIDTH)]
    left, right = f"{a:02}"[::-1], f"{b:02}"[::-1]
    above, done = "", ""  # the row before without its units digit; the settled digits
    for j, y in enumerate(right):
        carry, row = 0, done[-j:] if j else ""
        for i, x in enumerate(left):
            total = int(x) * int(y)
            shown = f"{x}*{y}={total}"
            for term in ([int(above[i])] if j else []) + ([carry] if i else []):
                total += term
                shown += f"+{term}={total}"
            carry = total // 10
            row = str(total % 10) + row
            lines.append(f"{shown} c{carry} {row}")
        done = row
        above = (str(carry) + row)[::-1][j + 1 :]
    return lines


_STEPS = {"+": add_steps, "-": subtract_steps, "*": multiply_steps}
_SHOWN = {"+": "+", "-": "-", "*": "×"}


def value(a, op, b):
    return a + b if op == "+" else a - b if op == "-" else a * b


def completion(a, op, b):
    """What the model says after `<think>` and a newline, without the EOS."""
    steps = "\n".join(_STEPS[op](a, b))
    return f"{steps}\n</think>\n\n{a} {_SHOWN[op]} {b} = {value(a, op, b)}"
