"""tercelet evaluate: AP of a bundle or checkpoint on a data set of pictures or of rooms."""

from __future__ import annotations

import argparse
from typing import Any

from tercelet.runtime.commands.aerial_arguments import add_aerial_arguments, aerial_options

SUMMARY = "AP on a data set: COCO JSON, YOLO txt, VisDrone txt or SUN RGB-D"
REQUIRES = (("faster_coco_eval", "evaluate"), ("cv2", "evaluate"))
# What only a detector of pictures, and what only one of clouds understands, beyond what both do.
_OF_PICTURES = (
    "format",
    "images",
    "protocol",
    "class_map",
    "max_detections",
    "plans",
    "recall_score",
    "plots",
)
_OF_ROOMS = ("labels", "best_class", "seed")
_SHARED = ("split", "score", "iou", "threads", "limit", "save", "quiet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.evaluation.evaluate`, `evaluate_plans` and `evaluate_rooms`."""
    parser.add_argument("bundle", help="folder made by tercelet export, or by tercelet import")
    parser.add_argument(
        "dataset",
        help="COCO .json, YOLO folder or data.yaml, VisDrone folder; for a detector of clouds SUN RGB-D: "
        "VoteNet's folder, sunrgbd_trainval, infos (.pkl, .json), or what synth rooms writes",
    )
    parser.add_argument("--format", choices=("coco", "yolo", "visdrone"), help="of the data set (looks)")
    parser.add_argument("--images", metavar="DIR", help="pictures of a COCO .json (beside it)")
    parser.add_argument("--split", help="of a YOLO data set (val), or of sunrgbd_trainval (all scenes)")
    parser.add_argument("--protocol", choices=("coco", "visdrone"), help="rules (those of the format)")
    parser.add_argument(
        "--class-map",
        metavar="FILE",
        help="JSON file of label of the detector: category or categories of the data set, for example "
        '{"person": ["pedestrian", "people"], "motorcycle": "motor"}; labels that it does not name are not '
        "evaluated (without a file: labels and categories of the same name)",
    )
    parser.add_argument(
        "--score", type=float, metavar="X", help="lowest score (0.001; of objectness in clouds 0.05)"
    )
    parser.add_argument(
        "--iou", type=float, metavar="X", help="overlap that merges boxes (0.7; in clouds 0.25)"
    )
    parser.add_argument(
        "--max-detections", type=int, metavar="N", help="best of a frame (coco 300, visdrone 500)"
    )
    parser.add_argument("--threads", type=int, metavar="N", help="threads of the engine (one a core)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N frames")
    parser.add_argument(
        "--plan",
        dest="plans",
        nargs="+",
        metavar="PLAN",
        help="side by side, what each finds and costs: some of full (no closer look), grid (uniform tiles), "
        "dmnet (density crops as published), canvas (regions at the scale that their objects need, packed)",
    )
    parser.add_argument(
        "--recall-score",
        type=float,
        metavar="X",
        help="with --plan: lowest score of the run that recall, precision and time are taken from; 0 for the "
        "run of AP (0.25)",
    )
    add_aerial_arguments(parser, plan=False)
    _add_room_arguments(parser.add_argument_group("detectors of clouds"))
    parser.add_argument(
        "--save",
        metavar="DIR",
        help="pictures: ground truth left, detections right; with --plan a folder each, and recall_cost.svg",
    )
    parser.add_argument(
        "--plots",
        metavar="DIR",
        help="precision against recall, F1 against score, confusion matrix, as pictures and as JSON; "
        "not with --plan",
    )
    parser.add_argument("--json", metavar="FILE", help="the result as JSON; - for stdout")
    parser.add_argument("--quiet", action="store_true", help="no progress on stderr")


def _add_room_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--labels", choices=("v1", "v2"), help="of sunrgbd_trainval (v1, as published)")
    group.add_argument(
        "--best-class",
        action="store_true",
        help="judge what tercelet run shows: each box under its best class alone, not under every class as "
        "published figures have it",
    )
    group.add_argument("--seed", type=int, metavar="N", help="draw points at random with it (evenly)")
    group.add_argument(
        "--no-native-ops", dest="native_ops", action="store_false", help="custom ops by standard operators"
    )


def execute(arguments: argparse.Namespace) -> int:
    """Evaluate and print the table; with --json - the JSON alone."""
    from tercelet.contract.artefact import read_manifest
    from tercelet.contract.json_output import STDOUT, check_json_place, write_json
    from tercelet.runtime import vision
    from tercelet.runtime.given_path import given_path

    check_json_place(arguments.json)
    vision.limit_threads(arguments.threads)
    manifest = read_manifest(given_path(arguments.bundle, name="bundle"))
    looks_at_clouds = manifest.pipeline == "rgbd" or manifest.cloud is not None
    text, record = (_judged_rooms if looks_at_clouds else _judged_pictures)(arguments)
    if arguments.json != STDOUT:
        print(text, flush=True)
    # Behind the table: a file that cannot be written must not take the table along.
    if arguments.json is not None:
        write_json(arguments.json, record)
    return 0


def _judged_rooms(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from tercelet.evaluation.evaluating_rooms import evaluate_rooms, room_result_text

    given = {name: getattr(arguments, name) for name in _OF_PICTURES} | aerial_options(arguments)
    _refuse(given, "looks at clouds")
    judged = evaluate_rooms(
        arguments.bundle,
        arguments.dataset,
        per_class=not arguments.best_class,
        native_ops=arguments.native_ops,
        seed=arguments.seed,
        **_chosen(arguments, *_SHARED, "labels"),
    )
    return room_result_text(judged), judged.record()


def _judged_pictures(arguments: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    from tercelet.contract.errors import InputError
    from tercelet.evaluation.evaluating import best_score_text, evaluate
    from tercelet.evaluation.plan_comparing import evaluate_plans
    from tercelet.evaluation.plan_result import plan_comparison_text
    from tercelet.evaluation.result import result_text

    given = {name: getattr(arguments, name) for name in _OF_ROOMS}
    _refuse(given | {"native_ops": not arguments.native_ops}, "looks at pictures")
    options = _chosen(arguments, *_SHARED, "bundle", "dataset", *_OF_PICTURES[:5], "plots") | aerial_options(
        arguments
    )
    plans, recall_score = arguments.plans, arguments.recall_score
    if plans is None:
        if recall_score is not None:
            raise InputError("--recall-score: expected together with --plan, got no --plan")
        judged = evaluate(**options)
        return f"{result_text(judged)}\n\n{best_score_text(judged.best_f1)}", judged.record()
    if "plots" in options:
        raise InputError(
            "--plots: expected without --plan, got both; plots show one run: evaluate without --plan"
        )
    if recall_score is not None:
        options["recall_score"] = recall_score
    compared = evaluate_plans(plans=plans, **options)
    return plan_comparison_text(compared), compared.record()


def _chosen(arguments: argparse.Namespace, *names: str) -> dict[str, Any]:
    """The options of these names that were given; what was not has the function's own default."""
    return {name: value for name in names if (value := getattr(arguments, name)) is not None}


def _refuse(given: dict[str, Any], what: str) -> None:
    """InputError for the first of these options that was given: the bundle has no use for it."""
    from tercelet.contract.errors import InputError

    for name, value in given.items():
        if value is not None and value is not False:
            option = {"plans": "--plan", "native_ops": "--no-native-ops"}.get(
                name, "--" + name.replace("_", "-")
            )
            raise InputError(
                f"{option}: expected with another kind of detector, this one {what}; leave it out"
            )
