from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from PIL import Image

from workers.engine.codecs.metadata import Metadata, apply_policy, metadata_of
from workers.engine.options import MetadataPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

KEEP, STRIP_LOCATION, STRIP = MetadataPolicy

HEAD = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description rdf:about="" dc:title="cup"'
TAIL = b"</rdf:Description></x:xmpmeta>"
WITHOUT_PLACE = HEAD + b' xmp:Rating="5"><dc:creator>me</dc:creator>' + TAIL


def exif(make: Callable[[Image.Exif], None]) -> bytes:
    block = Image.Exif()
    make(block)
    return block.tobytes()


def camera(block: Image.Exif) -> None:
    block[0x010E] = "a cup"
    block.get_ifd(0x8769).update({0x9003: "2020:01:01 00:00:00", 0x927C: b"taken in Greenwich"})
    block.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 38.25)})


def only_location(block: Image.Exif) -> None:
    block.get_ifd(0x8825).update({1: "N", 2: (51.0, 28.0, 38.25)})


@pytest.fixture
def metadata() -> Metadata:
    return Metadata(exif(camera), WITHOUT_PLACE, b"a profile", (300.0, 300.0))


# A megabyte of spaces took 15 minutes in a search that could not be cancelled.
def test_long_blank_xmp_packet_is_read_quickly() -> None:
    image = Image.new("L", (1, 1))
    image.info["xmp"] = b" " * 1_000_000

    assert metadata_of(image).xmp == image.info["xmp"]


def test_keep_returns_metadata_unchanged(metadata: Metadata) -> None:
    assert apply_policy(metadata, KEEP) is metadata


def test_strip_keeps_profile_and_resolution(metadata: Metadata) -> None:
    assert apply_policy(metadata, STRIP) == Metadata(None, None, b"a profile", (300.0, 300.0))


def test_strip_location_removes_gps_and_maker_note(metadata: Metadata) -> None:
    left = apply_policy(metadata, STRIP_LOCATION)

    notes = Image.Exif()
    notes.load(left.exif)
    assert notes[0x010E] == "a cup"
    assert notes.get_ifd(0x8769) == {0x9003: "2020:01:01 00:00:00"}
    assert notes.get_ifd(0x8825) == {}
    assert b"Greenwich" not in left.exif
    assert (left.xmp, left.icc_profile, left.dpi) == (WITHOUT_PLACE, b"a profile", (300.0, 300.0))


@pytest.mark.parametrize("policy", [STRIP_LOCATION, STRIP])
def test_exif_with_only_gps_is_removed(policy: MetadataPolicy) -> None:
    assert apply_policy(Metadata(exif(only_location)), policy) == Metadata()


@pytest.mark.parametrize("policy", MetadataPolicy)
def test_policy_of_empty_metadata_returns_empty(policy: MetadataPolicy) -> None:
    assert apply_policy(Metadata(), policy) == Metadata()


@pytest.mark.parametrize(
    ("attributes", "elements"),
    [
        (b' exif:GPSLatitude="51,28N"', b""),
        (b"\nexif:GPSLatitude = '51,28N'\texif:GPSLongitude='0,0E'", b""),
        (b' other:gpslatitude="51,28N" drone-dji:AbsoluteLongitude="0"', b""),
        (b' photoshop:City="Greenwich" photoshop:Country="UK" photoshop:State="London"', b""),
        (b' Iptc4xmpCore:Location="Greenwich" Iptc4xmpCore:CountryCode="GB"', b""),
        (b' geo:lat="51" geo:long="0"', b""),
        (b"", b"<exif:GPSLatitude>51,28N</exif:GPSLatitude>"),
        (b"", b'<exif:GPSAltitude rdf:resource="x"/><exif:GPSTimeStamp\n>\n1\n</exif:GPSTimeStamp >'),
        (b"", b"<GPSLatitude xmlns='http://ns.adobe.com/exif/1.0/'>51,28N</GPSLatitude>"),
        (b"", b"<e:LocationShown><rdf:Bag><e:City>G</e:City><e:City>H</e:City></rdf:Bag></e:LocationShown>"),
        (b"", b'<p:City x="y"/><p:City>Greenwich</p:City>'),
    ],
)
def test_strip_location_removes_places_from_xmp(attributes: bytes, elements: bytes) -> None:
    packet = HEAD + attributes + b' xmp:Rating="5">' + elements + b"<dc:creator>me</dc:creator>" + TAIL

    assert apply_policy(Metadata(xmp=packet), STRIP_LOCATION).xmp == WITHOUT_PLACE


@pytest.mark.parametrize(
    "packet",
    [
        HEAD + b"><exif:GPSLatitude>51,28N</rdf:Description>",
        HEAD + b' exif:GPSLatitude="51,28N>' + TAIL,
        HEAD + b"><e:City><e:City>G</e:City>H</e:City>" + TAIL,
        (HEAD + b' exif:GPSLatitude="51,28N">' + TAIL).decode().encode("utf-16"),
        HEAD + b">" + b" " * 65_502 + TAIL,
        b"<exif:GPSLatitude>" * 500,
    ],
    ids=["unclosed", "unquoted", "nested", "utf-16", "too long", "repeated"],
)
def test_unparsable_xmp_is_removed_with_strip_location(packet: bytes) -> None:
    assert apply_policy(Metadata(xmp=packet), STRIP_LOCATION).xmp is None
