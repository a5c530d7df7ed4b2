"""Contrastive losses, written term by term: one image, one layer, scalars only.

They are slow and follow the equations, so that fast versions can be compared with them. Gradients flow through all
that is not behind `.detach()` (sg in the equations). Exponentials are not shifted, so they must stay within the range
of float64. Embeddings q and k (P, D) have length 1 already. Sources are named owner/repository @ commit; CUT is
taesungp/contrastive-unpaired-translation.

Legend: P patches, N negatives, D features of an embedding, M generated negatives, E noise, C channels, S positions.
"""

from typing import Literal

import torch
from torch import Tensor

Negatives = list[list[Tensor]]  # for each query its negatives, each (D,)
Matrix = list[list[Tensor]]  # rows of scalars
Preference = Literal["similar", "dissimilar"]


def dot(a: Tensor, b: Tensor) -> Tensor:
    total = torch.zeros((), dtype=a.dtype)
    for d in range(len(a)):
        total = total + a[d] * b[d]
    return total


def mean(scalars: list[Tensor]) -> Tensor:
    return sum(scalars) / len(scalars)


def nce(q: Tensor, k: Tensor, negatives: Negatives, tau: float) -> Tensor:
    """mean_i -log( e^(s_ii/tau) / (e^(s_ii/tau) + sum_j e^(q_i.n_ij/tau)) ), s_ii = q_i.sg(k_i). CUT @ b3ac297."""
    losses = []
    for i in range(len(q)):
        positive = torch.exp(dot(q[i], k[i].detach()) / tau)
        others = 0.0
        for n in negatives[i]:
            others = others + torch.exp(dot(q[i], n) / tau)
        losses.append(-torch.log(positive / (positive + others)))
    return mean(losses)


def internal_negatives(k: Tensor) -> Negatives:
    """n_i = { sg(k_j) : j != i }. CUT @ b3ac297."""
    return [[k[j].detach() for j in range(len(k)) if j != i] for i in range(len(k))]


def minibatch_negatives(keys: list[Tensor], image: int) -> Negatives:
    """n_i = { sg(k_cj) : (c, j) != (image, i) }, all patches of all images but the own one. CUT @ b3ac297."""
    negatives = []
    for i in range(len(keys[image])):
        others = []
        for c, k in enumerate(keys):
            for j in range(len(k)):
                if (c, j) != (image, i):
                    others.append(k[j].detach())
        negatives.append(others)
    return negatives


def hard_weights(k: Tensor, negatives: Negatives, gamma: float) -> Matrix:
    """w_ij = sg( exp(k_i.n_ij / gamma) / max_j' exp(k_i.n_ij' / gamma) ). jcy132/Hneg_SRC @ 9a9647d."""
    weights = []
    for i in range(len(k)):
        raw = [torch.exp(dot(k[i], n) / gamma).detach() for n in negatives[i]]
        weights.append([value / max(raw) for value in raw])
    return weights


def hard_nce(q: Tensor, k: Tensor, negatives: Negatives, tau: float, gamma: float, decoupled: bool) -> Tensor:
    """mean_i log( [e^(s_ii/tau)] + sum_j e^(w_ij q_i.n_ij/tau) ) - s_ii/tau. jcy132/Hneg_SRC @ 9a9647d.

    The term in brackets is left out where `decoupled`. The released loss has that form's gradient.
    """
    weights = hard_weights(k, negatives, gamma)
    losses = []
    for i in range(len(q)):
        positive = dot(q[i], k[i].detach()) / tau
        total = 0.0 if decoupled else torch.exp(positive)
        for w, n in zip(weights[i], negatives[i], strict=True):
            total = total + torch.exp(w * dot(q[i], n) / tau)
        losses.append(torch.log(total) - positive)
    return mean(losses)


def decoupled_nce(q: Tensor, k: Tensor, negatives: Negatives, tau: float) -> Tensor:
    """mean_i log sum_j e^(q_i.n_ij/tau) - s_ii/tau. hDCE with all weights 1, jcy132/Hneg_SRC @ 9a9647d."""
    losses = []
    for i in range(len(q)):
        total = 0.0
        for n in negatives[i]:
            total = total + torch.exp(dot(q[i], n) / tau)
        losses.append(torch.log(total) - dot(q[i], k[i].detach()) / tau)
    return mean(losses)


