"""Plots of an evaluation: what is on them, and that `tercelet evaluate --plots` writes them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.contract.labels import color_for
from tercelet.evaluation import evaluate
from tercelet.evaluation.average_precision import JudgedFrame
from tercelet.evaluation.confusion import ConfusionMatrix, confusion_matrix
from tercelet.evaluation.plots import (
    confusion_figure,
    f1_figure,
    precision_recall_figure,
    require_matplotlib,
    save_evaluation_plots,
    save_figure,
)
from tercelet.evaluation.precision_recall import PrecisionRecall, precision_recall
from tercelet.runtime.command_line import main
from tercelet.runtime.vision import read_image, write_image

WRITTEN = ["confusion.json", "confusion.png", "f1.png", "precision_recall.json", "precision_recall.png"]


def judged(classes: int) -> tuple[PrecisionRecall, ConfusionMatrix]:
    """One frame, an object of each class side by side; all are found right but the last, which is missed."""
    left = 20.0 * np.arange(classes)
    boxes = np.stack((left, left * 0, left + 10, left * 0 + 10), axis=1)
    frame = JudgedFrame(
        boxes=boxes,
        class_ids=np.arange(classes),
        ignore=np.zeros(classes, bool),
        areas=np.full(classes, 100.0),
        found_boxes=boxes[:-1],
        found_class_ids=np.arange(classes - 1),
        scores=np.linspace(0.9, 0.4, classes - 1),
    )
    names = [f"class {number}" for number in range(classes)]
    return precision_recall([frame], classes=classes), confusion_matrix([frame], classes=names)


def texts_of(axes: object) -> list[str]:
    return [text.get_text() for text in axes.texts]  # type: ignore[attr-defined]


def test_an_evaluation_without_objects_is_drawn_too_and_says_so(tmp_path: Path) -> None:
    curves, confusion = precision_recall([], classes=2), confusion_matrix([], classes=("car", "bus"))
    written = save_evaluation_plots(tmp_path / "new", curves, confusion)
    assert sorted(path.name for path in written) == WRITTEN
    assert all(path.stat().st_size for path in written)
    assert texts_of(precision_recall_figure(curves, ("car", "bus")).axes[0]) == [
        "no objects in the ground truth"
    ]


def test_each_class_has_its_curve_and_its_ap_and_the_mean_is_on_top() -> None:
    curves, confusion = judged(3)
    figure = precision_recall_figure(curves, confusion.classes)
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == [
        "class 0  1.000", "class 1  1.000", "class 2  0.000", "mean of 3  0.667",
    ]  # fmt: skip
    assert lines[2].get_ydata().tolist() == [0] * 101
    assert lines[3].get_ydata().tolist() == pytest.approx([2 / 3] * 101)
    assert len(figure.legends[0].get_texts()) == 4


def test_curves_have_the_hue_that_the_class_has_on_pictures() -> None:
    curves, confusion = judged(3)
    for index, line in enumerate(precision_recall_figure(curves, confusion.classes).axes[0].get_lines()[:3]):
        drawn, boxed = np.array(line.get_color()), np.array(color_for(index)[::-1])
        np.testing.assert_allclose(drawn / drawn.max(), boxed / boxed.max())


def test_among_many_classes_only_the_mean_is_named() -> None:
    curves, confusion = judged(40)
    for figure in (
        precision_recall_figure(curves, confusion.classes),
        f1_figure(curves, confusion.classes),
    ):
        assert len(figure.legends[0].get_texts()) == 1


def test_the_score_with_the_best_f1_is_marked_and_named() -> None:
    curves, confusion = judged(3)
    best = curves.overall.best()
    assert best is not None
    figure = f1_figure(curves, confusion.classes)
    assert figure.axes[0].get_lines()[-1].get_xdata() == [best.score, best.score]
    assert figure.legends[0].get_texts()[-1].get_text() == f"all together  0.800 above {best.score:.3f}"


def test_cells_of_the_confusion_matrix_hold_counts_and_shares_where_there_are_few_classes() -> None:
    few, many = (confusion_figure(judged(count)[1]).axes[0] for count in (3, 40))
    assert texts_of(few) == ["1\n100%"] * 3
    places = [(text.get_position(), text.get_text()) for text in few.texts]
    assert places[-1] == ((3, 2), "1\n100%")  # the last class, in the column of what is missed
    assert texts_of(many) == []
    assert [label.get_text() for label in few.get_yticklabels()] == [
        "class 0", "class 1", "class 2", "background",
    ]  # fmt: skip


def test_classes_that_nobody_has_seen_take_no_room_in_the_confusion_matrix() -> None:
    confusion = ConfusionMatrix(("car", "bus", "van"), np.diag([3, 0, 0, 0]), score=0.25, iou=0.5)
    axes = confusion_figure(confusion).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["car", "background"]
    assert axes.images[0].get_array().shape == (2, 2)


def test_pictures_are_as_large_as_asked_for_and_dark_cells_are_where_the_counts_are(tmp_path: Path) -> None:
    curves, confusion = judged(3)
    save_evaluation_plots(tmp_path, curves, confusion)
    assert read_image(tmp_path / "precision_recall.png").shape == (660, 1080, 3)
    figure = confusion_figure(confusion)
    save_figure(figure, tmp_path / "again.png")
    picture = read_image(tmp_path / "again.png")
    axes = figure.axes[0]
    for row, column in np.ndindex(4, 4):
        x, y = axes.transData.transform((column - 0.4, row - 0.4))
        # The darkest shade has next to no red, the lightest is nearly white.
        red = int(picture[picture.shape[0] - round(y), round(x), 2])
        assert (red < 60, red > 240) == ((True, False) if confusion.counts[row, column] else (False, True))


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    curves, confusion = judged(2)
    with pytest.raises(InputError, match=r"precision_recall\.png: cannot be written"):
        save_evaluation_plots(tmp_path / "file", curves, confusion)


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingDependencyError, match=r"matplotlib.*pip install 'tercelet\[evaluate\]'"):
        require_matplotlib()


def test_drawing_loads_neither_pyplot_nor_a_window_system(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from tercelet.evaluation import plots, precision_recall as p\n"
        "assert 'matplotlib' not in sys.modules\n"
        "figure = plots.f1_figure(p.precision_recall([], classes=1), ['a'])\n"
        "plots.save_figure(figure, Path(sys.argv[1]))\n"
        "assert not {'matplotlib.pyplot', 'tkinter'} & set(sys.modules)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png")]
    subprocess.run(command, check=True, env={"MPLBACKEND": "tkagg", "HOME": str(tmp_path)})
    assert (tmp_path / "a.png").exists()


@pytest.fixture
def one_object(tmp_path: Path) -> Path:
    """A YOLO data set of one noisy frame with one object."""
    (tmp_path / "set" / "images" / "val").mkdir(parents=True)
    (tmp_path / "set" / "labels" / "val").mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    write_image(tmp_path / "set" / "images" / "val" / "0.png", noise)
    (tmp_path / "set" / "labels" / "val" / "0.txt").write_text("1 0.5 0.5 0.4 0.4")
    return tmp_path / "set"


def test_the_verb_writes_pictures_and_the_numbers_behind_them(
    tiny_bundle: Path, one_object: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, result = tmp_path / "plots", tmp_path / "result.json"
    verb = [
        "evaluate",
        str(tiny_bundle),
        str(one_object),
        "--plots",
        str(out),
        "--json",
        str(result),
        "--quiet",
    ]
    assert main(verb) == 0
    assert "best F1" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == WRITTEN
    curves, whole = json.loads((out / "precision_recall.json").read_text()), json.loads(result.read_text())
    assert curves["per_class"]["dog"]["ap"] == pytest.approx(whole["per_class"]["dog"]["ap50"], abs=1e-6)
    assert curves["all"]["best_f1"] == whole["best_f1"]
    counts = np.array(json.loads((out / "confusion.json").read_text())["counts"])
    assert counts[:-1].sum(axis=1).tolist() == [0, 1, 0]


def test_plots_of_several_plans_are_refused(
    tiny_bundle: Path, one_object: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verb = [
        "evaluate",
        str(tiny_bundle),
        str(one_object),
        "--plan",
        "full",
        "grid",
        "--plots",
        "x",
        "--quiet",
    ]
    assert main(verb) == 2
    assert "--plots: expected without --plan, got both" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("place", "message"), [("", "plots: expected a path"), (__file__, "expected a folder .* is a file")]
)
def test_a_place_for_plots_that_cannot_be_is_refused_before_any_work(place: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate("nowhere", "nowhere", plots=place)


def test_plots_without_matplotlib_are_refused_before_any_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(MissingDependencyError, match="matplotlib"):
        evaluate("nowhere", "nowhere", plots=tmp_path)
