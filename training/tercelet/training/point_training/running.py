"""The epochs of a point detector: what they are trained on, and what they are judged by."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from tercelet.training.detector_training.epochs import EpochLoop, EpochPlan, Say
from tercelet.training.detector_training.processes import Processes
from tercelet.training.detector_training.recipe import Recipe
from tercelet.training.detector_training.records.epoch_rows import CLOUD_PRECISIONS, EpochRow, PrecisionName
from tercelet.training.detector_training.samples.loading import EpochSampler, SampleLoader, collating_loader
from tercelet.training.detectors.point_detector import PointDetector
from tercelet.training.point_training.augmentation import RoomAugmentation
from tercelet.training.point_training.fitting import PointFitting, mean_sizes_of, pixels_of
from tercelet.training.point_training.recipe import PICTURES_ONLY
from tercelet.training.point_training.rooms import TrainingRooms
from tercelet.training.point_training.samples import RoomBatch, RoomSource, batch_of_rooms
from tercelet.training.point_training.validating import validate_rooms


@dataclass(frozen=True, kw_only=True)
class PointRun:
    """What does not change from epoch to epoch. folder: for the state and what people look at meanwhile.
    points: of a cloud. weights_before: sha256 of what the training starts from."""

    rooms: TrainingRooms
    recipe: Recipe
    augmentation: RoomAugmentation
    points: int
    processes: Processes
    folder: Path
    workers: int
    weights_before: str

    def recipe_record(self) -> dict[str, Any]:
        """Everything that decides what comes out, JSON-ready."""
        numbers = {name: value for name, value in asdict(self.recipe).items() if name not in PICTURES_ONLY}
        # As JSON gives them back, so that a state is compared with what it says.
        augmentation = {**asdict(self.augmentation), "scale": list(self.augmentation.scale)}
        return {
            **numbers,
            "points": self.points,
            "augmentation": augmentation,
            "weights_before": self.weights_before,
        }

    def batches(self, network: PointDetector) -> SampleLoader[RoomBatch]:
        """What is trained on, prepared by workers."""
        source = RoomSource(
            scenes=self.rooms.scenes,
            points=self.points,
            mean_sizes=mean_sizes_of(network),
            yaw_bins=int(network.options["yaw_bins"]),
            augmentation=self.augmentation,
            pixels=pixels_of(network),
            seed=self.recipe.seed,
        )
        sampler = EpochSampler(
            len(source),
            seed=source.seed,
            batch=self.recipe.batch,
            # With fewer rooms than a batch holds, the one batch of an epoch is what there is.
            drop_last=len(source) >= self.recipe.batch,
        )
        pin_memory = self.processes.device.type == "cuda"
        return collating_loader(source, sampler, batch_of_rooms, workers=self.workers, pin_memory=pin_memory)


@dataclass(frozen=True)
class PointsReached:
    """Where a training ended. weights: the best ones, those of best_epoch."""

    detector: PointDetector
    rows: tuple[EpochRow, ...]
    best_epoch: int
    weights: dict[str, Tensor]


def run_point_epochs(run: PointRun, detector: PointDetector, *, resume: bool, say: Say) -> PointsReached:
    """Train until the recipe's end, or until nothing gets better for its patience."""
    run.folder.mkdir(parents=True, exist_ok=True)
    batches = run.batches(detector)
    fitting = PointFitting(detector, run.recipe, run.processes, steps_per_epoch=len(batches))
    end = _PointEpochs(run, fitting, batches, resume=resume, say=say).run()
    return PointsReached(fitting.network, end.rows, end.best_epoch, end.weights)


class _PointEpochs(EpochLoop[PointDetector, RoomBatch]):
    images_word = "rooms"
    precisions = CLOUD_PRECISIONS

    def __init__(
        self,
        run: PointRun,
        fitting: PointFitting,
        batches: SampleLoader[RoomBatch],
        *,
        resume: bool,
        say: Say,
    ) -> None:
        self._run, self._batches = run, batches
        plan = EpochPlan(run.folder, run.rooms.identity(), run.recipe_record())
        super().__init__(fitting, plan, steps_per_epoch=len(batches), resume=resume, say=say)

    def batches(self, epoch: int) -> Iterable[RoomBatch]:
        """Every room once, in an order of its own, augmented anew."""
        return self._batches.epoch(epoch, mosaic=False)

    def judged(self, network: PointDetector) -> dict[PrecisionName, float]:
        """Mean AP at IoU 0.25 and 0.5 on the validation rooms."""
        run = self._run
        scenes = run.rooms.validation.scenes
        found = validate_rooms(network, scenes, batch=run.recipe.batch, device=run.processes.device)
        return {"ap50": found.ap50, "ap25": found.ap25}
