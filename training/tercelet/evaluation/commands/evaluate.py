"""tercelet evaluate: AP of a bundle or checkpoint on a data set."""

from __future__ import annotations

import argparse

from tercelet.runtime.commands.aerial_arguments import add_aerial_arguments, aerial_options

SUMMARY = "AP on a data set: COCO JSON, YOLO txt or VisDrone txt"
REQUIRES = (("faster_coco_eval", "evaluate"), ("cv2", "evaluate"))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `tercelet.evaluation.evaluate` and `tercelet.evaluation.evaluate_plans`."""
    parser.add_argument("bundle", help="folder made by tercelet export, or by tercelet import")
    parser.add_argument("dataset", help="COCO .json, YOLO folder or data.yaml, VisDrone folder")
    parser.add_argument("--format", choices=("coco", "yolo", "visdrone"), help="of the data set (looks)")
    parser.add_argument("--images", metavar="DIR", help="pictures of a COCO .json (beside it)")
    parser.add_argument("--split", default="val", help="of a YOLO data set (val)")
    parser.add_argument("--protocol", choices=("coco", "visdrone"), help="rules (those of the format)")
    parser.add_argument(
        "--class-map",
        metavar="FILE",
        help="JSON file of label of the detector: category or categories of the data set, for example "
        '{"person": ["pedestrian", "people"], "motorcycle": "motor"}; labels that it does not name are not '
        "evaluated (without a file: labels and categories of the same name)",
    )
    parser.add_argument("--score", type=float, default=0.001, metavar="X", help="lowest score (0.001)")
    parser.add_argument("--iou", type=float, default=0.7, metavar="X", help="overlap that merges boxes (0.7)")
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


def execute(arguments: argparse.Namespace) -> int:
    """Evaluate and print the table; with --json - the JSON alone."""
    from tercelet.contract.errors import InputError
    from tercelet.contract.json_output import STDOUT, check_json_place, write_json
    from tercelet.evaluation.evaluating import best_score_text, evaluate
    from tercelet.evaluation.plan_comparing import evaluate_plans
    from tercelet.evaluation.plan_result import plan_comparison_text
    from tercelet.evaluation.result import result_text
    from tercelet.runtime import vision

    check_json_place(arguments.json)
    vision.limit_threads(arguments.threads)
    options = {**vars(arguments), **aerial_options(arguments)}
    plans, recall_score = options.pop("plans"), options.pop("recall_score")
    destination = options.pop("json")
    if plans is None:
        if recall_score is not None:
            raise InputError("--recall-score: expected together with --plan, got no --plan")
        judged = evaluate(**options)
        text, record = f"{result_text(judged)}\n\n{best_score_text(judged.best_f1)}", judged.record()
    else:
        if options.pop("plots") is not None:
            raise InputError(
                "--plots: expected without --plan, got both; plots show one run: evaluate without --plan"
            )
        if recall_score is not None:
            options["recall_score"] = recall_score
        compared = evaluate_plans(plans=plans, **options)
        text, record = plan_comparison_text(compared), compared.record()
    if destination != STDOUT:
        print(text, flush=True)
    # Behind the table: a file that cannot be written must not take the table along.
    if destination is not None:
        write_json(destination, record)
    return 0
