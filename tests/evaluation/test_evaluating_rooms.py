"""`evaluate` for a detector of clouds: what is judged, by which rules, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from cloud_bundle import SIDE, THING, room, write_cloud_bundle

from tercelet.contract.box3d import SUNRGBD_CLASSES
from tercelet.contract.errors import InputError
from tercelet.evaluation import evaluate_rooms
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image

TABLE, BED = SUNRGBD_CLASSES.index("table"), SUNRGBD_CLASSES.index("bed")
HALF = SIDE / 2
# Centre, half sizes, heading (which is -yaw), class: the box that the bundle finds, one elsewhere, a bed.
FOUND = (*THING, HALF, HALF, HALF, -0.3, TABLE)
ELSEWHERE = (-1.5, 3.0, 0.4, HALF, HALF, HALF, 0.0, TABLE)
UNKNOWN = (-1.0, 1.0, 0.4, HALF, HALF, HALF, 0.0, BED)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the classes chair and table: finds a table and a chair in the same place, everywhere."""
    return write_cloud_bundle(tmp_path_factory.mktemp("rooms") / "bundle")


@pytest.fixture
def rooms(tmp_path: Path) -> Path:
    """Three scenes as VoteNet prepares them: a table where it is found, one elsewhere, a bed alone."""
    folder = tmp_path / "rooms"
    folder.mkdir()
    for number, boxes in enumerate(([FOUND, UNKNOWN], [ELSEWHERE], [UNKNOWN])):
        cloud = np.concatenate((room(seed=number), np.zeros((4000, 3), np.float32)), axis=1)
        np.savez(folder / f"{number:06d}_pc.npz", pc=cloud)
        np.save(folder / f"{number:06d}_bbox.npy", np.array(boxes))
    return folder


def test_the_figures_are_those_that_can_be_counted_by_hand(bundle: Path, rooms: Path) -> None:
    judged = evaluate_rooms(bundle, rooms, quiet=True)
    loose, strict = judged.precision
    table = judged.labels.index("table")
    # Three tables at .81, first scene first: right, wrong, wrong; and three weaker ones at .255.
    for item in (loose, strict):
        assert item.per_class[table].ap == pytest.approx(0.5)
        assert item.per_class[table].recall == pytest.approx(0.5)
        assert item.per_class[table].detections == 6
        assert item.per_class[judged.labels.index("chair")].ap is None
        assert item.ap == pytest.approx(0.5)
    assert (judged.frames, judged.ground_truth, judged.unmatched) == (3, 2, {"bed": 2})
    assert any("no picture" in note and "(3 frames)" in note for note in judged.notes)


def test_what_run_shows_is_judged_where_that_is_asked(bundle: Path, rooms: Path) -> None:
    judged = evaluate_rooms(bundle, rooms, per_class=False, quiet=True)
    assert judged.precision[0].per_class[judged.labels.index("table")].detections == 3
    surer = evaluate_rooms(bundle, rooms, per_class=False, score=0.88, limit=1, quiet=True)
    assert [item.detections for item in surer.precision[0].per_class] == [0, 1]
    assert surer.frames == 1


def test_the_verb_prints_the_table_draws_both_and_writes_json(
    bundle: Path, rooms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, result = tmp_path / "drawn", tmp_path / "result.json"
    asked = ["evaluate", str(bundle), str(rooms), "--save", str(saved), "--json", str(result), "--quiet"]
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.split()[:3] == ["table", "0.5000", "0.5000"] for line in lines)
    assert "not evaluated, no label of the detector: bed 2" in lines
    record = json.loads(result.read_text())
    assert (record["ap25"], record["ap50"], record["recall25"]) == pytest.approx((0.5, 0.5, 0.5))
    assert record["precision"][0]["per_class"]["chair"]["ap"] is None
    assert sorted(path.name for path in saved.iterdir()) == ["000000.jpg", "000001.jpg", "000002.jpg"]
    picture = read_image(saved / "000000.jpg")
    left, right = picture[:, : picture.shape[1] // 2], picture[:, picture.shape[1] // 2 :]
    assert (left != right).any()


@pytest.mark.parametrize(
    ("extra", "match"),
    [
        (["--plan", "grid"], "--plan: expected with another kind of detector, this one looks at clouds"),
        (["--class-map", "map.json"], "--class-map: expected with another kind"),
        (["--canvases", "3"], "--canvases: expected with another kind"),
        (["--limit", "0"], "limit: expected at least 1 scene"),
        (["--score", "2"], "score_threshold: expected a number from 0 to 1, got 2"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    bundle: Path, rooms: Path, capsys: pytest.CaptureFixture[str], extra: list[str], match: str
) -> None:
    assert main(["evaluate", str(bundle), str(rooms), *extra]) == 2
    assert match in capsys.readouterr().err


def test_options_of_rooms_are_refused_with_a_detector_of_pictures(
    tiny_bundle: Path, rooms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for extra in (["--seed", "1"], ["--best-class"], ["--no-native-ops"]):
        assert main(["evaluate", str(tiny_bundle), str(rooms), *extra]) == 2
        assert f"{extra[0]}: expected with another kind" in capsys.readouterr().err


def test_a_data_set_of_pictures_is_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected SUN RGB-D as a folder"):
        evaluate_rooms(bundle, tmp_path, quiet=True)
