import pytest

from environment import c_library
from environment.c_library import AptSource
from environment.commands import SetupFailure

DEB822 = """\
Types: deb
# http://snapshot.example.org/20250520
URIs: http://mirror.example.org/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb deb-src
URIs: http://one.example.org/security
 http://two.example.org/security
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBF
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb-src
URIs: http://sources.example.org/debian
Suites: bookworm
Components: main

Enabled: no
Types: deb
URIs: http://off.example.org/debian
Suites: bookworm
Components: main
"""

ONE_LINE = """\
# deb http://off.example.org/ubuntu jammy main
deb http://mirror.example.org/ubuntu jammy main restricted # the main one
deb [arch=amd64 signed-by=/etc/apt/keyrings/shop.gpg] http://shop.example.org/apt jammy main
deb-src http://sources.example.org/ubuntu jammy main
"""


@pytest.mark.parametrize(
    ("text", "version"),
    [("glibc 2.36", (2, 36)), ("glibc 2.41\n", (2, 41)), ("glibc 2.39.9000", (2, 39))],
)
def test_glibc_version_is_read_from_what_the_system_says(text, version):
    assert c_library.parse_glibc_version(text) == version


@pytest.mark.parametrize("text", ["", "musl 1.2.4", "glibc"])
def test_another_c_library_is_refused(text):
    with pytest.raises(ValueError, match="Received"):
        c_library.parse_glibc_version(text)


def test_deb822_sources_are_read_and_disabled_and_source_stanzas_left_out():
    sources = c_library.parse_deb822_sources(DEB822)

    assert sources[0] == AptSource(
        uri="http://mirror.example.org/debian",
        suites=("bookworm", "bookworm-updates"),
        components=("main", "contrib"),
        signed_by="/usr/share/keyrings/debian-archive-keyring.gpg",
    )
    assert [source.uri for source in sources[1:]] == [
        "http://one.example.org/security",
        "http://two.example.org/security",
    ]
    assert sources[1].signed_by == "", "an embedded key is no keyring's path"


def test_one_line_sources_are_read_and_comments_and_source_lines_left_out():
    assert c_library.parse_one_line_sources(ONE_LINE) == [
        AptSource("http://mirror.example.org/ubuntu", ("jammy",), ("main", "restricted")),
        AptSource(
            "http://shop.example.org/apt", ("jammy",), ("main",), "/etc/apt/keyrings/shop.gpg"
        ),
    ]


def test_both_formats_are_read_from_apts_folder_and_other_files_are_not(tmp_path):
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (tmp_path / "sources.list").write_text("deb http://first.example.org/debian bookworm main\n")
    (parts / "debian.sources").write_text(DEB822)
    (parts / "shop.list").write_text("deb http://shop.example.org/apt bookworm main\n")
    (parts / "old.list.save").write_text("deb http://saved.example.org/apt bookworm main\n")

    uris = [source.uri for source in c_library.read_apt_sources(tmp_path)]

    assert uris == [
        "http://first.example.org/debian",
        "http://mirror.example.org/debian",
        "http://one.example.org/security",
        "http://two.example.org/security",
        "http://shop.example.org/apt",
    ]


def test_the_mirror_is_the_first_source_of_the_releases_main_component():
    security = AptSource("http://security.example.org", ("jammy-security",), ("main",))
    extra = AptSource("http://extra.example.org", ("jammy",), ("universe",))
    main = AptSource("http://main.example.org", ("jammy", "jammy-updates"), ("main",))

    assert c_library.choose_mirror([security, extra, main], "jammy") == main
    with pytest.raises(SetupFailure, match="no source under /etc/apt serves jammy main"):
        c_library.choose_mirror([security, extra], "jammy")


@pytest.mark.parametrize(
    ("os_release", "releases"),
    [
        ({"VERSION_CODENAME": "bookworm"}, ("bookworm", "trixie")),
        ({"VERSION_CODENAME": "bullseye"}, ("bullseye", "trixie")),
        ({"VERSION_CODENAME": "jammy", "UBUNTU_CODENAME": "jammy"}, ("jammy", "noble")),
        ({"VERSION_CODENAME": "virginia", "UBUNTU_CODENAME": "jammy"}, ("jammy", "noble")),
    ],
)
def test_the_later_release_is_the_one_whose_c_library_fits(os_release, releases):
    assert c_library.choose_later_release(os_release) == releases


def test_an_unknown_old_system_is_told_what_to_use_instead():
    with pytest.raises(SetupFailure, match=r"glibc 2\.39 .* Rocky Linux 9 .* container"):
        c_library.choose_later_release({"PRETTY_NAME": "Rocky Linux 9", "ID": "rocky"})
