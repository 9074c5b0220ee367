"""The manifest is read strictly: a refusal names the file and the path of the field."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tercelet.contract.errors import InputError
from tercelet.contract.manifest import (
    CloudParity,
    CloudRecord,
    DetectorRecord,
    Golden,
    Manifest,
    Network,
    Parity,
    PictureVotesRecord,
    Postprocess,
    Provenance,
    Target,
    TensorRecord,
)
from tercelet.contract.manifest_json import json_from_manifest, manifest_from_json
from tercelet.contract.preprocess import Preprocess

FULL = Manifest(
    kind="bundle",
    detector=DetectorRecord("yolov5n", {"classes": 2, "anchors": (1.25, 1.625), "fast": True, "none": None}),
    labels=("cat", "dog"),
    preprocess=Preprocess(64, 96),
    provenance=Provenance(source="a.pt", sha256="0" * 64, format="torch zip", licence="AGPL-3.0"),
    files={"model.onnx": "1" * 64},
    pipeline="single",
    network=Network(
        "model.onnx",
        (TensorRecord("canvases", "uint8", (1, 64, 96, 3), "canvas"),),
        (TensorRecord("boxes", "float32", (1, 10, 4), "boxes"),),
        10,
        18,
        10,
        ("tercelet::X",),
    ),
    postprocess=Postprocess(),
    parity=Parity("torch", 3, 30, 0.0, 0.0, 0.0, 0.0, 0, 1e-3, 1e-4),
    target=Target("onnxruntime", "fp32", {"torch": "2.13.0"}),
    golden=Golden("golden.npy", 0.5, 0.005),
)


def edited(change: Callable[[dict[str, Any]], object]) -> str:
    data = json.loads(json_from_manifest(FULL))
    change(data)
    return json.dumps(data)


def test_a_manifest_comes_back_as_it_went() -> None:
    back = manifest_from_json(json_from_manifest(FULL), where="m")
    assert json_from_manifest(back) == json_from_manifest(FULL)
    assert back.network == FULL.network
    assert back.detector.options["anchors"] == (1.25, 1.625)
    assert back.bundle_parts() == (FULL.network, FULL.postprocess, FULL.target)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "m: expected JSON"),
        ("[]", "m: expected a JSON object, got a list"),
        ('{"schema_version": ' + "9" * 5000 + "}", "m: expected JSON, got something else"),
        ('{"schema_version": NaN}', "expected finite numbers, got NaN"),
        ("{}", "schema_version: expected 1, got null"),
        ('{"schema_version": true}', "schema_version: expected 1, got true"),
        ('{"schema_version": 2}', "schema_version: expected 1, got 2; make the artefact anew"),
        ('{"schema_version": 1}', "kind: expected a value, the key is missing"),
    ],
)
def test_text_that_is_no_manifest_is_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        manifest_from_json(text, where="m")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(colour="red"), "colour: unknown key; expected one of kind"),
        (lambda d: d["preprocess"].update(pad=1), "preprocess.pad: unknown key"),
        (
            lambda d: d["preprocess"].update(pad_value="114"),
            'preprocess.pad_value: expected an integer, got "114"',
        ),
        (
            lambda d: d["preprocess"].update(pad_value=True),
            "preprocess.pad_value: expected an integer, got true",
        ),
        (
            lambda d: d["preprocess"].update(pad_value=300),
            r"m: preprocess: expected pad_value in 0\.\.255, got 300",
        ),
        (lambda d: d["preprocess"].update(color="GRB"), 'preprocess.color: expected "BGR", "RGB", got "GRB"'),
        (lambda d: d["preprocess"].pop("height"), "preprocess.height: expected a value, the key is missing"),
        (lambda d: d.update(preprocess=3), "preprocess: expected an object, got 3"),
        (lambda d: d.update(labels="cat"), 'labels: expected a list, got "cat"'),
        (lambda d: d.update(labels=["cat", 3]), r"labels\[1\]: expected a string, got 3"),
        (lambda d: d.update(files=[]), "files: expected an object, got a list"),
        (
            lambda d: d["network"]["inputs"][0].update(shape=[1, 2.5]),
            r"network.inputs\[0\].shape\[1\]: expected an int",
        ),
        (
            lambda d: d["detector"].update(options={"classes": {}}),
            "detector.options.classes: expected a number",
        ),
        (
            lambda d: d["parity"].update(boxes_px_max="x" * 99),
            r'boxes_px_max: expected a number, got "xxx.*\.\.\.',
        ),
        (lambda d: d.update(kind=True), "kind: expected"),
        (lambda d: d["labels"].pop(), "labels: expected 2, one for each class, got 1"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(
    change: Callable[[dict[str, Any]], object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        manifest_from_json(edited(change), where="m")


def test_a_number_beyond_all_numbers_is_refused() -> None:
    text = json_from_manifest(FULL).replace('"tolerance_px": 0.5', '"tolerance_px": 1e999')
    with pytest.raises(InputError, match=r"golden.tolerance_px: expected a number, got Infinity"):
        manifest_from_json(text, where="m")


def test_whole_numbers_are_accepted_where_numbers_are_expected() -> None:
    text = edited(lambda d: d["postprocess"].update(score_threshold=1))
    manifest = manifest_from_json(text, where="m")
    assert manifest.postprocess is not None
    assert manifest.postprocess.score_threshold == 1.0


@pytest.mark.parametrize("part", ["network", "postprocess", "target", "pipeline"])
def test_a_bundle_without_a_part_names_it(part: str) -> None:
    manifest = manifest_from_json(edited(lambda d: d.pop(part)), where="m")
    with pytest.raises(InputError, match=f"{part}: expected an object in a bundle"):
        manifest.bundle_parts()


def test_a_bundle_of_clouds_comes_back_with_what_cloud_it_takes() -> None:
    made = replace(
        FULL,
        pipeline="rgbd",
        cloud=CloudRecord(20_000),
        cloud_parity=CloudParity("torch", 3, 768, 0.0, 0.0, 0.0, 0.0, 100, 1, 0.0, 1e-3, 1e-3),
    )
    back = manifest_from_json(json_from_manifest(made), where="m")
    assert back.cloud_parity == made.cloud_parity
    assert back.cloud_parts() == (FULL.network, CloudRecord(20_000, ("x", "y", "z", "height"), 0.99))


@pytest.mark.parametrize("part", ["network", "cloud", "pipeline"])
def test_a_bundle_of_clouds_without_a_part_is_none(part: str) -> None:
    made = replace(FULL, pipeline="rgbd", cloud=CloudRecord(10))
    with pytest.raises(InputError, match="expected a bundle that looks at clouds of points, got a bundle of"):
        replace(made, **{part: None}).cloud_parts()


@pytest.mark.parametrize(
    ("cloud", "message"),
    [
        ({"points": 0}, "m: cloud: points: expected at least 1, got 0"),
        ({"points": 1, "features": []}, "features: expected x, y, z first, got none"),
        ({"points": 1, "features": ["z", "y", "x"]}, "features: expected x, y, z first, got z, y, x"),
        ({"points": 1, "height_percentile": 101}, "height_percentile: expected 0 to 100, got 101"),
    ],
)
def test_a_cloud_that_no_graph_takes_is_refused(cloud: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        manifest_from_json(edited(lambda d: d.update(cloud=cloud)), where="m")


VOTES: dict[str, Any] = {"boxes": 100, "classes": ["chair", "sofa"]}


def test_what_a_network_is_shown_of_the_picture_comes_back() -> None:
    record = PictureVotesRecord(
        boxes=100,
        classes=("chair", "sofa"),
        channels="RGB",
        mean=(103.53, 116.28, 123.675),
        scale=0.5,
        detector="detector",
        class_map={"couch": "sofa", "armchair": "chair", "bench": "sofa"},
        score_threshold=0.3,
        without_picture="without-picture",
    )
    made = replace(FULL, picture_votes=record)
    assert manifest_from_json(json_from_manifest(made), where="m").picture_votes == record
    plain = manifest_from_json(edited(lambda d: d.update(picture_votes=VOTES)), where="m").picture_votes
    assert plain == PictureVotesRecord(boxes=100, classes=("chair", "sofa"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": 0}, "m: picture_votes: boxes: expected at least 1, got 0"),
        ({"boxes": 1.5}, "picture_votes.boxes: expected an integer, got 1.5"),
        ({"classes": []}, "picture_votes: classes: expected at least one, each once, got none"),
        ({"classes": ["a", "a"]}, "classes: expected at least one, each once, got a, a"),
        ({"channels": "GRB"}, 'picture_votes.channels: expected "BGR", "RGB", got "GRB"'),
        ({"mean": [1.0, 2.0]}, r"mean: expected three numbers of 0 to 255, got \(1.0, 2.0\)"),
        ({"mean": [1, 2, 256]}, "mean: expected three numbers of 0 to 255"),
        ({"scale": 0}, "scale: expected a number above 0, got 0"),
        ({"score_threshold": 1.1}, "score_threshold: expected 0 to 1, got 1.1"),
        ({"class_map": []}, "picture_votes.class_map: expected an object, got a list"),
        ({"class_map": {"couch": 1}}, "picture_votes.class_map.couch: expected a string, got 1"),
        (
            {"class_map": {"cot": "bed"}},
            r"class_map: expected classes of the network \(chair, sofa\), got bed",
        ),
        ({"detector": "a", "without_picture": "a"}, "expected two subfolders, got a for both"),
        ({"colour": 1}, "picture_votes.colour: unknown key"),
    ],
)
def test_a_picture_that_no_network_is_shown_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        manifest_from_json(edited(lambda d: d.update(picture_votes={**VOTES, **change})), where="m")
