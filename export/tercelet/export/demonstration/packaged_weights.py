"""The small weights that travel with the package, and the finished bundle made of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import tercelet.runtime
import tercelet.training
from tercelet.contract.artefact import MANIFEST_NAME, inside, read_manifest
from tercelet.contract.errors import InputError, MissingDependencyError
from tercelet.contract.manifest import Manifest

CLASS_MAP = "class_map.json"


@dataclass(frozen=True)
class PackagedWeights:
    """detector, density: folders of checkpoints. bundle: folder of the aerial bundle made of the two."""

    detector: Path
    density: Path
    bundle: Path

    def check(self, *, checkpoints: bool) -> None:
        """MissingDependencyError where the bundle, or a checkpoint that is wanted, is not there."""
        wanted = (self.bundle, self.detector, self.density) if checkpoints else (self.bundle,)
        for folder in wanted:
            if not (folder / MANIFEST_NAME).is_file():
                raise MissingDependencyError(
                    f"{folder}: expected the weights of the demo, which travel with the package, found none: "
                    "this copy came without them. Install a released wheel or a whole checkout, or show "
                    "weights of your own: tercelet demo --weights FILE --detector NAME"
                )

    @property
    def class_map(self) -> Path | None:
        """Which labels of the detector are which categories of the scenes; None where the names are equal."""
        path = self.detector / CLASS_MAP
        return path if path.is_file() else None


def packaged_weights() -> PackagedWeights:
    """Where they lie in this installation, whether they are there or not."""
    weights = _folder_of(tercelet.training) / "demo_weights"
    return PackagedWeights(
        detector=weights / "detector",
        density=weights / "density",
        bundle=_folder_of(tercelet.runtime) / "demo_bundle",
    )


def aerial_manifests(bundle: Path) -> tuple[Manifest, Manifest]:
    """Of the detector and of the density network in an aerial bundle; InputError for any other."""
    manifest = read_manifest(bundle)
    if manifest.aerial is None or manifest.aerial.density is None:
        raise InputError(
            f"{bundle}: expected an aerial bundle with a density network, got one of pipeline "
            f"{manifest.pipeline}; make it with tercelet bundle-aerial DETECTOR DENSITY"
        )
    return manifest, read_manifest(inside(bundle, manifest.aerial.density))


def _folder_of(package: object) -> Path:
    return Path(str(getattr(package, "__file__", ""))).parent
