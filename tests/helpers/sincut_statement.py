"""SinCUT stated plainly, from the equations of the released code: its networks, its losses, and steps of Adam.

An independent statement, which shares nothing with `models`: dicts of tensors under the released code's names, sums
instead of filters, loops over images and queries. Slow, and meant for a handful of tiny images.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]
TAPS = (1, 3, 3, 1)


def activate(x: Tensor, bias: Tensor) -> Tensor:
    """sqrt(2) * leaky_relu(x + bias, 0.2)"""
    shifted = x + bias
    return math.sqrt(2) * torch.where(shifted > 0, shifted, 0.2 * shifted)


def scaled(weight: Tensor) -> Tensor:
    return weight / math.sqrt(weight.shape[1] * weight.shape[2] * weight.shape[3])


def blur(x: Tensor, padding: int, factor: float = 1.0) -> Tensor:
    """The sum over the 16 places of the kernel [1, 3, 3, 1] x [1, 3, 3, 1] / 64, of an image with a border of zeros."""
    bordered = F.pad(x, [padding] * 4)
    height, width = (extent - 3 for extent in bordered.shape[-2:])
    total = torch.zeros_like(bordered[..., :height, :width])
    for row, first in enumerate(TAPS):
        for column, second in enumerate(TAPS):
            total = total + factor * first * second / 64 * bordered[..., row : row + height, column : column + width]
    return total


def residual_block(x: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    """(conv2(conv1(x)) + skip(x)) / sqrt(2). It halves where it has a skip convolution."""
    out = activate(F.conv2d(x, scaled(weights[f"{name}.conv1.0.weight"]), padding=1), weights[f"{name}.conv1.1.bias"])
    if f"{name}.skip.1.weight" not in weights:
        out = F.conv2d(out, scaled(weights[f"{name}.conv2.0.weight"]), padding=1)
        return (activate(out, weights[f"{name}.conv2.1.bias"]) + x) / math.sqrt(2)
    out = F.conv2d(blur(out, 2), scaled(weights[f"{name}.conv2.1.weight"]), stride=2)
    skip = F.conv2d(blur(x, 1), scaled(weights[f"{name}.skip.1.weight"]), stride=2)
    return (activate(out, weights[f"{name}.conv2.2.bias"]) + skip) / math.sqrt(2)


def encode(image: Tensor, weights: Mapping[str, Tensor]) -> list[Tensor]:
    """The outputs of the encoder's six entries."""
    stem = activate(F.conv2d(image, scaled(weights["encoder.convs.1.0.weight"])), weights["encoder.convs.1.1.bias"])
    features = [image, stem]
    for number in range(2, 6):
        features.append(residual_block(features[-1], weights, f"encoder.convs.{number}"))
    return features


def upsample(x: Tensor, noise: Tensor, weights: Mapping[str, Tensor], name: str) -> Tensor:
    """Each output filter has length 1; each input pixel adds its filters to 3 x 3 pixels of the output."""
    filters = scaled(weights[f"{name}.conv.weight"][0])
    filters = torch.stack([one / torch.sqrt((one**2).sum() + 1e-8) for one in filters])
    count, _, height, width = x.shape
    doubled = x.new_zeros(count, len(filters), 2 * height + 1, 2 * width + 1)
    for row in range(3):
        for column in range(3):
            spread = torch.zeros_like(doubled)
            added = torch.einsum("bihw,oi->bohw", x, filters[:, :, row, column])
            spread[:, :, row : row + 2 * height : 2, column : column + 2 * width : 2] = added
            doubled = doubled + spread
    noisy = blur(doubled, 1, factor=4.0) + weights[f"{name}.noise.weight"] * noise
    return activate(noisy, weights[f"{name}.activate.bias"])


