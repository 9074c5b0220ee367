"""The options of `tercelet train`. What is not given is None: each kind of network has its own defaults."""

from __future__ import annotations

import argparse

# What only one kind of network understands.
DENSITY_ONLY = ("sigma",)
POINTS_ONLY = ("points",)
# What detectors understand, but not those that look at clouds of points.
PICTURES_ONLY = (
    "size",
    "format",
    "images",
    "split",
    "class_map",
    "check",
    "strict",
    "cache",
    "nominal_batch",
    "offset_lr",
    "freeze",
    "stored",
    "tensorboard",
    "mosaic",
    "close_mosaic",
    "mixup",
    "hsv",
    "translate",
    "scale",
    "shear",
    "flip_vertical",
    "windows",
    "window_scale",
    "windows_per_frame",
)
DETECTOR_ONLY = (
    "format",
    "images",
    "split",
    "class_map",
    "resume",
    "strict",
    "optimizer",
    "schedule",
    "last_lr",
    "warmup",
    "weight_decay",
    "clip_norm",
    "nominal_batch",
    "ema_decay",
    "ema_ramp",
    "amp",
    "offset_lr",
    "freeze",
    "patience",
    "validate_every",
    "check",
    "momentum",
    "option",
    "workers",
    "cache",
    "threads",
    "stored",
    "tensorboard",
    "mosaic",
    "close_mosaic",
    "mixup",
    "hsv",
    "degrees",
    "translate",
    "scale",
    "shear",
    "flip",
    "flip_vertical",
    "windows",
    "window_scale",
    "windows_per_frame",
)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """What every kind understands, but for the size, which clouds have none of."""
    parser.add_argument(
        "detector", metavar="NETWORK", help="yolo11n, yolov5n-akconv, votenet, mcnn, density-lite, ..."
    )
    parser.add_argument(
        "--data",
        required=True,
        nargs="+",
        metavar="DATASET",
        help="COCO .json, YOLO folder or data.yaml, VisDrone folder; for clouds SUN RGB-D or synthetic "
        "rooms; several are joined",
    )
    parser.add_argument("-o", "--output", required=True, metavar="CHECKPOINT", help="folder to write")
    parser.add_argument(
        "--val", metavar="DATASET", help="data to validate on (default: every eighth frame or room)"
    )
    parser.add_argument(
        "--epochs", type=int, help="passes over the data (pictures 100, clouds 180, density 30)"
    )
    parser.add_argument("--size", metavar="SIDE|HxW", help="canvas in pixels (detector 640)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, metavar="N", help="images a step (16; clouds and density 8)")
    parser.add_argument("--lr", type=float, help="highest learning rate (default: by optimizer and classes)")
    parser.add_argument("--init", metavar="CHECKPOINT|WEIGHTS", help="what to start from")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--licence", metavar="TEXT", help="licence of the weights made")
    parser.add_argument("--overwrite", action="store_true", help="replace an older checkpoint of that name")
    parser.add_argument("--json", metavar="FILE", help="write every epoch's figures as JSON; - for stdout")


def add_density_arguments(parser: argparse.ArgumentParser) -> None:
    """What only density networks understand."""
    group = parser.add_argument_group("density networks")
    group.add_argument("--sigma", type=float, help="size of an object's spot in canvas pixels (6)")


def add_point_arguments(parser: argparse.ArgumentParser) -> None:
    """What only detectors of clouds of points understand, besides the loop of the detectors."""
    group = parser.add_argument_group("detectors of clouds of points: votenet, imvotenet")
    group.add_argument(
        "--points", type=int, metavar="N", help="of a cloud, in training and afterwards (20000)"
    )


def add_detector_arguments(parser: argparse.ArgumentParser) -> None:
    """What only detectors understand."""
    data = parser.add_argument_group("detectors: data")
    data.add_argument("--format", choices=("coco", "yolo", "visdrone"), help="of the data (default: looks)")
    data.add_argument("--images", metavar="DIR", help="COCO: where the pictures lie")
    data.add_argument("--split", help="YOLO: which split to train on (train); val is validated on")
    data.add_argument("--class-map", metavar="FILE", help="JSON of label to categories: the classes to learn")
    data.add_argument("--check", action="store_true", help="read every picture, report, and train nothing")
    data.add_argument("--strict", action="store_true", help="refuse data with any problem")
    data.add_argument("--workers", type=int, metavar="N", help="processes that prepare images (2)")
    data.add_argument("--cache", choices=("off", "ram", "disk"), help="decoded frames (off)")
    _add_loop(parser.add_argument_group("detectors: the loop"))
    _add_images(parser.add_argument_group("detectors: what the images look like"))


def _add_loop(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--resume", action="store_true", help="go on with the training that was interrupted")
    group.add_argument(
        "--optimizer", choices=("auto", "sgd", "adamw"), help="(auto: adamw up to 10,000 steps)"
    )
    group.add_argument("--schedule", choices=("linear", "cosine"), help="how the rate falls (linear)")
    group.add_argument(
        "--last-lr", type=float, metavar="SHARE", help="of the highest rate, at the end (0.01)"
    )
    group.add_argument("--warmup", type=float, metavar="EPOCHS", help="with a rising rate (3)")
    group.add_argument("--momentum", type=float, help="of SGD, or the first beta of AdamW (0.937)")
    group.add_argument("--weight-decay", type=float, help="(0.0005)")
    group.add_argument("--clip-norm", type=float, help="largest norm of all gradients, 0 for any (10)")
    group.add_argument(
        "--nominal-batch", type=int, metavar="N", help="images whose gradients are summed (64)"
    )
    group.add_argument("--ema-decay", type=float, help="of the averaged weights (0.9999)")
    group.add_argument("--ema-ramp", type=float, metavar="UPDATES", help="until that decay holds (2000)")
    group.add_argument("--amp", choices=("off", "bf16", "fp16"), help="arithmetic of the network (off)")
    group.add_argument(
        "--offset-lr", type=float, metavar="FACTOR", help="on the rate of AKConv's offsets (1)"
    )
    group.add_argument(
        "--option",
        action="append",
        metavar="NAME=VALUE",
        help="of the detector, e.g. anchors=[[[5,9],...],...] or grid=xy; may be given again",
    )
    group.add_argument("--freeze", type=int, metavar="LAYERS", help="first layers that stay as they are (0)")
    group.add_argument("--patience", type=int, metavar="EPOCHS", help="end after so many without a better AP")
    group.add_argument("--validate-every", type=int, metavar="EPOCHS", help="(1)")
    group.add_argument("--threads", type=int, metavar="N", help="of the CPU")
    group.add_argument("--stored", choices=("fp32", "fp16"), help="precision of the weight file (fp32)")
    group.add_argument("--tensorboard", metavar="DIR", help="write events there as well")


def _add_images(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--mosaic", type=float, metavar="CHANCE", help="four images in one (1)")
    group.add_argument("--close-mosaic", type=int, metavar="EPOCHS", help="last epochs without it (10)")
    group.add_argument("--mixup", type=float, metavar="CHANCE", help="two images on one another (0)")
    group.add_argument("--hsv", metavar="H,S,V", help="largest changes of colour (0.015,0.7,0.4)")
    group.add_argument("--degrees", type=float, help="largest turn (0)")
    group.add_argument("--translate", type=float, metavar="SHARE", help="largest shift (0.1)")
    group.add_argument("--scale", type=float, metavar="SHARE", help="largest change of size (0.5)")
    group.add_argument("--shear", type=float, metavar="DEGREES", help="largest shear (0)")
    group.add_argument("--flip", type=float, metavar="CHANCE", help="left and right swapped (0.5)")
    group.add_argument("--flip-vertical", type=float, metavar="CHANCE", help="top and bottom swapped (0)")
    group.add_argument(
        "--windows",
        type=float,
        metavar="SHARE",
        help="of the samples show a part of a frame instead of all of it, for small objects (0)",
    )
    group.add_argument("--window-scale", metavar="LOW,HIGH", help="canvas pixels a frame pixel there (0.5,2)")
    group.add_argument("--windows-per-frame", type=int, metavar="N", help="samples of a frame an epoch (1)")
