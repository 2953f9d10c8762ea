# SPDX-License-Identifier: Apache-2.0
"""Checkpoint folders with published dimensions and no weights, for `--load-format=dummy`, and the same as GGUF for llama.cpp."""
import json
import pathlib
import shutil

# R1-Distill-Qwen-1.5B.
QWEN2_1P5B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 1536, "intermediate_size": 8960,
    "num_hidden_layers": 28, "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936, "rope_theta": 10000,
    "max_position_embeddings": 131072, "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "hidden_act": "silu",
    "torch_dtype": "bfloat16", "bos_token_id": 151643, "eos_token_id": 151643, "use_sliding_window": False,
}


def write_checkpoint(folder, config, tokenizer_folder):
    """config.json, and some tokenizer: token ids are given by the benchmark, texts are not."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pathlib.Path(tokenizer_folder) / name, folder / name)


def write_gguf(path, config, seed=1):
    """The same dimensions as a bf16 GGUF file with random weights. Needs the packages gguf, numpy and torch."""
    import gguf
    import numpy as np
    import torch

    generator = torch.Generator().manual_seed(seed)
    writer = gguf.GGUFWriter(str(path), "qwen2")
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    hidden, inter, layers, vocab = (config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"],
                                    config["vocab_size"])
    writer.add_block_count(layers)
    writer.add_context_length(4096)
    writer.add_embedding_length(hidden)
    writer.add_feed_forward_length(inter)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_BF16)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list([f"t{i}" for i in range(vocab)])
    writer.add_token_types([1] * vocab)
    writer.add_token_merges(["t 0"])

    def bf16(name, *shape):
        values = (torch.randn(*shape, generator=generator, dtype=torch.float32) * 0.02).bfloat16()
        writer.add_tensor(name, values.view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)

    def f32(name, *shape, value=0.0):
        writer.add_tensor(name, np.full(shape, value, dtype=np.float32))

    head_dim = hidden // heads
    bf16("token_embd.weight", vocab, hidden)
    bf16("output.weight", vocab, hidden)
    f32("output_norm.weight", hidden, value=1.0)
    for layer in range(layers):
        prefix = f"blk.{layer}."
        f32(prefix + "attn_norm.weight", hidden, value=1.0)
        f32(prefix + "ffn_norm.weight", hidden, value=1.0)
        for name, rows in (("q", heads * head_dim), ("k", kv_heads * head_dim), ("v", kv_heads * head_dim)):
            bf16(f"{prefix}attn_{name}.weight", rows, hidden)
            f32(f"{prefix}attn_{name}.bias", rows)
        bf16(prefix + "attn_output.weight", hidden, heads * head_dim)
        bf16(prefix + "ffn_gate.weight", inter, hidden)
        bf16(prefix + "ffn_up.weight", inter, hidden)
        bf16(prefix + "ffn_down.weight", hidden, inter)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
