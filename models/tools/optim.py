"""Muon for the hidden matrices, and the learning-rate schedule."""

import torch

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalize(g, steps=5):
    """The nearest orthogonal matrices of a stack (n, rows, columns), by Newton-Schulz iteration."""
    a, b, c = NEWTON_SCHULZ
    flip = g.shape[1] > g.shape[2]
    x = g.mT if flip else g
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * s @ s) @ x
    return x.mT if flip else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal; matrices of one shape are handled as one stack."""

    def __init__(self, matrices, lr, momentum=0.95, weight_decay=0.1):
        by_shape = {}
        for m in matrices:
            by_shape.setdefault(tuple(m.shape), []).append(m)
        groups = [{"params": group} for group in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            params = group["params"]
            state = self.state[params[0]]
            grads = torch.stack([p.grad for p in params])
            held = state.setdefault("momentum", torch.zeros_like(grads))
            held.lerp_(grads, 1 - group["momentum"])
            update = orthogonalize(grads.lerp(held, group["momentum"]))
            rows, columns = params[0].shape
            scale = group["lr"] * max(1.0, rows / columns) ** 0.5
            for p, u in zip(params, update):
                p.mul_(1 - group["lr"] * group["weight_decay"]).sub_(u, alpha=scale)


def schedule(step, steps, warm=40, fall=0.5):
    """The share of the peak rate: a warm start, a plateau, and a linear fall over the last part."""
    return min(1.0, (step + 1) / warm, (steps - step) / (steps * fall))


def set_rate(optimizers, share):
    """Scales every optimizer's peak rate."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group.setdefault("peak", group["lr"]) * share