def transport_plan(
    s: Tensor | Matrix,
    allowed: list[list[bool]],
    epsilon: float,
    prefer: Preference,
    iterations: int,
) -> Matrix:
    """u_i = 1 / sum_j K_ij v_j, then v_j = (P/N) / sum_i u_i K_ij; T_ij = u_i K_ij v_j. fnzhan/MoNCE @ 6672c29.

    K_ij = exp(s_ij/epsilon) or exp((1 - s_ij)/epsilon), and 0 where the pair is not allowed. u = v = 1 at first.
    """
    P, N = len(s), len(s[0])
    K = [[torch.zeros((), dtype=s[0][0].dtype) for _ in range(N)] for _ in range(P)]
    for i in range(P):
        for j in range(N):
            if allowed[i][j]:
                preferred = s[i][j] if prefer == "similar" else 1 - s[i][j]
                K[i][j] = torch.exp(preferred / epsilon)
    u, v = [1.0] * P, [1.0] * N
    for _ in range(iterations):
        u = [1 / sum(K[i][j] * v[j] for j in range(N)) for i in range(P)]
        v = [(P / N) / sum(u[i] * K[i][j] for i in range(P)) for j in range(N)]
    return [[u[i] * K[i][j] * v[j] for j in range(N)] for i in range(P)]


def transport_nce(
    q: Tensor,
    k: Tensor,
    tau: float,
    epsilon: float,
    prefer: Preference,
    iterations: int,
    through_queries: bool,
) -> Tensor:
    """mean_i -log( e^(s_ii/tau) / (e^(s_ii/tau) + sum_{j != i} w_ij e^(s_ij/tau)) ), w_ij = (P - 1) T_ij + 1e-8.

    s_ij = q_i.sg(k_j). T is behind sg unless `through_queries`. fnzhan/MoNCE @ 6672c29 with Q = 1. The diagonal of K is
    0 here; as released it is exp(-10/epsilon).
    """
    P = len(q)
    s = [[dot(q[i], k[j].detach()) for j in range(P)] for i in range(P)]
    allowed = [[i != j for j in range(P)] for i in range(P)]
    T = transport_plan(s, allowed, epsilon, prefer, iterations)
    losses = []
    for i in range(P):
        positive = torch.exp(s[i][i] / tau)
        others = 0.0
        for j in range(P):
            if j != i:
                w = (P - 1) * (T[i][j] if through_queries else T[i][j].detach()) + 1e-8
                others = others + w * torch.exp(s[i][j] / tau)
        losses.append(-torch.log(positive / (positive + others)))
    return mean(losses)


def transport_nce_external(
    q: Tensor,
    k: Tensor,
    n: Tensor,
    tau: float,
    epsilon: float,
    prefer: Preference,
    iterations: int,
    through_queries: bool,
) -> Tensor:
    """As `transport_nce`, with N other negatives n (N, D): s_ij = q_i.n_j, no pair excluded, w_ij = N T_ij + 1e-8.

    The caller detaches n where the source does. fnzhan/MoNCE @ 6672c29, for other negatives than its own.
    """
    P, N = len(q), len(n)
    s = [[dot(q[i], n[j]) for j in range(N)] for i in range(P)]
    T = transport_plan(s, [[True] * N for _ in range(P)], epsilon, prefer, iterations)
    losses = []
    for i in range(P):
        positive = torch.exp(dot(q[i], k[i].detach()) / tau)
        others = 0.0
        for j in range(N):
            w = N * (T[i][j] if through_queries else T[i][j].detach()) + 1e-8
            others = others + w * torch.exp(s[i][j] / tau)
        losses.append(-torch.log(positive / (positive + others)))
    return mean(losses)


def top_k_nce(q: Tensor, k: Tensor, negatives: Negatives, tau: float, count: int) -> Tensor:
    """CUT's loss over the `count` largest q_i.n_ij of each query i. A reading of PUT's abstract.

    The released code (c733c66) ranks each key's queries instead, which is another method.
    """
    kept = []
    for i in range(len(q)):
        similarities = [dot(q[i], n).item() for n in negatives[i]]
        order = sorted(range(len(similarities)), key=similarities.__getitem__, reverse=True)
        kept.append([negatives[i][j] for j in order[:count]])
    return nce(q, k, kept, tau)


