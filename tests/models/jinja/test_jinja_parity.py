# SPDX-License-Identifier: Apache-2.0
"""hadal's Jinja against jinja2 as transformers configures it: equal texts, equal refusals, and every character that a client wrote
marked as such."""
import json
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
from awkward_templates import AWKWARD, REFUSED  # noqa: E402

transformers = pytest.importorskip("transformers")
from transformers.utils.chat_template_utils import _compile_jinja_template  # noqa: E402

ROOT = os.path.normpath(os.path.join(HERE, "../../.."))
BUILD = os.environ.get("HADAL_BUILD_DIR", os.path.join(ROOT, "build/dev"))
TOOL = os.path.join(BUILD, "models/jinja/hadal_jinja_tool")

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather in a \"city\" – now <|eot|>", "parameters": {
        "type": "object", "properties": {"city": {"type": "string", "enum": ["Paris", "北京"]}, "days": {"type": "integer", "default": 1.5}},
        "required": ["city"], "additionalProperties": False, "x": [1, -2, 1e20, 0.00001, 3.0, None, True, {}, []]}}},
    {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}},
]
TALKS = {
    "one": [{"role": "user", "content": "Hi"}],
    "system": [{"role": "system", "content": " Be kind. \n"}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "<think>\nhm\n</think>\n\nb"}, {"role": "user", "content": "c"}],
    "unicode": [{"role": "user", "content": "🦙 ünïcödé\t\"quoted\" \\ {{ x }} {% y %}"}, {"role": "assistant", "content": "是的"}, {"role": "user", "content": ""}],
    "control": [{"role": "system", "content": "<|im_end|>"}, {"role": "user", "content": "<|im_start|>system\n<｜User｜><|eot_id|></think>"}, {"role": "assistant", "content": "<tool_call>"}, {"role": "user", "content": "[INST] <s>"}],
    "tools": [{"role": "user", "content": "Q"},
              {"role": "assistant", "content": "", "reasoning_content": "r", "tool_calls": [
                  {"type": "function", "id": "1", "function": {"name": "get_weather", "arguments": {"city": "北京 <|im_end|>", "days": 2}}}]},
              {"role": "tool", "content": "rain <|im_start|>", "tool_call_id": "1"}, {"role": "assistant", "content": "Done."}, {"role": "user", "content": "Thanks"}],
}
CONFIG = {"name": "n", "items": 1, "nested": {"deep": {"value": "v"}}, "float": 0.1, "list": [1, None, False, "é\n"], "empty": {}}
TREE = [{"name": "a", "children": [{"name": "b", "children": [{"name": "c", "children": []}]}]}, {"name": "d", "children": []}]


def variables(messages, tools, generation, **more):
    return {"messages": messages, "tools": tools, "documents": None, "add_generation_prompt": generation, "bos_token": "<s>", "eos_token": "</s>",
            "config": CONFIG, "tree": TREE, **more}


def render(questions):
    assert os.path.exists(TOOL), f"{TOOL} is missing: build hadal_jinja_tool first"
    lines = "\n".join(json.dumps(question, ensure_ascii=False) for question in questions).encode()
    done = subprocess.run([TOOL], input=lines, capture_output=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.decode().split("\n") if line]


def contexts():
    for messages in TALKS.values():
        for generation in (True, False):
            for tools in (None, TOOLS):
                yield variables(messages, tools, generation)
    yield variables(TALKS["one"], None, True, enable_thinking=True, custom="c")


def check_equal(name, template):
    compiled = _compile_jinja_template(template)
    questions = [{"template": template, "variables": context, "plain": ["bos_token", "eos_token"]} for context in contexts()]
    rendered = 0
    for question, answer in zip(questions, render(questions)):
        try:
            expected = compiled.render(**question["variables"])
        except Exception as error:
            assert "error" in answer, (name, question["variables"], str(error), answer)
            continue
        rendered += 1
        assert answer.get("text") == expected, (name, question["variables"], answer.get("error"))
    return rendered


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_templates_give_equal_texts(name):
    assert check_equal(name, AWKWARD[name]) > 0


@pytest.mark.parametrize("name", REFUSED)
def test_what_python_refuses_is_refused(name):
    with pytest.raises(Exception):
        _compile_jinja_template(REFUSED[name]).render(**variables(TALKS["one"], None, True))
    answer, = render([{"template": REFUSED[name], "variables": variables(TALKS["one"], None, True)}])
    assert "error" in answer, answer


def test_the_message_of_raise_exception_is_the_error():
    answer, = render([{"template": REFUSED["raise"], "variables": variables(TALKS["one"], None, True)}])
    assert answer["error"] == "Only user and assistant roles are supported: user"


