# SPDX-License-Identifier: Apache-2.0
"""Muon for the hidden matrices (momentum made orthogonal by Newton-Schulz); AdamW takes the rest."""

from collections import defaultdict

import torch


def _orthogonal(batch):
    """[n, rows, columns] -> about the nearest semi-orthogonal matrices, in bf16."""
    x = batch.bfloat16()
    tall = x.shape[1] > x.shape[2]
    if tall:
        x = x.mT
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * (a @ a)) @ x
    return (x.mT if tall else x).float()


class Muon:
    """Step for 2-D and stacked 3-D parameters; matrices of one shape are treated together."""

    def __init__(self, parameters, momentum=0.95, weight_decay=0.01):
        self._groups = defaultdict(list)
        for p in parameters:
            self._groups[p.shape[-2:]].append((p, torch.zeros_like(p)))
        self._momentum, self._decay = momentum, weight_decay

    @torch.no_grad()
    def step(self, lr):
        for (rows, columns), group in self._groups.items():
            updates = []
            for p, velocity in group:
                velocity.lerp_(p.grad, 1 - self._momentum)
                updates.append(p.grad.lerp(velocity, self._momentum).view(-1, rows, columns))
            whole = _orthogonal(torch.cat(updates)) * max(1, rows / columns) ** 0.5
            for (p, _), update in zip(group, whole.split([len(u) for u in updates])):
                p.mul_(1 - lr * self._decay).sub_(lr * update.view(p.shape))


def split_parameters(network):
    """(matrices for Muon, the rest for AdamW): embedding, head, router and norms are the rest."""
    matrices, rest = [], []
    for name, p in network.named_parameters():
        hidden = p.ndim >= 2 and not any(part in name for part in ("embed_tokens", "lm_head", "gate.weight"))
        (matrices if hidden else rest).append(p)
    return matrices, rest
