# SPDX-License-Identifier: Apache-2.0
"""The ways in which a calculation is asked, in English and Chinese."""

_SIGNS = {"+": ["+"], "-": ["-", "-", "−", "–"], "*": ["*", "*", "×", "×", "x", "X"]}
_WORDS_EN = {
    "+": ["plus", "plus", "plus", "added to", "and"],
    "-": ["minus", "minus", "minus", "take away", "less"],
    "*": ["times", "times", "times", "multiplied by", "by"],
}
_WORDS_ZH = {
    "+": ["加", "加", "加上"],
    "-": ["减", "减", "减去"],
    "*": ["乘", "乘以", "乘以", "乘上"],
}
_FRAMES_EN = [
    "{e}", "{e}", "{e}", "{e}?", "{e}=", "{e}=?", "{e} =", "{e} = ?", "{e}.",
    "What is {e}?", "What is {e}?", "What is {e}", "What's {e}?", "What's {e}",
    "what is {e} equal to?", "What does {e} equal?", "What do you get for {e}?",
    "How much is {e}?", "How much does {e} make?", "Calculate {e}",
    "Calculate {e}.", "Please calculate {e}.", "Compute {e}", "Compute {e}.",
    "Please compute {e}", "Can you compute {e}?", "Can you calculate {e} for me?",
    "Could you tell me what {e} is?", "Could you please work out {e}?",
    "Tell me {e}", "Please tell me {e}.", "Solve {e}", "Solve {e}.", "Solve: {e}",
    "Evaluate {e}", "Work out {e}", "Work out {e}, please.", "{e}, please",
    "{e} please", "{e} equals", "{e} equals?", "{e} is?", "{e} is what?",
    "I need the answer to {e}", "I want to know {e}.", "Do you know {e}?",
    "Hi, what is {e}?", "Hello! What is {e}?", "Hey, {e}?", "Question: {e}",
    "Math problem: {e}", "Find {e}", "Give me the result of {e}.",
    "What is the result of {e}?", "What is the value of {e}?", "Thanks. Now {e}",
    "Ok, and {e}?", "And {e}?", "And what is {e}?", "Now {e}", "Next: {e}",
]
_FRAMES_ZH = [
    "{e}", "{e}", "{e}", "{e}?", "{e}？", "{e}=", "{e}=?", "{e}=？", "{e}。",
    "{e}等于多少?", "{e}等于多少？", "{e}等于多少", "{e}等于几?", "{e}等于几？",
    "{e}是多少?", "{e}是多少？", "{e}是多少", "{e}得多少?", "{e}得几？", "{e}的结果是多少？",
    "计算{e}", "计算 {e}", "计算{e}。", "计算：{e}", "请计算{e}", "请计算 {e}",
    "请计算{e}。", "请计算：{e}", "请问{e}等于多少？", "请问{e}是多少?", "请问 {e} 等于几？",
    "算一下{e}", "算一下 {e}", "帮我算{e}", "帮我算一下{e}", "帮我算一下 {e}，谢谢",
    "请帮我算一下{e}。", "求{e}", "求{e}的值", "求 {e} 的结果", "告诉我{e}等于多少",
    "你好，{e}等于多少？", "你知道{e}等于多少吗？", "那{e}呢？", "还有{e}呢？", "{e}，谢谢",
]
_WHOLE_EN = {
    "+": ["the sum of {a} and {b}", "Add {a} and {b}", "Add {a} to {b}", "add {a} and {b} together"],
    "-": ["the difference of {a} and {b}", "the difference between {a} and {b}",
          "Subtract {b} from {a}", "Take {b} away from {a}"],
    "*": ["the product of {a} and {b}", "Multiply {a} by {b}", "Multiply {a} and {b}",
          "Multiply {a} with {b}"],
}
_NOUN_FRAMES_EN = [
    "{e}", "What is {e}?", "What's {e}?", "Calculate {e}.", "Find {e}", "Tell me {e}.",
    "Please compute {e}", "Give me {e}", "Can you find {e}?",
]
_VERB_FRAMES_EN = ["{e}", "{e}.", "{e}, please.", "Please {e}.", "Can you {e}?", "Could you {e}?"]
_NOUNS_ZH = {"+": ["和"], "-": ["差"], "*": ["积", "乘积"]}
_NOUN_FRAMES_ZH = [
    "{a}{j}{b}的{n}", "{a}{j}{b}的{n}是多少", "{a}{j}{b}的{n}是多少？", "{a}{j}{b}的{n}是多少?",
    "{a}{j}{b}的{n}等于多少？", "求{a}{j}{b}的{n}", "计算{a}{j}{b}的{n}", "请问{a}{j}{b}的{n}是多少？",
    "{a}{j}{b}的{n}是几？", "请计算{a}{j}{b}的{n}。",
]


def _space(rng):
    return rng.choice(["", " "])


def _symbolic(rng, a, op, b):
    gap = rng.choice([("", ""), ("", ""), (" ", " "), (" ", " "), (" ", " "), (" ", ""), ("", " ")])
    return f"{a}{gap[0]}{rng.choice(_SIGNS[op])}{gap[1]}{b}"


def _english(rng, a, op, b):
    kind = rng.random()
    if kind < 0.5:
        text = rng.choice(_FRAMES_EN).format(e=_symbolic(rng, a, op, b))
    elif kind < 0.8:
        text = rng.choice(_FRAMES_EN).format(e=f"{a} {rng.choice(_WORDS_EN[op])} {b}")
    else:
        whole = rng.choice(_WHOLE_EN[op])
        frames = _NOUN_FRAMES_EN if whole.startswith("the ") else _VERB_FRAMES_EN
        frame = rng.choice(frames)
        if frame[0] != "{" and whole[0].isupper():
            whole = whole[0].lower() + whole[1:]
        text = frame.format(e=whole.format(a=a, b=b))
    style = rng.random()
    if style < 0.3:
        text = text.lower()
    elif style < 0.6:
        text = text[0].upper() + text[1:]
    return text


def _chinese(rng, a, op, b):
    kind = rng.random()
    s = _space(rng)
    if kind < 0.4:
        return rng.choice(_FRAMES_ZH).format(e=_symbolic(rng, a, op, b))
    if kind < 0.8:
        return rng.choice(_FRAMES_ZH).format(e=f"{a}{s}{rng.choice(_WORDS_ZH[op])}{s}{b}")
    joint = s + rng.choice("和与跟") + s
    tail = f"{b}{s}"
    return rng.choice(_NOUN_FRAMES_ZH).format(a=a, b=tail, j=joint, n=rng.choice(_NOUNS_ZH[op]))


def ask(rng, a, op, b):
    """A question for `a op b`, worded at random."""
    kind = rng.random()
    if kind < 0.2:
        return _symbolic(rng, a, op, b)
    return _english(rng, a, op, b) if kind < 0.65 else _chinese(rng, a, op, b)
