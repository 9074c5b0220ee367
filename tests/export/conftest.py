"""Fixtures that the tests of the export share."""

from __future__ import annotations

import pytest
from stand_in_weights import stand_in_weights

from tercelet.export.demonstration.packaged_weights import PackagedWeights


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> PackagedWeights:
    """Small seeded weights in place of those that travel with the package."""
    return stand_in_weights(tmp_path_factory.mktemp("packaged"))
