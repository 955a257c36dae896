"""Tests scripts/build-lambdas: the binaries that it rejects, and that the same binary makes the same zip file."""

import importlib.util
import os
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
from importlib.machinery import SourceFileLoader
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "build-lambdas"
loader = SourceFileLoader("build_lambdas", str(SCRIPT))
build_lambdas = importlib.util.module_from_spec(importlib.util.spec_from_loader("build_lambdas", loader))
loader.exec_module(build_lambdas)


def binary(machine, *versions):
    """A minimal ELF file that requires these symbol versions."""
    names = b"\0" + b"".join(version.encode() + b"\0" for version in versions)
    at = [names.index(version.encode() + b"\0") for version in versions]
    needed = b"".join(
        struct.pack("<IHHII", 0, 0, 2, name, 16 if name != at[-1] else 0) for name in at
    )
    need = struct.pack("<HHIII", 1, len(versions), 0, 16, 0) + needed
    start = 64
    headers = start + len(names) + len(need)

    def section(kind, offset, size, link=0, info=0):
        return struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, offset, size, link, info, 0, 0)

    ident = b"\x7fELF\x02\x01" + bytes(10)
    header = ident + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 0, headers, 0, 64, 0, 0, 64, 3, 0)
    return (
        header + names + need
        + section(0, 0, 0)
        + section(3, start, len(names))
        + section(0x6FFFFFFE, start + len(names), len(need), link=1, info=1)
    )


class Build(unittest.TestCase):
    def test_compiler_flags_of_the_user_do_not_reach_the_functions(self):
        with tempfile.TemporaryDirectory() as directory:
            package = Path(directory)
            (package / "Cargo.toml").write_text('[package]\nname = "empty"\nedition = "2024"\n[lib]\npath = "lib.rs"\n', encoding="utf-8")
            (package / "lib.rs").touch()
            (package / "config.toml").write_text('[build]\nrustflags = ["--no-such-flag"]\n', encoding="utf-8")
            cargo = ["cargo", "--config", str(package / "config.toml"), "build", "--manifest-path", str(package / "Cargo.toml")]
            with mock.patch.dict(os.environ, {"RUSTFLAGS": "--no-such-flag"}):
                build_lambdas.run(*cargo, "--target-dir", directory, stdout=subprocess.PIPE)


class Check(unittest.TestCase):
    def test_a_binary_for_lambda_is_accepted(self):
        build_lambdas.check(binary(62, "GLIBC_2.2.5", "GLIBC_2.34", "GCC_3.0"), "x86_64")
        build_lambdas.check(binary(183, "GLIBC_2.17"), "arm64")

    def test_a_newer_glibc_is_rejected_at_every_position(self):
        for versions in (["GLIBC_2.35", "GLIBC_2.17"], ["GLIBC_2.17", "GLIBC_2.35"], ["GLIBC_3.0"]):
            with self.assertRaisesRegex(build_lambdas.Unusable, r"needs glibc (2\.35|3\.0), Lambda has 2\.34"):
                build_lambdas.check(binary(62, *versions), "x86_64")

    def test_another_architecture_is_rejected(self):
        with self.assertRaisesRegex(build_lambdas.Unusable, "another architecture than arm64"):
            build_lambdas.check(binary(62, "GLIBC_2.17"), "arm64")

    def test_a_file_that_is_not_a_linux_binary_is_rejected(self):
        for other in (b"", b"\xcf\xfa\xed\xfe" + bytes(100), b"#!/bin/sh\n"):
            with self.assertRaisesRegex(build_lambdas.Unusable, "is not a 64-bit little-endian ELF file"):
                build_lambdas.check(other, "arm64")

    @unittest.skipUnless(sys.platform == "linux", "this machine has no ELF files")
    def test_the_glibc_versions_of_a_real_binary_are_read(self):
        versions = list(build_lambdas.glibc_versions(Path("/bin/sh").resolve().read_bytes()))
        self.assertTrue(all(major == 2 for major, _ in versions), versions)


class Pack(unittest.TestCase):
    def test_the_same_binary_makes_the_same_zip_with_an_executable_bootstrap(self):
        with tempfile.TemporaryDirectory() as directory:
            first, second = (Path(directory) / name / "f.zip" for name in "ab")
            build_lambdas.pack(b"content" * 1000, first)
            # A zip file stores times with a resolution of two seconds, so the test advances the clock by an hour.
            later = time.time
            time.time = lambda: later() + 3600
            self.addCleanup(setattr, time, "time", later)
            build_lambdas.pack(b"content" * 1000, second)
            self.assertEqual(first.read_bytes(), second.read_bytes())
            [entry] = zipfile.ZipFile(first).infolist()
            self.assertEqual((entry.filename, entry.external_attr >> 16 & 0o777), ("bootstrap", 0o755))
            self.assertLess(entry.compress_size, entry.file_size)


if __name__ == "__main__":
    unittest.main()
