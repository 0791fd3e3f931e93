"""Gives the environment's Python a C library as new as TFX's wheels need.

tensorflow-data-validation and ml-metadata 1.21 have Linux wheels for glibc 2.39 and newer only.
On Debian 11 and 12 and Ubuntu 20.04 and 22.04 the libraries of a later release are unpacked into a
folder, and the environment's Python, a copy, is patched to load them. Nothing is installed on the
machine, and no other program is touched.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import sysconfig
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from environment.commands import SetupFailure, run

REQUIRED_GLIBC = (2, 39)
LATER_RELEASES = {"bullseye": "trixie", "bookworm": "trixie", "focal": "noble", "jammy": "noble"}
RUNTIME_PACKAGES = ("libc6", "libstdc++6", "libgcc-s1")
LOADER = "ld-linux-x86-64.so.2"

# Loaded with the interpreter, before any extension module can find the machine's own older copy
# through a run path of its own.
PRELOADED_LIBRARIES = (
    "libstdc++.so.6",
    "libgcc_s.so.1",
    "libm.so.6",
    "libpthread.so.0",
    "libdl.so.2",
    "librt.so.1",
)

# These know the later release too: Debian signs a release with the keys of the one before as well.
KEYRINGS = {
    "trixie": "/usr/share/keyrings/debian-archive-keyring.gpg",
    "noble": "/usr/share/keyrings/ubuntu-archive-keyring.gpg",
}


@dataclass(frozen=True)
class AptSource:
    """One mirror as apt's sources name it; `signed_by` is a keyring's path, or empty."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


def parse_glibc_version(text: str) -> tuple[int, int]:
    """Returns (2, 36) for "glibc 2.36"; raises ValueError for anything else."""
    match = re.fullmatch(r"glibc (\d+)\.(\d+)(\..*)?", text.strip())
    if not match:
        raise ValueError(f"expected 'glibc MAJOR.MINOR'. Received: {text!r}")
    return int(match[1]), int(match[2])


def machine_glibc() -> tuple[int, int]:
    """Returns the version of the C library that this Python runs on."""
    try:
        return parse_glibc_version(os.confstr("CS_GNU_LIBC_VERSION") or "")
    except (ValueError, OSError) as error:
        raise SetupFailure(
            "this Linux has no GNU C library, which TensorFlow needs; "
            "use a Debian, Ubuntu or Fedora machine or container"
        ) from error


