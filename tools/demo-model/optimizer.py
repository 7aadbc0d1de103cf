"""Muon for the matrices of layers, Adam for everything else.

Muon (K. Jordan and others, 2024, kellerjordan.github.io/posts/muon): the momentum of a matrix is made orthogonal by a
Newton-Schulz iteration. Matrices of one shape are taken together.
"""

import torch

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonal(g):
    """Nearly the closest matrix with singular values of 1, for each of [n, rows, columns]."""
    x = g.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(5):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return (x.mT if tall else x).float()


class Muon:
    def __init__(self, model, rate):
        self.groups, rest = {}, []
        for name, p in model.named_parameters():
            if name.startswith("layers.") and p.ndim == 2:
                self.groups.setdefault(tuple(p.shape), []).append(p)
            else:
                rest.append((name, p))
        self.momentum = {shape: torch.zeros(len(ps), *shape, device=ps[0].device) for shape, ps in self.groups.items()}
        self.rate = 0.02 * rate
        pick = lambda test: [p for name, p in rest if test(name)]
        kinds = [
            (lambda n: n == "embedding", 3e-3),
            (lambda n: n in ("audio", "vision.projection"), 6e-4),
            (lambda n: n == "vision.patch", 2.5e-4),
            (lambda n: n == "vision.places", 2e-3),
        ]
        known = set()
        groups = []
        for test, lr in kinds:
            groups.append({"params": pick(test), "lr": lr * rate})
            known |= {name for name, _ in rest if test(name)}
        groups.append({"params": pick(lambda n: n not in known), "lr": 1.5e-3 * rate})
        self.adam = torch.optim.AdamW(
            groups, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.0, fused=next(model.parameters()).is_cuda
        )
        self.rates = [g["lr"] for g in groups]
        self.all = list(model.parameters())

    @torch.no_grad()
    def step(self, factor):
        torch.nn.utils.clip_grad_norm_(self.all, 1.0)
        for shape, ps in self.groups.items():
            g = torch.stack([p.grad for p in ps])
            m = self.momentum[shape].mul_(0.95).add_(g)
            update = orthogonal(g + 0.95 * m) * max(1.0, shape[0] / shape[1]) ** 0.5
            rate = self.rate * factor
            for p, u in zip(ps, update):
                p.mul_(1 - 0.05 * rate).add_(u, alpha=-rate)
        for group, lr in zip(self.adam.param_groups, self.rates):
            group["lr"] = lr * factor
        self.adam.step()
        for p in self.all:
            p.grad = None
