"""VoteFusion in torch, for training and as the yardstick of an export. Coordinates of clouds and pictures are
data, so nothing has a gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from tercelet.contract.errors import InputError
from tercelet.ops.vote_fusion.spec import CLASSES, FARTHEST, NEAREST, ROWS, SINGULAR, SLOTS, SPEC, TINY


def vote_fusion(
    seeds: Tensor, texture: Tensor, boxes: Tensor, depth2img: Tensor, picture: Tensor, *, mode: str
) -> tuple[Tensor, Tensor]:
    """cues (18, 3n) and mask (3n), both float32; see spec.vote_fusion_reference."""
    given = (seeds, texture, boxes, depth2img, picture)
    SPEC.bind([tensor.shape for tensor in given], {"mode": mode})
    for operand, tensor in zip(SPEC.inputs, given, strict=True):
        if tensor.dtype != torch.float32:
            raise InputError(f"VoteFusion: {operand.name}: expected float32, got {tensor.dtype}")
    is_safe = mode == "safe"
    boxes = torch.cat((boxes, boxes.new_zeros((SLOTS, 6))))
    confidence = boxes[:, 4]
    if is_safe:
        confidence = torch.where(confidence > 0, torch.where(confidence < 1, confidence, 1.0), 0.0)
    u, v, depth = _projected(seeds, depth2img)
    low, high = _original_corners(boxes, picture)
    if is_safe:
        high = torch.where((low > -FARTHEST) & (high < FARTHEST), high, -FARTHEST)
    cofactors, determinant, is_invertible = _inverse(depth2img)
    is_in = _is_inside(u[:, None], v[:, None], low, high)
    if is_safe:
        is_in = is_in & (_is_seen(u, v, depth, picture) & is_invertible)[:, None]
    hit = is_in.to(torch.float32)
    score = hit * (1 + confidence) if is_safe else hit + confidence
    # A stable sort, not topk: of equal scores the box that comes first.
    values, places = torch.sort(score, dim=1, descending=True, stable=True)
    best = places[:, :SLOTS].T
    is_hit = is_in.gather(1, best.T).T
    centre = (low[best] + high[best]) * 0.5
    move = _inverted((centre[..., 0] - u) * depth, (centre[..., 1] - v) * depth, cofactors, determinant)
    if not is_safe:
        shift = [(depth2img[:, 3] * cofactors[:, k]).sum() / determinant for k in range(3)]
        move = [part - by for part, by in zip(move, shift, strict=True)]
    geometric = _geometry(seeds, move, is_safe=is_safe)
    numbers = torch.arange(CLASSES, device=boxes.device).view(-1, 1, 1)
    named = torch.where(boxes[best, 5] == numbers, confidence[best], 0.0)
    cues = torch.where(is_hit, torch.cat((geometric, named)), 0.0)
    textures = texture.T[:, None].expand(3, SLOTS, len(seeds))
    mask = is_hit if is_safe else (values[:, :SLOTS].T.floor() > 0)
    if not is_safe and len(boxes) == SLOTS:
        mask = (torch.arange(SLOTS, device=boxes.device)[:, None] == 0).expand(is_hit.shape)
    flat = torch.cat((cues, textures)).reshape(ROWS, SLOTS * len(seeds))
    return flat, mask.to(torch.float32).reshape(-1)


def _projected(seeds: Tensor, depth2img: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    x, y, z = seeds.unbind(1)
    u, v, depth = (((m[0] * x + m[1] * y) + m[2] * z) + m[3] for m in depth2img)
    return (u / depth - 1).round(), (v / depth - 1).round(), depth


def _original_corners(boxes: Tensor, picture: Tensor) -> tuple[Tensor, Tensor]:
    scale, offset = picture[:, 0], picture[:, 1]
    first, second = (boxes[:, :2] - offset) / scale, (boxes[:, 2:4] - offset) / scale
    return torch.where(scale < 0, second, first), torch.where(scale < 0, first, second)


def _inverse(depth2img: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    m = depth2img[:, :3]
    after, before = m.roll(-1, 0), m.roll(1, 0)
    cofactors = after.roll(-1, 1) * before.roll(1, 1) - after.roll(1, 1) * before.roll(-1, 1)
    p = m[0] * cofactors[0]
    determinant = (p[0] + p[1]) + p[2]
    bound = SINGULAR * ((p[0].abs() + p[1].abs()) + p[2].abs())
    return cofactors, determinant, determinant.abs() > bound


def _is_inside(u: Tensor, v: Tensor, low: Tensor, high: Tensor) -> Tensor:
    return (u > low[:, 0]) & (v > low[:, 1]) & (u < high[:, 0]) & (v < high[:, 1])


def _is_seen(u: Tensor, v: Tensor, depth: Tensor, picture: Tensor) -> Tensor:
    column, row = (p * line[0] + line[1] for p, line in ((u, picture[0]), (v, picture[1])))
    is_within = (column >= 0) & (column <= picture[0, 2]) & (row >= 0) & (row <= picture[1, 2])
    return is_within & (depth > NEAREST)


def _inverted(across: Tensor, down: Tensor, cofactors: Tensor, determinant: Tensor) -> list[Tensor]:
    return [(across * cofactors[0, k] + down * cofactors[1, k]) / determinant for k in range(3)]


def _geometry(seeds: Tensor, move: list[Tensor], *, is_safe: bool) -> Tensor:
    """(5, 3, n): offset x and z, ray x, y, z."""
    place = [seeds[:, k] + move[k] for k in range(3)]
    length = (((place[0] * place[0] + place[1] * place[1]) + place[2] * place[2]) + TINY).sqrt()
    ray = [part / length for part in place]
    slope = ray[1] + TINY
    if is_safe:
        slope = torch.where(slope.abs() < TINY, TINY, slope)
    offsets = [ray[k] / slope * seeds[:, 1] - seeds[:, k] for k in (0, 2)]
    return torch.stack((*offsets, *ray))
