"""The parts of the training loop: groups and rates, the running average, synchronised norms, data, memory."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from square_frames import CLASSES, write_squares
from torch import nn

from tercelet.contract.errors import CheckFailedError, InputError
from tercelet.training import build
from tercelet.training.detector_training.averaging import WeightAverage
from tercelet.training.detector_training.data import open_training_data
from tercelet.training.detector_training.memory import memory_advice
from tercelet.training.detector_training.optimizing import Schedule, make_optimizer, parameter_groups
from tercelet.training.detector_training.processes import Processes, started_processes
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.starting import freeze_layers, set_training_mode, start_detector
from tercelet.training.detector_training.synchronised_norm import synchronise_batch_norm


def test_every_trainable_parameter_is_in_one_group_and_only_weights_decay() -> None:
    network = build("yolov5n-akconv", classes=3)
    groups = dict(parameter_groups(network))
    assert set(groups) == {"weights", "norms", "biases", "offsets"}
    listed = [id(value) for group in groups.values() for value in group]
    assert sorted(listed) == sorted(id(value) for value in network.parameters() if value.requires_grad)
    assert all(value.ndim >= 2 for value in groups["weights"])
    optimizer = make_optimizer(network, Recipe(offset_lr=0.1, lr=0.01, optimizer="sgd"), steps=9, classes=3)
    found = {group["kind"]: (group["initial_lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert found["offsets"] == (pytest.approx(0.001), 0.0)
    assert found["weights"] == (0.01, 5e-4)
    assert {found[kind][1] for kind in ("norms", "biases")} == {0.0}


@pytest.mark.parametrize(
    ("steps", "classes", "name", "rate"), [(10_000, 4, "adamw", 0.00125), (10_001, 4, "sgd", 0.01)]
)
def test_auto_takes_adamw_for_short_trainings_and_sgd_for_long_ones(
    steps: int, classes: int, name: str, rate: float
) -> None:
    recipe = Recipe()
    assert recipe.optimizer_for(steps) == name
    assert recipe.rate(steps=steps, classes=classes) == rate


def test_rates_rise_through_the_warm_up_and_then_fall_with_the_epochs() -> None:
    recipe = Recipe(epochs=40, optimizer="sgd", lr=0.01, batch=16, warmup_epochs=2)
    optimizer = make_optimizer(build("yolov5n", classes=2), recipe, steps=400, classes=2)
    schedule = Schedule(optimizer, recipe, steps_per_epoch=10)
    assert schedule.warmup_steps == 100
    seen: dict[int, tuple[float, float, float, int]] = {}
    for step in (0, 50, 100, 200, 399):
        steps_to_sum = schedule.set(step, step // 10)
        rates = {group["kind"]: group["lr"] for group in optimizer.param_groups}
        momentum = optimizer.param_groups[0]["momentum"]
        seen[step] = (rates["weights"], rates["biases"], momentum, steps_to_sum)
    assert seen[0] == (0.0, 0.1, 0.8, 1)
    assert 0 < seen[50][0] < 0.01 < seen[50][1] < 0.1
    assert seen[100][:2] == (pytest.approx(0.01 * recipe.factor(10)),) * 2
    assert seen[100][2:] == (pytest.approx(0.937), 4)
    assert seen[399][0] < seen[200][0] < seen[100][0]


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_begins_at_the_highest_rate_and_ends_at_its_share(schedule: Any) -> None:
    recipe = Recipe(epochs=10, schedule=schedule, last_lr=0.05)
    factors = [recipe.factor(epoch) for epoch in range(11)]
    assert factors[0] == pytest.approx(1)
    assert factors[-1] == pytest.approx(0.05)
    assert factors == sorted(factors, reverse=True)


def test_the_running_average_follows_fast_at_first_and_takes_counters_over() -> None:
    network = build("yolov5n", classes=2)
    average = WeightAverage(network, decay=0.9, ramp=10.0)
    name, counter = "model.0.conv.weight", "model.0.bn.num_batches_tracked"
    start = network.state_dict()[name].clone()
    with torch.no_grad():
        network.state_dict()[name].add_(1)
        network.state_dict()[counter].fill_(7)
    average.update(network)
    kept = 0.9 * (1 - np.exp(-0.1))
    torch.testing.assert_close(average.network.state_dict()[name], start + (1 - kept))
    assert int(average.network.state_dict()[counter]) == 7
    assert not average.network.training


def test_synchronised_norms_of_one_process_are_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "all_reduce", lambda value: None)
    torch.manual_seed(0)
    own = nn.BatchNorm2d(6, eps=1e-3, momentum=0.03)
    nn.init.uniform_(own.weight)
    other = nn.BatchNorm2d(6, eps=1e-3, momentum=0.03)
    other.load_state_dict(own.state_dict())
    wrapper = nn.Sequential(other)
    synchronise_batch_norm(wrapper)
    x = torch.randn(3, 6, 5, 4) * 3 + 1
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    for norm, value in zip((own, wrapper), inputs, strict=True):
        (norm(value) * torch.arange(6).view(1, 6, 1, 1)).square().sum().backward()
    assert inputs[0].grad is not None
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(own.weight.grad, other.weight.grad, rtol=1e-4, atol=1e-3)
    for name, value in own.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[name])
    wrapper.eval()
    own.eval()
    torch.testing.assert_close(own(x), wrapper(x))


def test_frozen_layers_neither_learn_nor_move_their_statistics() -> None:
    detector = build("yolov8n", classes=2)
    assert freeze_layers(detector, 3) == ("model.0", "model.1", "model.2")
    set_training_mode(detector, 3)
    assert not detector.model[2].training
    assert detector.model[3].training
    assert not any(value.requires_grad for value in detector.model[:3].parameters())
    with pytest.raises(InputError, match="expected at most 22 of 23 layers, got 23"):
        freeze_layers(detector, 23)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.safetensors"
    save_file({"model.0.conv.weight": np.zeros((16, 3, 3, 3), np.float32)}, stranger)
    with pytest.raises(InputError, match="the weights do not fit"):
        start_detector("yolov8n", classes=2, init=stranger)
    assert start_detector("yolov8n", classes=2, init=None).text() == "yolov8n: all weights drawn anew"


def test_the_classes_are_those_of_the_class_map_and_what_it_leaves_out_is_ignored(tmp_path: Path) -> None:
    data = write_squares(tmp_path / "squares", 16)
    opened = open_training_data(data, class_map={"blue": "people"})
    assert opened.labels == ("blue",)
    assert opened.mappings[0][:3].tolist() == [-1, 0, -1]
    assert len(opened.validation.images) == 2
    assert opened.frames == 14
    whole = open_training_data(data, val=data)
    assert whole.frames == 16
    assert sum(whole.objects().values()) == sum(len(image.boxes) for image in whole.training[0].images)
    assert opened.identity() != open_training_data(data, class_map=CLASSES).identity()
    assert opened.identity() == open_training_data(data, class_map={"blue": "people"}).identity()


def test_joined_data_sets_need_the_same_categories_or_a_class_map(tmp_path: Path) -> None:
    visdrone = write_squares(tmp_path / "squares", 4)
    yolo = tmp_path / "yolo"
    (yolo / "images" / "train").mkdir(parents=True)
    (yolo / "labels" / "train").mkdir(parents=True)
    (yolo / "classes.txt").write_text("people\n")
    (yolo / "images" / "train" / "a.png").write_bytes((visdrone / "images" / "000.png").read_bytes())
    (yolo / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.25 0.25\n")
    with pytest.raises(InputError, match="expected the categories of the first data set"):
        open_training_data([visdrone, yolo], val=visdrone)
    both = {"yellow": "pedestrian", "blue": "people"}  # the second data set has no pedestrians
    joined = open_training_data([visdrone, yolo], val=visdrone, class_map=both)
    assert joined.frames == 5
    assert joined.objects()["blue"] >= 1
    one = replace(joined.training[1])
    assert len(one.images) == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_running_out_of_memory_ends_with_advice(tmp_path: Path, error: Exception) -> None:
    with (
        pytest.raises(CheckFailedError, match="memory ran out with batch 16 at 640x640: halve the batch"),
        memory_advice(Recipe(), tmp_path),
    ):
        raise error
    with pytest.raises(RuntimeError, match="something else"), memory_advice(Recipe(), tmp_path):
        raise RuntimeError("something else")


def test_a_process_alone_is_its_own_leader_and_half_an_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with started_processes("cpu") as alone:
        assert alone == Processes(0, 1, torch.device("cpu"))
        assert alone.leads
        assert alone.any(True)
        assert not alone.any(False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(InputError, match="start with torchrun"), started_processes("cpu"):
        pass
    assert "RANK" not in os.environ
