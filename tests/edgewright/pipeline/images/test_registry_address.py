"""What people call an image in a registry, and a place to push to."""

from __future__ import annotations

import pytest

from edgewright.errors import ImageError
from edgewright.pipeline.images.registry_address import parse_address, parse_push_address


@pytest.mark.parametrize(
    ("text", "host", "path", "pull"),
    [
        (
            "registry.example:5000/team/digits:4",
            "registry.example:5000",
            "team/digits",
            "registry.example:5000/team/digits:4",
        ),
        (f"python@sha256:{'a' * 64}", "", "python", f"python@sha256:{'a' * 64}"),
        ("localhost/x", "localhost", "x", "localhost/x"),
        ("http://10.0.0.7:5000/a/b/", "10.0.0.7:5000", "a/b", "10.0.0.7:5000/a/b"),
    ],
)
def test_addresses_are_read_as_engines_read_them(text: str, host: str, path: str, pull: str) -> None:
    found = parse_address(text)
    assert (found.host, found.repository, found.pull, found.is_plain) == (host, path, pull, text.startswith("http://"))


@pytest.mark.parametrize(
    "text",
    ["", "Upper/case", "a b", "x/../y", "x:", "x@sha256:12", "x@", "host:99999999/x", "host:99999/x", "host:0/x"],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ImageError):
        parse_address(text)


@pytest.mark.parametrize(
    ("text", "pull"),
    [
        ("registry.example", "registry.example/digits.pi"),
        ("registry", "registry/digits.pi"),
        ("registry.example:5000", "registry.example:5000/digits.pi"),
        ("https://registry.example/team/of/x/", "registry.example/team/of/x/digits.pi"),
        ("http://[::1]:65535/team", "[::1]:65535/team/digits.pi"),
    ],
)
def test_a_place_to_push_to_is_a_host_and_maybe_a_path(text: str, pull: str) -> None:
    assert parse_push_address(text).below("digits.pi").pull == pull


@pytest.mark.parametrize(
    "text",
    [
        *("", "http://", "/team", "team:tag", "registry.example/team:4", "registry.example:99999/team", "host:0"),
        *(f"x@sha256:{'a' * 64}", f"registry.example/team@sha256:{'a' * 64}", "Registry/Team", "http://https://x/y"),
    ],
)
def test_what_names_an_image_is_no_place_to_push_to(text: str) -> None:
    with pytest.raises(
        ImageError, match=r"needed is \[http://\]host\[:port\]\[/path\], in lower case: repository, tag and"
    ):
        parse_push_address(text)
