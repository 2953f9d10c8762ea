# SPDX-License-Identifier: Apache-2.0
"""Turns a GGUF file of the llama architecture into a checkpoint folder: weights in bfloat16, config.json, tokenizer.json and
tokenizer_config.json from the file's metadata. For tests with a real small model: python gguf_checkpoint.py FILE.gguf FOLDER"""
import json
import os
import struct
import sys

import numpy as np

SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
F32, Q4_1, Q8_0 = 0, 3, 8
CONTROL = 3
# What split the text before the merges, by the name that GGUF has for it.
PRE_TOKENIZERS = {"smollm": [{"type": "Digits", "individual_digits": True},
                             {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}]}
NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
         "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm",
         "ffn_norm": "post_attention_layernorm"}


class Reader:
    """Metadata and tensors of a GGUF file."""

    def __init__(self, path):
        self.data = np.memmap(path, mode="r")
        if self.data[:4].tobytes() != b"GGUF":
            raise ValueError(f"{path} is no GGUF file")
        self.at = 4
        self._take("I")
        tensors, keys = self._take("Q"), self._take("Q")
        self.metadata = {}
        for _ in range(keys):
            key = self._string()
            self.metadata[key] = self._value(self._take("I"))
        self.tensors = {}
        for _ in range(tensors):
            name = self._string()
            sizes = [self._take("Q") for _ in range(self._take("I"))]
            self.tensors[name] = (sizes[::-1], self._take("I"), self._take("Q"))
        alignment = self.metadata.get("general.alignment", 32)
        self.begin = -(-self.at // alignment) * alignment

    def _take(self, kind):
        size = struct.calcsize("<" + kind)
        value = struct.unpack("<" + kind, self.data[self.at:self.at + size].tobytes())[0]
        self.at += size
        return value

    def _string(self):
        size = self._take("Q")
        self.at += size
        return self.data[self.at - size:self.at].tobytes().decode()

    def _value(self, kind):
        if kind == STRING:
            return self._string()
        if kind == ARRAY:
            element, count = self._take("I"), self._take("Q")
            return [self._value(element) for _ in range(count)]
        return self._take(SCALARS[kind])

    def tensor(self, name):
        """The tensor's values in float32."""
        shape, kind, offset = self.tensors[name]
        count = int(np.prod(shape))
        bytes_at = lambda size: self.data[self.begin + offset:self.begin + offset + size]  # noqa: E731
        if kind == F32:
            return bytes_at(count * 4).view(np.float32).reshape(shape)
        if kind == Q8_0:  # blocks of 32: scale, codes
            blocks = bytes_at(count // 32 * 34).reshape(-1, 34)
            scale = blocks[:, :2].copy().view(np.float16).astype(np.float32)
            return (blocks[:, 2:].copy().view(np.int8) * scale).reshape(shape)
        if kind == Q4_1:  # blocks of 32: scale, least value, codes of which the low halves come first
            blocks = bytes_at(count // 32 * 20).reshape(-1, 20)
            factors = blocks[:, :4].copy().view(np.float16).astype(np.float32)
            codes = np.concatenate([blocks[:, 4:] & 15, blocks[:, 4:] >> 4], axis=1)
            return (codes * factors[:, :1] + factors[:, 1:]).reshape(shape).astype(np.float32)
        raise ValueError(f"{name}: GGUF type {kind} is not known here")


def rotary_order(weight, heads):
    """GGUF keeps the two numbers of a rotated pair side by side, checkpoints half a head apart."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_tokenizer(metadata, out):
    get = lambda key, default=None: metadata.get("tokenizer.ggml." + key, default)  # noqa: E731
    if get("model") != "gpt2" or get("pre") not in PRE_TOKENIZERS:
        raise ValueError(f"the tokenizer {get('model')}, {get('pre')} is not known here")
    tokens = get("tokens")
    added = [{"id": i, "content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, (token, kind) in enumerate(zip(tokens, get("token_type"))) if kind == CONTROL]
    tokenizer = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": PRE_TOKENIZERS[get("pre")]}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
                  "fuse_unk": False, "byte_fallback": False, "vocab": {token: i for i, token in enumerate(tokens)}, "merges": get("merges")},
    }
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": tokens[get("bos_token_id")], "eos_token": tokens[get("eos_token_id")],
              "add_bos_token": get("add_bos_token", False), "chat_template": metadata["tokenizer.chat_template"],
              "model_max_length": 1000000000000000019884624838656}
    for name, value in (("tokenizer.json", tokenizer), ("tokenizer_config.json", config)):
        with open(os.path.join(out, name), "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False)


def write_weights(reader, heads, kv_heads, out):
    import torch
    from safetensors.torch import save_file

    state = {}
    for name in reader.tensors:
        values = reader.tensor(name)
        parts = name.split(".")
        if parts[0] == "blk":
            if parts[2] in ("attn_q", "attn_k"):
                values = rotary_order(values, heads if parts[2] == "attn_q" else kv_heads)
            name = f"model.layers.{parts[1]}.{NAMES[parts[2]]}.weight"
        else:
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}[parts[0]] + ".weight"
        state[name] = torch.from_numpy(np.array(values, np.float32)).to(torch.bfloat16).contiguous()
    save_file(state, os.path.join(out, "model.safetensors"), metadata={"format": "pt"})


def convert(path, out):
    reader = Reader(path)
    metadata = reader.metadata
    get = lambda key: metadata["llama." + key]  # noqa: E731
    os.makedirs(out, exist_ok=True)
    heads, kv_heads = get("attention.head_count"), get("attention.head_count_kv")
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16", "hidden_act": "silu",
        "hidden_size": get("embedding_length"), "intermediate_size": get("feed_forward_length"), "num_hidden_layers": get("block_count"),
        "num_attention_heads": heads, "num_key_value_heads": kv_heads, "max_position_embeddings": get("context_length"),
        "rms_norm_eps": round(get("attention.layer_norm_rms_epsilon"), 10), "rope_theta": get("rope.freq_base"),
        "vocab_size": get("vocab_size"), "tie_word_embeddings": "output.weight" not in reader.tensors,
        "bos_token_id": metadata["tokenizer.ggml.bos_token_id"], "eos_token_id": metadata["tokenizer.ggml.eos_token_id"],
    }
    with open(os.path.join(out, "config.json"), "w", encoding="utf-8") as file:
        json.dump(config, file)
    write_tokenizer(metadata, out)
    write_weights(reader, heads, kv_heads, out)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: gguf_checkpoint.py FILE.gguf FOLDER")
    convert(sys.argv[1], sys.argv[2])