def translate(image: Tensor, noise: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    x = encode(image, weights)[-1]
    for number in range(3):
        x = residual_block(x, weights, f"decoder.convs.{number}")
    x = upsample(x, noise, weights, "decoder.convs.3")
    return activate(F.conv2d(x, scaled(weights["decoder.convs.4.0.weight"])), weights["decoder.convs.4.1.bias"])


def judge(image: Tensor, weights: Mapping[str, Tensor]) -> Tensor:
    """The scores (B,) of whole images."""
    x = activate(F.conv2d(image, scaled(weights["convs.0.0.weight"])), weights["convs.0.1.bias"])
    number = 1
    while f"convs.{number}.conv1.0.weight" in weights:
        x = residual_block(x, weights, f"convs.{number}")
        number += 1
    x = activate(F.conv2d(x, scaled(weights["final_conv.0.weight"]), padding=1), weights["final_conv.1.bias"])
    x = x.reshape(len(x), -1)
    first, second = weights["final_linear.0.weight"], weights["final_linear.1.weight"]
    x = activate(x @ (first / math.sqrt(first.shape[1])).T, weights["final_linear.0.bias"])
    return (x @ (second / math.sqrt(second.shape[1])).T + weights["final_linear.1.bias"])[:, 0]


def embed(feature: Tensor, places: Sequence[int], weights: Mapping[str, Tensor], head: int) -> Tensor:
    """The embeddings (B * P, D) of the same places of all images, each of length 1."""
    found: list[Tensor] = []
    for image in feature.flatten(2):
        for place in places:
            hidden = weights[f"mlp_{head}.0.weight"] @ image[:, place] + weights[f"mlp_{head}.0.bias"]
            x = weights[f"mlp_{head}.2.weight"] @ hidden.clamp(min=0) + weights[f"mlp_{head}.2.bias"]
            found.append(x / (torch.sqrt((x**2).sum()) + 1e-7))
    return torch.stack(found)


def nce(queries: Tensor, keys: Tensor, temperature: float) -> Tensor:
    """The mean over queries, each against its own key and all other keys of the batch."""
    total = queries.new_zeros(())
    for number, query in enumerate(queries):
        own = query @ keys[number] / temperature
        # The released code keeps the own key among the negatives, at a similarity of -10.
        others = [
            query.new_tensor(-10.0) / temperature if other == number else query @ key / temperature
            for other, key in enumerate(keys)
        ]
        total = total - own + torch.logsumexp(torch.stack([own, *others]), 0)
    return total / len(queries)


@dataclass
class Adam:
    """Adam by its equations, for one dict of weights."""

    rate: float
    betas: tuple[float, float]
    first: Weights
    second: Weights
    steps: int = 0

    def update(self, weights: Weights, gradients: Weights) -> Weights:
        self.steps += 1
        one, two = self.betas
        after: Weights = {}
        for name, gradient in gradients.items():
            self.first[name] = one * self.first.get(name, 0) + (1 - one) * gradient
            self.second[name] = two * self.second.get(name, 0) + (1 - two) * gradient**2
            mean = self.first[name] / (1 - one**self.steps)
            spread = torch.sqrt(self.second[name] / (1 - two**self.steps))
            after[name] = weights[name] - self.rate * mean / (spread + 1e-8)
        return {**weights, **after}


@dataclass
class Statement:
    """The weights of G, D and F, and how they train. `step` updates D, then G together with F."""

    generator: Weights
    discriminator: Weights
    heads: Weights
    layers: tuple[int, ...] = (0, 2, 4)
    temperature: float = 0.07
    nce_weight: float = 4.0
    identity_weight: float = 1.0
    pixel_weight: float = 1.0
    r1_weight: float = 1.0
    rate: float = 0.002
    betas: tuple[float, float] = (0.0, 0.99)

    def __post_init__(self) -> None:
        self.adams = {name: Adam(self.rate, self.betas, {}, {}) for name in ("D", "G", "F")}
        self.gradients: dict[str, Weights] = {}

    def step(
        self, a: Tensor, b: Tensor, noise: Mapping[str, Tensor], places: Mapping[str, Sequence[Sequence[int]]]
    ) -> dict[str, float]:
        """Take a step, keep its gradients, and return its losses. places: of each domain, those of each layer."""
        generator, heads = (_trainable(weights) for weights in (self.generator, self.heads))
        fake, again = translate(a, noise["a"], generator), translate(b, noise["b"], generator)

        discriminator = _trainable(self.discriminator)
        losses = {
            "discriminator/real": 0.5 * F.softplus(-judge(b, discriminator)).mean(),
            "discriminator/fake": 0.5 * F.softplus(judge(fake.detach(), discriminator)).mean(),
            "discriminator/r1": self._r1(b, discriminator),
        }
        self.gradients["D"] = _gradients(sum(losses.values()), discriminator)
        self.discriminator = self.adams["D"].update(self.discriminator, self.gradients["D"])

        share = self.nce_weight / (1 + self.identity_weight)
        generator_losses = {
            "generator/adversarial": F.softplus(-judge(fake, self.discriminator)).mean(),
            "generator/nce_a": share * self._nce(a, fake, places["a"], generator, heads),
            "generator/nce_b": share * self.identity_weight * self._nce(b, again, places["b"], generator, heads),
            "generator/identity": self.pixel_weight * (again - b).abs().mean(),
        }
        found = _gradients(sum(generator_losses.values()), {**generator, **heads})
        for name, weights in (("G", generator), ("F", heads)):
            self.gradients[name] = {key: found[key] for key in weights if key in found}
        self.generator = self.adams["G"].update(self.generator, self.gradients["G"])
        self.heads = self.adams["F"].update(self.heads, self.gradients["F"])
        return {name: float(loss.detach()) for name, loss in {**losses, **generator_losses}.items()}

    def _r1(self, b: Tensor, discriminator: Weights) -> Tensor:
        total = b.new_zeros(())
        for image in b:
            one = image[None].clone().requires_grad_()
            (gradient,) = torch.autograd.grad(judge(one, discriminator).sum(), one, create_graph=True)
            total = total + (gradient**2).sum()
        return 0.5 * self.r1_weight * total / len(b)

    def _nce(
        self, source: Tensor, output: Tensor, places: Sequence[Sequence[int]], generator: Weights, heads: Weights
    ) -> Tensor:
        before, behind = encode(source, generator), encode(output, generator)
        total = source.new_zeros(())
        for head, layer in enumerate(self.layers):
            keys = embed(before[layer], places[head], heads, head).detach()
            total = total + nce(embed(behind[layer], places[head], heads, head), keys, self.temperature)
        return total / len(self.layers)


def _trainable(weights: Weights) -> Weights:
    """Copies that get gradients. The kernels of blurs are no weights."""
    return {name: weight.clone().requires_grad_() for name, weight in weights.items() if not name.endswith("kernel")}


def _gradients(loss: Tensor, weights: Weights) -> Weights:
    gradients = torch.autograd.grad(loss, list(weights.values()))
    return dict(zip(weights, gradients, strict=True))
