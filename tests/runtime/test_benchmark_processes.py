"""What fresh processes measure, run in this one; the memory mark; and who the machine is."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from tercelet.contract.scenes import synthetic_frame
from tercelet.runtime import fresh_process
from tercelet.runtime.machine_identity import core_quota, identify_machine, memory_bytes, usable_cores
from tercelet.runtime.memory_mark import peak_bytes, reset_peak, resident_bytes

BLOCK = 64 << 20
# Kernels count resident pages per thread and add them up now and then.
SLACK = 4 << 20
OPTIONS = {"threads": 1, "spinning": False, "device": "cpu"}
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux keeps this in /proc")


@pytest.fixture
def frame(tmp_path: Path) -> str:
    path = tmp_path / "frame.npy"
    np.save(path, synthetic_frame(0, height=96, width=128))
    return str(path)


@linux
def test_the_peak_is_what_was_used_since_the_mark_was_set() -> None:
    assert reset_peak()
    before = resident_bytes()
    held = np.ones(BLOCK, np.uint8)
    del held
    after = peak_bytes()
    assert before is not None
    assert after is not None
    assert BLOCK - SLACK <= after - before <= BLOCK + 8 * SLACK
    assert reset_peak()
    peak = peak_bytes()
    assert peak is not None
    assert peak < after - BLOCK // 2


def test_without_proc_nothing_is_known_and_nothing_fails(tmp_path: Path) -> None:
    assert resident_bytes(tmp_path) is None
    assert peak_bytes(tmp_path) is None
    assert not reset_peak(tmp_path / "nowhere")


def test_a_status_without_the_line_is_not_known(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmRSS:\t   2 kB\n")
    assert resident_bytes(tmp_path) == 2048
    assert peak_bytes(tmp_path) is None


def test_the_first_result_comes_with_its_times(tiny_bundle: Path, frame: str) -> None:
    answer = fresh_process.first_result(str(tiny_bundle), frame, OPTIONS)
    assert set(answer) == {"at", "cpu"}
    assert answer["cpu"] > 0


def test_memory_is_told_for_a_process_with_the_bundle_open(tiny_bundle: Path, frame: str) -> None:
    answer = fresh_process.memory_use(str(tiny_bundle), frame, OPTIONS, ["numpy"])
    assert set(answer) == {"loaded", "model", "peak_above_loaded"}
    assert all(value is None or value >= 0 for value in answer.values())


def test_what_is_not_known_has_no_difference() -> None:
    assert fresh_process._difference(None, 1) is None
    assert fresh_process._difference(3, 1) == 2


def test_a_task_is_named_on_the_command_line_and_answers_in_json(
    tiny_bundle: Path, frame: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    task = json.dumps({"bundle": str(tiny_bundle), "frame": frame, "options": OPTIONS})
    monkeypatch.setattr(sys, "argv", ["-c", "first_result", task])
    fresh_process.main()
    assert set(json.loads(capsys.readouterr().out)) == {"at", "cpu"}


def test_the_machine_is_described_but_not_named() -> None:
    machine = identify_machine()
    assert machine.cpu
    assert 1 <= machine.cores_usable <= machine.cores
    assert machine.numpy == np.__version__
    assert "onnxruntime" in (machine.engine or "")
    # No field for a host, a user or a path; "os" is made of names of releases, not of the machine's.
    assert set(asdict(machine)) == {
        "cpu", "board", "cores", "cores_usable", "memory_bytes", "os", "architecture", "python", "numpy",
        "engine", "tercelet",
    }  # fmt: skip


def test_a_board_computer_is_told_by_its_board(tmp_path: Path) -> None:
    for name, text in (
        ("proc/cpuinfo", "processor\t: 0\nCPU implementer\t: 0x41\n"),
        ("proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0"),
        ("proc/meminfo", "MemTotal:        7802944 kB\nMemAvailable:    1024 kB\n"),
        ("etc/os-release", 'NAME="Ubuntu"\nPRETTY_NAME="Ubuntu 22.04.5 LTS"\n'),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    machine = identify_machine(tmp_path)
    assert machine.board == "NVIDIA Jetson Orin Nano Developer Kit"
    assert machine.memory_bytes == 7802944 * 1024
    assert machine.os.startswith("Ubuntu 22.04.5 LTS, ")
    assert machine.cpu
    assert memory_bytes("MemAvailable", tmp_path) == 1024 * 1024
    assert memory_bytes("SwapFree", tmp_path) is None


@pytest.mark.parametrize(
    ("text", "quota"), [("", None), ("max 100000", None), ("50000 100000", 0.5), ("150000 100000", 1.5)]
)
def test_a_containers_quota_limits_the_cores(tmp_path: Path, text: str, quota: float | None) -> None:
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "sys/fs/cgroup/cpu.max").write_text(text)
    assert core_quota(tmp_path) == quota
    assert usable_cores(tmp_path) == (1 if quota else usable_cores())


def test_without_affinity_every_core_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores(tmp_path) == os.cpu_count()
