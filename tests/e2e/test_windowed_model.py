# SPDX-License-Identifier: Apache-2.0
"""A model with compressed and windowed caches (a tiny DeepSeek-V4 with random weights) through the whole product."""

import concurrent.futures
import json
import os
import shutil
import subprocess
import urllib.request

import pytest

CONFIG = {
    "architectures": ["DeepseekV4ForCausalLM"], "model_type": "deepseek_v4", "vocab_size": 1024, "hidden_size": 72,
    "moe_intermediate_size": 43, "num_hidden_layers": 4, "num_attention_heads": 5, "num_key_value_heads": 1,
    "head_dim": 24, "qk_rope_head_dim": 6, "q_lora_rank": 37, "o_groups": 5, "o_lora_rank": 9, "n_routed_experts": 7,
    "n_shared_experts": 1, "num_experts_per_tok": 3, "num_hash_layers": 1, "routed_scaling_factor": 1.5,
    "swiglu_limit": 10.0, "sliding_window": 23, "compress_ratios": [0, 4, 8, 4], "index_n_heads": 5, "index_head_dim": 14,
    "compress_rates": {"compressed_sparse_attention": 4, "heavily_compressed_attention": 8}, "index_topk": 3,
    "hc_mult": 4, "hc_sinkhorn_iters": 20, "hc_eps": 1e-6, "rope_theta": 10000.0, "compress_rope_theta": 160000.0,
    "scoring_func": "sqrtsoftplus", "topk_method": "noaux_tc", "norm_topk_prob": True, "max_position_embeddings": 512,
    "rms_norm_eps": 1e-6, "torch_dtype": "bfloat16"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("v4")
    (path / "config.json").write_text(json.dumps(CONFIG))
    demo = os.path.join(os.environ["HADAL_SOURCE_DIR"], "models/demo")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(demo, name), path / name)
    return path


def flags(*more):
    return ("--load-format=dummy", "--dtype=float32", "--kv-block-tokens=5", "--max-batch-size=16",
            "--max-batch-tokens=32", *more)


def complete(server, prompt):
    body = json.dumps({"prompt": prompt, "temperature": 0, "max_tokens": 40, "ignore_eos": True,
                       "return_token_ids": True}).encode()
    request = urllib.request.Request(server.url + "/v1/completions", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=120) as answer:
        answer = json.load(answer)
    assert len(answer["choices"][0]["token_ids"]) == 40
    return answer["choices"][0]["token_ids"], answer["usage"]["prompt_cache_hit_tokens"]


def test_answers_do_not_depend_on_neighbours_or_prefix_hits(start_server, folder):
    server = start_server(*flags("--memory-budget=64MiB"), model=folder)
    server.wait_text("KV blocks of 8 tokens instead of 5")
    server.wait_text("window cache of")
    prompts = [[3 + (first * 131 + i * 7) % 1000 for i in range(length)]
               for first, length in enumerate((1, 9, 33, 60, 100, 150))]
    alone = [complete(server, prompt) for prompt in prompts]
    assert all(hit == 0 for _, hit in alone)
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda prompt: complete(server, prompt), prompts))
    assert [tokens for tokens, _ in together] == [tokens for tokens, _ in alone]
    # The pool has room for every window of the first round, so each prompt but its last part is found again.
    assert [hit for _, hit in together] == [(len(prompt) - 1) // 8 * 8 for prompt in prompts]
    server.wait_idle()
    assert server.metric('hadal_kv_window_blocks{state="leased"}') == 0
    assert server.metric('hadal_kv_window_blocks{state="cached"}') > 0


def test_windows_that_do_not_fit_are_named(start_server, folder):
    large_batch = flags("--memory-budget=20MiB", "--max-batch-size=2000", "--max-batch-tokens=2000")
    server = start_server(*large_batch, model=folder, wait_ready=False, expect_exit=1)
    server.process.wait(120)
    assert server.stop() != 0
    assert "the windows of --max-batch-size=2000 sequences and --max-batch-tokens=2000 need" in server.text()


def test_the_plan_counts_the_windows(folder):
    binary = os.environ.get("HADAL_BINARY", os.path.join(os.environ["HADAL_SOURCE_DIR"], "build/release/hadal"))
    plan = subprocess.run([binary, "plan", f"--model=v4={folder}", "--memory-budget=64MiB", *flags()],
                          capture_output=True, text=True, check=True).stdout
    assert "(8 tokens)" in plan
    assert "window                 23 tokens" in plan
