# SPDX-License-Identifier: Apache-2.0
import torch

from ..case import VOCAB, Case
from ..family import Family

BASE = dict(vocab_size=VOCAB, hidden_size=72, intermediate_size=131, num_hidden_layers=3, num_attention_heads=6,
            num_key_value_heads=2, max_position_embeddings=128, rms_norm_eps=1e-6, rope_theta=1000000.0, bos_token_id=0,
            eos_token_id=1, tie_word_embeddings=False)

CASES = [
    Case("qwen2_gqa", 21, BASE),
    Case("qwen2_mqa_tied_f16", 22,
         BASE | dict(hidden_size=80, num_attention_heads=5, num_key_value_heads=1, tie_word_embeddings=True),
         stored=torch.float16),
    # embedding and head are both stored and differ: config.json is wrong, and they are not tied
    Case("qwen2_called_tied", 23, BASE, extra=dict(tie_word_embeddings=True)),
]

FAMILY = Family("qwen2", "Qwen2ForCausalLM", ["R1-Distill-Qwen 1.5B-32B"], CASES)
