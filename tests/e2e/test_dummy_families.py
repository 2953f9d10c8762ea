# SPDX-License-Identifier: Apache-2.0
"""`--load-format dummy` serves every family from its published configuration, scaled down, end to end over HTTP."""

import json
import os
import shutil
import urllib.request
from pathlib import Path

import pytest

from hadal_process import PATIENCE

SOURCE = Path(os.environ["HADAL_SOURCE_DIR"])
DEMO = SOURCE / "models" / "demo"
CONFIGS = SOURCE / "tests" / "data" / "configs"

GQA = dict(hidden_size=80, intermediate_size=131, num_hidden_layers=2, num_attention_heads=5, num_key_value_heads=5)
MOE = dict(moe_intermediate_size=43, num_hidden_layers=3, n_routed_experts=12, num_experts_per_tok=3)
MLA = dict(hidden_size=80, intermediate_size=131, num_attention_heads=5, num_key_value_heads=5, kv_lora_rank=40,
           qk_nope_head_dim=22, qk_rope_head_dim=12, v_head_dim=19)
V3 = MLA | MOE | dict(q_lora_rank=37, n_group=3, topk_group=2, first_k_dense_replace=1)
# A published configuration of each family, and what makes it small. Everything else stays as it was published.
SMALL = {
    "deepseek-coder-6.7b": GQA,
    "DeepSeek-R1-Distill-Llama-8B": GQA | dict(num_key_value_heads=1),
    "DeepSeek-R1-Distill-Qwen-1.5B": GQA,
    "DeepSeek-R1-0528-Qwen3-8B": GQA | dict(head_dim=22),
    "deepseek-moe-16b": GQA | MOE,
    "DeepSeek-V2-Lite": MLA | MOE,
    "DeepSeek-V2": MLA | MOE | dict(q_lora_rank=37, n_group=4, topk_group=2),
    "DeepSeek-V3.1": V3,
    "DeepSeek-V3.2": V3 | dict(index_n_heads=3, index_head_dim=14, index_topk=5),
    "DeepSeek-V4-Flash": dict(hidden_size=80, num_hidden_layers=4, num_attention_heads=6, head_dim=24, qk_rope_head_dim=6,
                              q_lora_rank=37, o_groups=3, o_lora_rank=9, n_routed_experts=7, num_experts_per_tok=3,
                              num_hash_layers=1, moe_intermediate_size=43, sliding_window=7,
                              compress_ratios=[0, 4, 128, 4, 0], index_n_heads=3, index_head_dim=14, index_topk=3),
}


def small_checkpoint(checkpoint, folder):
    """The configuration, with the demo's tokenizer."""
    fields = json.loads((CONFIGS / checkpoint / "config.json").read_text()) | SMALL[checkpoint]
    demo = json.loads((DEMO / "config.json").read_text())
    fields |= {key: demo[key] for key in ("vocab_size", "bos_token_id", "eos_token_id")}
    fields["max_position_embeddings"] = 512
    (folder / "config.json").write_text(json.dumps(fields))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder / name)
    return folder


def complete(server, prompt, **fields):
    body = {"model": "hadal-demo", "prompt": prompt, "max_tokens": 12, "temperature": 0, "logprobs": 1} | fields
    request = urllib.request.Request(server.url + "/v1/completions", json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.load(answer)


def test_every_architecture_is_served():
    published = {json.loads(path.read_text())["architectures"][0] for path in CONFIGS.glob("*/config.json")}
    assert {json.loads((CONFIGS / name / "config.json").read_text())["architectures"][0] for name in SMALL} == published


@pytest.mark.parametrize("checkpoint", SMALL)
def test_dummy_weights_answer_over_http(checkpoint, tmp_path, start_server):
    server = start_server("--load-format=dummy", "--dtype=float32", "--memory-budget=512MiB", "--max-batch-size=8",
                          "--max-batch-tokens=16", model=small_checkpoint(checkpoint, tmp_path))
    prompt = "12 + 34 = " * 8  # longer than a step, a window, and what an indexer keeps
    first, second = complete(server, prompt), complete(server, prompt)
    assert first["usage"]["prompt_tokens"] > 40
    assert 1 <= first["usage"]["completion_tokens"] <= 12
    assert second["choices"][0]["text"] == first["choices"][0]["text"]  # the second finds the prompt in the prefix cache
    logprobs = first["choices"][0]["logprobs"]["token_logprobs"]
    assert len(logprobs) == first["usage"]["completion_tokens"] and all(-50 < x <= 0 for x in logprobs)
