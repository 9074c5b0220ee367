"""What a point detector is shown: augmentation that moves everything alike, votes of files, 2D boxes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tercelet.contract.box3d import SUNRGBD_MEAN_SIZES, points_in_boxes
from tercelet.evaluation.datasets.sunrgbd_votenet import read_votes
from tercelet.evaluation.synthetic.rooms import synth_rooms
from tercelet.training.building import build
from tercelet.training.detectors.imvotenet.detector import ImVoteNet, TowerPredictions
from tercelet.training.detectors.imvotenet.losses import votenet_losses
from tercelet.training.detectors.imvotenet.options import PIXELS
from tercelet.training.detectors.imvotenet.view import PictureView
from tercelet.training.detectors.point_layers import GATHERINGS
from tercelet.training.detectors.point_ops import ball_query, group, largest
from tercelet.training.detectors.votenet.options import VoteNetOptions
from tercelet.training.point_training.augmentation import RoomAugmentation, RoomMotion
from tercelet.training.point_training.rooms import TrainingRooms, open_training_rooms
from tercelet.training.point_training.samples import RoomSource, batch_of_rooms, judged_inputs

# Metres; float32 at the size of a room.
CLOSE = 1e-5
# Of a pixel, at depths of metres.
SUBPIXEL = 1e-2
STILL = RoomAugmentation(flip=0.0, degrees=0.0, scale=(1.0, 1.0))
MOTIONS = (
    RoomMotion(),
    RoomMotion(is_mirrored=True),
    RoomMotion(turn=0.4),
    RoomMotion(scale=1.1),
    RoomMotion(is_mirrored=True, turn=-0.5, scale=0.9),
)
BOXES = np.array([[0.5, 2.0, 0.3, 1.0, 0.6, 0.8, 0.3], [-1.0, 3.0, 0.5, 0.5, 0.9, 1.0, -2.9]])


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> TrainingRooms:
    folder = tmp_path_factory.mktemp("rooms") / "made"
    synth_rooms(folder, count=2, jobs=1, quiet=True)
    return open_training_rooms(folder, val=folder, needs_picture=True)


def source(rooms: TrainingRooms, **changes: object) -> RoomSource:
    """Of these rooms, 4096 points each."""
    made = RoomSource(
        scenes=rooms.scenes,
        points=4096,
        mean_sizes=SUNRGBD_MEAN_SIZES,
        yaw_bins=12,
        augmentation=RoomAugmentation(),
        pixels=PIXELS["bgr_mean"],
        seed=0,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("motion", MOTIONS)
def test_points_stay_in_the_boxes_they_were_in(motion: RoomMotion) -> None:
    points = np.random.default_rng(0).uniform((-2, 1, 0), (2, 4, 1), (5000, 3))
    before = points_in_boxes(points.astype(np.float32), BOXES)
    after = points_in_boxes(motion.points(points), motion.boxes(BOXES))
    assert before.any(axis=0).all()
    # Those on a side may fall to either one by rounding.
    assert np.count_nonzero(before != after) <= 2


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_point_is_at_the_same_pixel_after_augmentation(motion: RoomMotion) -> None:
    points = np.random.default_rng(0).uniform((-1, 1.5, -1), (1, 4, 1), (200, 3))
    camera = np.array([[500.0, 320, 0], [0, 240, -500], [0, 1, 0]])

    def pixels(cloud: torch.Tensor, moved: RoomMotion) -> torch.Tensor:
        matrix = PictureView(camera, (480, 640), motion=moved.of_cloud()).matrix()
        seen = cloud @ matrix[:, :3].T + matrix[:, 3]
        return seen[:, :2] / seen[:, 2:]

    before = pixels(torch.from_numpy(points).float(), RoomMotion())
    after = pixels(torch.from_numpy(motion.points(points)), motion)
    torch.testing.assert_close(after, before, atol=SUBPIXEL, rtol=0)


def test_what_is_drawn_lies_in_the_ranges_and_uses_them() -> None:
    drawn = [RoomAugmentation().drawn(np.random.default_rng(seed)) for seed in range(300)]
    turns, scales = np.degrees([m.turn for m in drawn]), np.array([m.scale for m in drawn])
    assert -30 <= turns.min() < -28
    assert 28 < turns.max() <= 30
    assert 0.85 <= scales.min() < 0.86
    assert 1.14 < scales.max() <= 1.15
    assert 110 < sum(m.is_mirrored for m in drawn) < 190


def test_votes_are_those_of_the_file(rooms: TrainingRooms) -> None:
    scene = rooms.scenes[0]
    assert scene.votes is not None
    has_vote, votes = read_votes(scene.votes)
    found = source(rooms, points=20_000, augmentation=STILL, pixels=None).sample(0, 0)
    # Rows of the cloud in the order in which they were drawn: found again by their coordinates.
    given = {tuple(p): row for row, p in enumerate(scene.read_cloud().points.tolist())}
    rows = [given[tuple(p)] for p in found.inputs[0][:, :3].tolist()]
    np.testing.assert_array_equal(found.targets.has_vote[0].numpy(), has_vote[rows])
    np.testing.assert_allclose(found.targets.votes[0].numpy(), votes[rows], atol=CLOSE)
    # The boxes say something else: they hold points that were seen on nothing, or on something else.
    derived = replace(scene, votes=None)
    other = source(rooms, scenes=(derived,), points=20_000, augmentation=STILL, pixels=None).sample(0, 0)
    assert not torch.equal(other.targets.has_vote, found.targets.has_vote)


def test_votes_lead_to_the_centres_after_augmentation(rooms: TrainingRooms) -> None:
    for epoch in range(4):
        sample = source(rooms).sample(epoch, 0)
        targets, cloud = sample.targets, sample.inputs[0]
        voting = targets.has_vote[0]
        ends = cloud[voting, None, :3] + targets.votes[0][voting]
        ways = ends.reshape(-1, 1, 3) - targets.centres[0]
        distance = ways.norm(dim=2).amin(1)
        assert bool(voting.any())
        assert float(distance.max()) < 1e-4


def test_a_point_on_a_centre_votes_for_its_own_place(rooms: TrainingRooms, tmp_path: Path) -> None:
    scene = rooms.scenes[0]
    place = scene.boxes[0, :3]
    np.savez(tmp_path / "000000_pc.npz", pc=np.tile(place, (1000, 1)).astype(np.float32))
    alone = replace(
        scene,
        cloud=tmp_path / "000000_pc.npz",
        votes=None,
        boxes=scene.boxes[:1],
        class_ids=scene.class_ids[:1],
    )
    targets = source(rooms, scenes=(alone,), pixels=None, points=16).sample(3, 0).targets
    assert bool(targets.has_vote.all())
    assert float(targets.votes.abs().max()) < CLOSE


def test_half_of_the_boxes_of_a_picture_are_shown_and_none_is_certain(rooms: TrainingRooms) -> None:
    scene = rooms.scenes[0]
    boxes = source(rooms).sample(0, 0).inputs[2]
    assert len(boxes) == -(-len(scene.boxes) // 2)
    assert float(boxes[:, 4].max()) < 1
    assert set(boxes[:, 5].long().tolist()) <= set(scene.class_ids.tolist())
    judged = judged_inputs(scene, 1024, pixels=PIXELS["bgr_mean"])[2]
    assert len(judged) == len(scene.boxes)
    assert float(judged[:, 4].max()) < 1


def test_an_epoch_shows_other_points_and_the_same_when_asked_again(rooms: TrainingRooms) -> None:
    first, again, later = (source(rooms).sample(epoch, 0).inputs[0] for epoch in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, later)


def test_what_a_training_step_gathers_is_what_an_export_does() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(2, 40, 3, generator=generator)
    features = torch.rand(2, 5, 40, generator=generator).requires_grad_()
    around = ball_query(points, points[:, :7], radius=0.4, samples=6)
    with torch.no_grad():
        plain = group(points, points[:, :7], features, around, radius=0.4)
        most = plain.amax(3)
    quick = group(points, points[:, :7], features, around, radius=0.4)
    found = largest(quick)
    torch.testing.assert_close(quick.detach(), plain, rtol=0, atol=0)
    torch.testing.assert_close(found.detach(), most, rtol=0, atol=0)
    weights = torch.rand(found.shape, generator=generator)
    (found * weights).sum().backward()
    assert features.grad is not None
    # Each weight comes back once, whichever of equal ones it goes to; places, the first three, take none.
    assert float(features.grad.sum()) == pytest.approx(float(weights[:, 3:].sum()), rel=1e-5)


def test_all_three_towers_learn_in_sixty_steps(rooms: TrainingRooms, monkeypatch: pytest.MonkeyPatch) -> None:
    few = tuple(
        replace(level, points=points, samples=8)
        for level, points in zip(GATHERINGS, (256, 128, 64, 32), strict=True)
    )
    monkeypatch.setattr(VoteNetOptions, "gatherings", lambda options: few)
    torch.manual_seed(0)
    network = build("imvotenet", classes=10, image_branch=False, proposals=32)
    assert isinstance(network, ImVoteNet)
    batch = batch_of_rooms([source(rooms, points=1024).sample(0, number) for number in range(2)])
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    course = []
    for _ in range(60):
        found = network(*batch.inputs)
        assert isinstance(found, TowerPredictions)
        losses = [
            torch.stack([*votenet_losses(tower, batch.targets, yaw_bins=12).values()]).sum()
            for tower in found
        ]
        course.append([float(loss.detach()) for loss in losses])
        optimizer.zero_grad()
        torch.stack(losses).sum().backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
    first, last = np.mean(course[:3], axis=0), np.mean(course[-10:], axis=0)
    # Seen 0.35 to 0.7; single steps go up and down as proposals change the box that they are matched with.
    assert (last < 0.85 * first).all(), (first, last)
