"""Every CUDA kernel through NVIDIA's compiler, without a GPU: it compiles everywhere and spills nowhere."""

import os
import re

import pytest

from tinyvit.kernels.gpu import compile_gate
from tinyvit.kernels.gpu.compile_gate import ARCHITECTURES, NoNVRTC, Usage, compile_all, variants
from tinyvit.kernels.gpu.launch import FOLDER

LARGEST_SHARED = 48 << 10  # bytes that a block gets without asking
GENERATIONS = ARCHITECTURES if os.environ.get("CI") else ("sm_90",)  # each takes half a minute of two cores


@pytest.fixture(scope="module")
def usages() -> list[Usage]:
    try:
        return compile_all(GENERATIONS)
    except NoNVRTC as error:
        if os.environ.get("CI"):
            raise  # there it must run
        pytest.skip(str(error))


def test_no_kernel_spills(usages):
    assert [usage for usage in usages if usage.spilled] == []


def test_shared_memory_is_what_every_gpu_gives(usages):
    assert [usage for usage in usages if usage.shared > LARGEST_SHARED] == []


def test_every_kernel_was_compiled_for_every_generation(usages):
    from tinyvit.kernels.cuda_on_cpu import Source

    expected = {
        (path.stem, kernel, architecture)
        for path in FOLDER.glob("*.cu")
        for kernel in Source(path).kernels
        for architecture in GENERATIONS
    }
    assert {(usage.file, usage.kernel, usage.architecture) for usage in usages} == expected


def test_every_file_has_variants():
    assert {file for file, _ in variants()} == {path.stem for path in FOLDER.glob("*.cu")}
    assert set(compile_gate.CHOICES) <= {path.stem for path in FOLDER.glob("*.cu")}


# What a file includes asks for these, and no launcher gives them.
NEVER = {
    "total": {"BFLOAT16"},
    "attention": {"BFLOAT16"},
    "attention_backward": {"BFLOAT16"},
    "tensor_cores": {"VECTOR", "ANYWHERE"},
}


def test_every_constant_that_a_file_asks_for_is_in_some_of_its_variants():
    for path in FOLDER.glob("*.cu"):
        texts = [path.read_text(encoding="utf-8")]
        for text in texts:
            texts += [
                (FOLDER / name).read_text(encoding="utf-8") for name in re.findall(r'#include "(\w+\.cuh)"', text)
            ]
        asked = set(re.findall(r"^#ifn?def (\w+)", "\n".join(texts), re.MULTILINE)) - NEVER.get(path.stem, set())
        given = {name for file, constants in variants() if file == path.stem for name in constants}
        assert asked == given, f"{path.name} asks for {asked}, its variants give {given}"


def test_a_spill_is_read_off_the_log():
    log = (
        "ptxas info    : Compiling entry function 'greedy' for 'sm_90'\n"
        "    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads\n"
        "ptxas info    : Used 255 registers, used 1 barriers, 2048 bytes smem\n"
        "ptxas info    : Compiling entry function 'modest' for 'sm_90'\n"
        "    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n"
        "ptxas info    : Used 20 registers, used 0 barriers\n"
    )
    assert list(compile_gate._usages(log, "file", "A=1", "sm_90")) == [
        Usage("file", "greedy", "A=1", "sm_90", registers=255, shared=2048, spilled=16),
        Usage("file", "modest", "A=1", "sm_90", registers=20, shared=0, spilled=0),
    ]


def test_a_file_that_does_not_compile_is_named(tmp_path, monkeypatch):
    (tmp_path / "broken.cu").write_text('extern "C" __global__ void f(int *x) { x[0] = nothing; }\n')
    monkeypatch.setattr(compile_gate, "FOLDER", tmp_path)
    try:
        with pytest.raises(RuntimeError, match=r"(?s)broken.cu WIDTH=3 does not compile for sm_90:.*nothing"):
            compile_gate.compile_one("broken", {"WIDTH": 3}, "sm_90")
    except NoNVRTC as error:
        pytest.skip(str(error))
