"""The structure distance of two images: how far the self-similarities of DINO's keys differ.

Tumanyan et al., Splicing ViT Features for Semantic Appearance Transfer, CVPR 2022, with the layer, size and mean of its
code. The network is ViT-B/8 of Caron et al., ICCV 2021. torchvision has its architecture, so that no repository's code
is run.
"""

import re
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vision_transformer import EncoderBlock, VisionTransformer

URL = "https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth"
SIDE = 224
# Of red, green and blue from 0 to 1.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# DINO's names of weights, and torchvision's.
NAMES = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
    (r"^patch_embed\.proj\.", "conv_proj."),
    (r"^norm\.", "encoder.ln."),
    (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
    (r"\.norm(\d)\.", r".ln_\1."),
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
    (r"\.mlp\.fc1\.", ".mlp.0."),
    (r"\.mlp\.fc2\.", ".mlp.3."),
)


class Keys(nn.Module):
    """Images of 8 bits (B, 3, H, W) -> the keys of the last layer (B, T, D), of the class token and of each patch.

    Images are resized to the network's square by an antialiased bilinear filter.
    """

    def __init__(self, network: VisionTransformer, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self.network = network
        self.network.heads = nn.Sequential()
        self.network.load_state_dict({_renamed(name): tensor for name, tensor in weights.items()})
        self.mean = nn.Buffer(255 * torch.tensor(MEAN)[:, None, None])
        self.deviation = nn.Buffer(255 * torch.tensor(DEVIATION)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        network = self.network
        side = (network.image_size, network.image_size)
        resized = F.interpolate(images.float(), side, mode="bilinear", antialias=True, align_corners=False)
        patches = network.conv_proj((resized - self.mean) / self.deviation).flatten(2).mT
        tokens = torch.cat([network.class_token.expand(len(images), -1, -1), patches], 1)
        tokens = tokens + network.encoder.pos_embedding
        *before, last = cast(list[EncoderBlock], list(network.encoder.layers))
        for block in before:
            tokens = block(tokens)
        attention = last.self_attention
        _, weight, _ = attention.in_proj_weight.chunk(3)
        _, bias, _ = attention.in_proj_bias.chunk(3)
        return F.linear(last.ln_1(tokens), weight, bias)


def load_dino_keys() -> nn.Module:
    """Load ViT-B/8 with DINO's weights from torch's folder, or download them. Raises what torch does."""
    weights = torch.hub.load_state_dict_from_url(URL, map_location="cpu", progress=False, weights_only=True)
    network = VisionTransformer(SIDE, patch_size=8, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072)
    return Keys(network, weights).eval()


def structure_distances(keys_1: Tensor, keys_2: Tensor) -> Tensor:
    """Return the mean squared difference of the cosine self-similarities of keys (B, T, D), for each image: (B)."""
    one, two = (F.normalize(keys, dim=2) for keys in (keys_1, keys_2))
    return (one @ one.mT - two @ two.mT).square().mean((1, 2))


def _renamed(name: str) -> str:
    for pattern, replacement in NAMES:
        name = re.sub(pattern, replacement, name)
    return name