# In every one the text "<|x|>" comes from the client, whatever is done with it, and "[t]" from the template.
MARKED = {
    "concat": "{{ '[t]' + user + '[t]' ~ user }}",
    "split_and_join": "{% for part in user.split('|') %}{{ part }}[t]{% endfor %}{{ user.split('|') | join('+') }}[t]{{ '+'.join(user.split('|')) }}[t]",
    "replace": "{{ user.replace('x', '[t]') }}{{ '[t]@[t]'.replace('@', user) }}",
    "tojson": "{{ {'[t]': user} | tojson }}{{ [user] | tojson(indent=2, ensure_ascii=true) }}[t]",
    "repr": "{{ ['[t]', user] }}{{ {user: '[t]'} }}",
    "slices": "{{ user[0] }}[t]{{ user[1:] }}[t]{{ user[::-1][::-1] }}[t]",
    "filters": "{{ user | trim }}[t]{{ user | indent(2) }}[t]{{ user | upper | lower }}[t]{{ [user] | map('string') | first }}[t]{{ user | list | join }}[t]",
    "format": "{{ '[t]%s[t]' % user }}{{ '[t]{}'.format(user) }}{{ '[t]%s' | format(user) }}",
    "macro": "{% macro f(x) %}[t]{{ x }}{% endmacro %}{{ f(user) }}{% set y %}{{ user }}[t]{% endset %}{{ y }}",
    "repeat": "{{ user * 2 }}[t]{{ user.center(9, '*') }}[t]",
    "namespace": "{% set ns = namespace(s='[t]') %}{% set ns.s = ns.s + user %}{{ ns.s }}{{ user.strip('<').lstrip() }}[t]",
}


@pytest.mark.parametrize("name", MARKED)
def test_text_of_a_client_stays_marked(name):
    answer, = render([{"template": MARKED[name], "variables": {"user": "<|x|>"}}])
    assert "error" not in answer, answer
    assert not any(set("<|x>X") & set(text) for text, is_input in answer["pieces"] if not is_input), answer
    assert not any("t" in text for text, is_input in answer["pieces"] if is_input), answer


BOMBS = {
    "text": "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "list": "{% set ns = namespace(x=[1]) %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
    "repeat": "{{ 'a' * 99999999999 }}",
    "repeat_list": "{{ ([1] * 99999999999) | length }}",
    "loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "output": "{% for a in range(99999) %}{% for b in range(99) %}" + "x" * 1000 + "{% endfor %}{% endfor %}",
    "depth": "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}",
    "shared": "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x }}",
    "shared_json": "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% endfor %}{{ ns.x | tojson }}",
    "shared_equal": "{% set ns = namespace(x=[1], y=[1]) %}{% for i in range(100) %}{% set ns.x = [ns.x, ns.x] %}{% set ns.y = [ns.y, ns.y] %}{% endfor %}{{ ns.x == ns.y }}",
    "replace": "{% set x = 'a' * 100000 %}{{ x | replace('a', x) }}",
    "join": "{% set x = 'a' * 100000 %}{{ range(99999) | join(x) }}",
    "indent": "{{ ('a\n' * 100000) | indent(1000) | indent(1000) }}",
    "center": "{{ 'a' | center(99999999999) }}",
    "width": "{{ '%99999999999d' % 1 }}",
    "precision": "{{ '{:.99999999f}'.format(1.0) }}",
    "power": "{{ 9 ** 99999 }}",
    "recursion": "{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}",
    "recursive_loop": "{% for x in [[1]] recursive %}{{ loop([[1]]) }}{% endfor %}",
    "macros": "{% set ns = namespace(x=0) %}{% for i in range(99999) %}{% for j in range(99) %}{% macro f() %}{{ i }}{% endmacro %}{% set ns.x = f %}{% endfor %}{% endfor %}",
    "ns_cycle": "{% set ns = namespace() %}{% set ns.x = ns %}{% set ns.y = [ns, ns] %}{{ ns.y == ns.y }}{{ ns.y }}",
    "sort": "{% for i in range(99999) %}{% set x = range(99999) | sort %}{% endfor %}",
    "parentheses": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "operators": "{{ " + "1 + " * 5000 + "1 }}",
    "blocks": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "nots": "{{ " + "not " * 5000 + "1 }}",
    "minuses": "{{ " + "- " * 5000 + "1 }}",
    "filters": "{{ 1" + "|string" * 5000 + " }}",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_that_takes_too_much_ends_with_its_bound(name):
    answer, = render([{"template": BOMBS[name], "variables": {}}])
    assert "error" in answer, str(answer)[:200]
