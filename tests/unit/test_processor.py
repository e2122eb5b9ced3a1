"""In which precision a processor multiplies faster is read off what the kernel says of it."""

import platform

import pytest

from lift_core import processor

TWO = """processor\t: 0
vendor_id\t: {vendor}
flags\t\t: fpu {flags}
bugs\t\t: spectre_v1

processor\t: 1
vendor_id\t: nobody
flags\t\t: fpu
"""


@pytest.fixture
def fast(monkeypatch, tmp_path):
    def asked(machine, vendor, flags):
        described = tmp_path / "cpuinfo"
        described.write_text(TWO.format(vendor=vendor, flags=flags))
        monkeypatch.setattr("platform.machine", lambda: machine)
        monkeypatch.setattr(processor, "_CPUINFO", described)
        processor.multiplies_bf16.cache_clear()
        return processor.multiplies_bf16()

    yield asked
    processor.multiplies_bf16.cache_clear()


@pytest.mark.parametrize(
    ("machine", "vendor", "flags", "expected"),
    [
        ("x86_64", "GenuineIntel", "avx2 avx512_bf16 amx_bf16 amx_tile", True),
        ("x86_64", "GenuineIntel", "avx2 avx512_bf16", False),
        ("x86_64", "AuthenticAMD", "avx2 avx512_bf16", True),
        ("x86_64", "AuthenticAMD", "avx2", False),
        ("AMD64", "AuthenticAMD", "avx2", False),
        ("aarch64", "", "asimd", True),
    ],
)
def test_the_rule(fast, machine, vendor, flags, expected):
    assert fast(machine, vendor, flags) is expected


def test_where_the_kernel_says_nothing_bf16_counts_as_slow(monkeypatch, tmp_path, fast):
    fast("x86_64", "GenuineIntel", "amx_bf16")
    monkeypatch.setattr(processor, "_CPUINFO", tmp_path / "none")
    processor.multiplies_bf16.cache_clear()
    assert processor.multiplies_bf16() is False


@pytest.mark.skipif(platform.system() != "Linux" or platform.machine() != "x86_64", reason="names its own")
def test_this_machine_is_asked():
    # Every x86 processor that runs this has floating point.
    assert "fpu" in processor._described()["flags"].split()
    assert processor._described()["vendor_id"]