def parse_one_line_sources(text: str) -> list[AptSource]:
    """Reads the `deb [options] URI suite component...` lines of a *.list file."""
    sources = []
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s*)?(\S+)\s+(\S+)\s+([^#]*)", line)
        if not match:
            continue
        options = dict(option.split("=", 1) for option in (match[1] or "").split() if "=" in option)
        sources.append(
            AptSource(
                uri=match[2],
                suites=(match[3],),
                components=tuple(match[4].split()),
                signed_by=keyring_path(options.get("signed-by", "")),
            )
        )
    return sources


def parse_deb822_sources(text: str) -> list[AptSource]:
    """Reads the stanzas of a *.sources file, one AptSource for each URI."""
    sources = []
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n\s*\n", "\n".join(lines)):
        unfolded = re.sub(r"\n[ \t]+", " ", stanza)
        fields = {
            name.strip().lower(): value.strip()
            for name, colon, value in (line.partition(":") for line in unfolded.splitlines())
            if colon
        }
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        for uri in fields.get("uris", "").split():
            sources.append(
                AptSource(
                    uri=uri,
                    suites=tuple(fields.get("suites", "").split()),
                    components=tuple(fields.get("components", "").split()),
                    signed_by=keyring_path(fields.get("signed-by", "")),
                )
            )
    return sources


def keyring_path(signed_by: str) -> str:
    """Keeps a keyring's path; drops fingerprints and embedded keys, which name no later key."""
    return signed_by if signed_by.startswith("/") else ""


def read_apt_sources(apt_folder: Path) -> list[AptSource]:
    """Returns every enabled binary source under `apt_folder`, in apt's order."""
    sources = []
    parts = apt_folder / "sources.list.d"
    for path in [apt_folder / "sources.list", *sorted(parts.glob("*"))]:
        if path.suffix == ".list" and path.is_file():
            sources += parse_one_line_sources(path.read_text())
        elif path.suffix == ".sources":
            sources += parse_deb822_sources(path.read_text())
    return sources


def choose_later_release(os_release: dict[str, str]) -> tuple[str, str]:
    """Returns this machine's release and the one whose libraries fit, such as bookworm, trixie.

    Args:
        os_release: The fields of /etc/os-release.

    Raises:
        SetupFailure: It is none of the releases this is known to work on.
    """
    # Ubuntu's derivatives name their base in UBUNTU_CODENAME.
    codename = os_release.get("UBUNTU_CODENAME") or os_release.get("VERSION_CODENAME", "")
    if codename not in LATER_RELEASES:
        wanted = ".".join(map(str, REQUIRED_GLIBC))
        raise SetupFailure(
            f"TFX's wheels need glibc {wanted} or newer, and "
            f"{os_release.get('PRETTY_NAME', 'this system')} has an older one; use Debian 12 or "
            "newer, Ubuntu 22.04 or newer, Fedora 40 or newer, or a container of one of them"
        )
    return codename, LATER_RELEASES[codename]


def choose_mirror(sources: Iterable[AptSource], codename: str) -> AptSource:
    """Returns the first source that serves the release's main component.

    Raises:
        SetupFailure: None does.
    """
    for source in sources:
        if codename in source.suites and "main" in source.components:
            return source
    raise SetupFailure(
        f"no source under /etc/apt serves {codename} main; add the distribution's mirror there "
        "(its address is needed to fetch newer C libraries into the environment)"
    )


def fetch_packages(
    packages: Iterable[str], *, uri: str, suite: str, keyring: str, folder: Path
) -> None:
    """Unpacks a suite's packages into `folder`, with apt's state in a temporary folder.

    Needs no root. Proxies and credentials of the machine's own apt configuration hold.
    """
    with tempfile.TemporaryDirectory() as state_folder:
        state = Path(state_folder)
        for name in ("lists/partial", "cache/archives/partial", "downloads"):
            (state / name).mkdir(parents=True)
        (state / "status").touch()
        (state / "sources.list").write_text(
            f"deb [arch=amd64 target=Packages signed-by={keyring}] {uri} {suite} main\n"
        )
        # The machine's hooks, pins and default release are about the machine, not this folder.
        (state / "apt.conf").write_text(
            f"""\
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Default-Release "";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Dir::Etc::SourceList "{state}/sources.list";
Dir::Etc::SourceParts "/dev/null";
Dir::Etc::Preferences "/dev/null";
Dir::Etc::PreferencesParts "/dev/null";
Dir::State::Lists "{state}/lists";
Dir::State::Status "{state}/status";
Dir::Cache "{state}/cache";
"""
        )
        apt_get: list[str | Path] = ["apt-get", "--quiet", "--config-file", state / "apt.conf"]
        english = {"LC_ALL": "C"}
        downloads = state / "downloads"
        run([*apt_get, "update"], env=english)
        run([*apt_get, "download", *packages], env=english, cwd=downloads)
        for archive in downloads.glob("*.deb"):
            run(["dpkg-deb", "--extract", archive, folder])


def fetch_runtime(folder: Path) -> None:
    """Fills `folder` with the later release's C and C++ runtime libraries.

    Raises:
        SetupFailure: The release is unknown, or its mirror fails or is not trusted.
    """
    codename, later = choose_later_release(platform.freedesktop_os_release())
    mirror = choose_mirror(read_apt_sources(Path("/etc/apt")), codename)
    with tempfile.TemporaryDirectory() as unpacked_folder:
        unpacked = Path(unpacked_folder)
        fetch_packages(
            RUNTIME_PACKAGES,
            uri=mirror.uri,
            suite=later,
            keyring=mirror.signed_by or KEYRINGS[later],
            folder=unpacked,
        )
        folder.mkdir(parents=True)
        for library in unpacked.glob("**/lib/x86_64-linux-gnu/*.so*"):
            shutil.copy2(library, folder, follow_symlinks=False)
    if not (folder / LOADER).exists():
        raise SetupFailure(f"the packages of {later} on {mirror.uri} hold no {LOADER}")


def use_runtime(python: Path, *, runtime: Path, patchelf: Path) -> None:
    """Patches the program `python` to load its C and C++ libraries from `runtime`."""
    run_path = [str(runtime), sysconfig.get_config_var("LIBDIR")]
    preloads = [word for library in PRELOADED_LIBRARIES for word in ("--add-needed", library)]
    run(
        [
            patchelf,
            "--set-interpreter",
            runtime / LOADER,
            # A DT_RPATH, unlike a RUNPATH, also holds for the libraries that libraries load.
            "--force-rpath",
            "--set-rpath",
            ":".join(run_path),
            *preloads,
            python,
        ]
    )