def semantic_relation(q: Tensor, k: Tensor) -> Tensor:
    """0.5 sum_ij P_ij log(P_ij/M_ij) + 0.5 sum_ij R_ij log(R_ij/M_ij), M = (P + R)/2: a sum, not a mean.

    P_ij = e^(q_i.q_j) / sum_i' e^(q_i'.q_j). R_ij is the same of k, behind sg. jcy132/Hneg_SRC @ 9a9647d.
    """
    count = len(q)
    total = 0.0
    for j in range(count):
        exp_q = [torch.exp(dot(q[i], q[j])) for i in range(count)]
        exp_k = [torch.exp(dot(k[i], k[j])).detach() for i in range(count)]
        sum_q, sum_k = sum(exp_q), sum(exp_k)
        for i in range(count):
            P = exp_q[i] / sum_q
            R = exp_k[i] / sum_k
            M = (P + R) / 2
            total = total + 0.5 * P * torch.log(P / M) + 0.5 * R * torch.log(R / M)
    return total


def two_layers(x: list[Tensor], weights: dict[str, Tensor]) -> list[Tensor]:
    """unit(y) = y / (|y| + 1e-7), where y = W2 relu(W1 x + b1) + b2 and W is (out, in). CUT @ b3ac297, its heads."""
    hidden = []
    for row, bias in zip(weights["w1"], weights["b1"], strict=True):
        value = sum(row[d] * x[d] for d in range(len(x))) + bias
        hidden.append(value if value.item() > 0 else value * 0)
    y = []
    for row, bias in zip(weights["w2"], weights["b2"], strict=True):
        y.append(sum(row[d] * hidden[d] for d in range(len(hidden))) + bias)
    length = torch.sqrt(sum(value * value for value in y))
    return [value / (length + 1e-7) for value in y]


def generated_negatives(mean: Tensor, noise: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """n_m = unit(W2 relu(W1 [mean; noise_m] + b1) + b2), (M, D). WeilunWang/NEGCUT @ c7dbe3d."""
    rows = []
    for m in range(len(noise)):
        rows.append(torch.stack(two_layers([*mean, *noise[m]], weights)))
    return torch.stack(rows)


def diversity(n: Tensor) -> Tensor:
    """2/(M D) sum_{m < M/2} sum_d |n_md - n_(m + M/2)d|. WeilunWang/NEGCUT @ c7dbe3d."""
    half = len(n) // 2
    return mean([(n[m][d] - n[m + half][d]).abs() for m in range(half) for d in range(len(n[m]))])


def mean_embedding(features: Tensor, weights: dict[str, Tensor]) -> Tensor:
    """1/S sum_p unit(W2 relu(W1 z_p + b1) + b2), (D,), not of length 1. WeilunWang/NEGCUT @ c7dbe3d."""
    embeddings = [two_layers(list(features[:, p]), weights) for p in range(features.shape[1])]
    return torch.stack([mean([embedding[d] for embedding in embeddings]) for d in range(len(weights["b2"]))])


def positive_weights(q: Tensor, k: Tensor, p: float) -> list[Tensor]:
    """w_i = sg( (p + (1-p) s_ii) / mean_i' (p + (1-p) s_i'i') ). lifangda01/AdaptiveSupervisedPatchNCE @ b113ed2.

    This is g(s) = s, which "linear" says. Weights are negative where p + (1-p) s_ii is.
    """
    raw = [(p + (1 - p) * dot(q[i], k[i])).detach() for i in range(len(q))]
    return [value / mean(raw) for value in raw]


def positive_weighted_nce(q: Tensor, k: Tensor, negatives: Negatives, tau: float, p: float) -> Tensor:
    """mean_i w_i l_i, l_i CUT's loss of query i. lifangda01/AdaptiveSupervisedPatchNCE @ b113ed2."""
    weights = positive_weights(q, k, p)
    losses = []
    for i in range(len(q)):
        losses.append(weights[i] * nce(q[i : i + 1], k[i : i + 1], [negatives[i]], tau))
    return mean(losses)
