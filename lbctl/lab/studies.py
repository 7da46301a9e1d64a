"""Generated CT studies, and the proof that one arrived whole. No real patient was involved.

The name in them is a sentinel: it must never turn up in a log, a metric or a trace.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.random import default_rng  # now: an import in a thread and Ctrl-C in another can lock each other up
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

SENTINEL_NAME = "SENTINEL^PATIENT^MUST^NOT^BE^LOGGED"
SENTINEL_ID = "SENTINEL-0001"
_SIDE = 512
_PIXEL_BYTES = _SIDE * _SIDE * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """A study on disk. ``checksums`` maps each SOP Instance UID to the checksum of its pixels, in order of files."""

    study_uid: str
    files: tuple[Path, ...]
    checksums: Mapping[str, str]

    @property
    def octets(self) -> int:
        """Bytes of pixels in the study."""
        return len(self.files) * _PIXEL_BYTES

    def parts(self, count: int) -> tuple[tuple[Path, ...], ...]:
        """The files dealt out to ``count`` senders."""
        return tuple(self.files[start::count] for start in range(count))


@dataclass(frozen=True, slots=True, kw_only=True)
class Completeness:
    """How what was received compares with a study: SOP Instance UIDs."""

    received: int
    missing: frozenset[str]
    damaged: frozenset[str]
    foreign: frozenset[str]

    @property
    def is_complete(self) -> bool:
        """Every instance arrived with its own pixels, and nothing else did."""
        return not (self.missing or self.damaged or self.foreign)


def generate_study(directory: Path, *, seed: int, instances: int = 200) -> Study:
    """Write a CT study of 512 x 512 x 16 bit images (0.52 MB each) into a new directory; the seed decides each byte."""
    directory.mkdir(parents=True)
    rng = default_rng(seed)
    study_uid = _uid(seed, "study")
    template_uid = _uid(seed, "template")
    header = _encoded_header(seed, study_uid=study_uid, template_uid=template_uid)
    anatomy = _anatomy()
    files, checksums = [], {}
    for number in range(1, instances + 1):
        uid = _uid(seed, f"instance {number}")
        noise = rng.integers(-64, 64, (_SIDE, _SIDE), dtype=np.int16)
        pixels = (np.roll(anatomy, number, axis=1) + noise).tobytes()
        file = directory / f"ct{number:04}.dcm"
        file.write_bytes(header.replace(template_uid.encode(), uid.encode()) + pixels)
        files.append(file)
        checksums[uid] = _checksum(pixels)
    return Study(study_uid=study_uid, files=tuple(files), checksums=MappingProxyType(checksums))


def compare(study: Study, received: Iterable[Path | bytes]) -> Completeness:
    """Check received DICOM files (paths or contents) against the study, by SOP Instance UID and pixels."""
    found = dict(_identify(item) for item in received)
    return Completeness(
        received=len(found),
        missing=frozenset(study.checksums.keys() - found.keys()),
        damaged=frozenset(uid for uid, digest in found.items() if study.checksums.get(uid, digest) != digest),
        foreign=frozenset(found.keys() - study.checksums.keys()),
    )


def _identify(item: Path | bytes) -> tuple[str, str]:
    dataset = dcmread(io.BytesIO(item) if isinstance(item, bytes) else item)
    return str(dataset.SOPInstanceUID), _checksum(dataset.PixelData)


def _encoded_header(seed: int, *, study_uid: str, template_uid: str) -> bytes:
    """A whole DICOM file but for the pixels, which come last: an instance is this with its UID put in."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = template_uid
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, template_uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study_uid, _uid(seed, "series")
    dataset.PatientName, dataset.PatientID = SENTINEL_NAME, SENTINEL_ID
    dataset.Modality, dataset.StudyID, dataset.StudyDate = "CT", "1", "20200101"
    dataset.Rows = dataset.Columns = _SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes(_PIXEL_BYTES)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()[:-_PIXEL_BYTES]


def _anatomy() -> np.ndarray[tuple[int, int], np.dtype[np.int16]]:
    """Rings in Hounsfield-like values: content that no slice shares with its neighbour once rolled."""
    y, x = np.mgrid[-1 : 1 : _SIDE * 1j, -1 : 1 : _SIDE * 1j]
    rings: np.ndarray[tuple[int, int], np.dtype[np.int16]] = (800 * np.cos(12 * np.hypot(x, y))).astype(np.int16)
    return rings


def _uid(seed: int, what: str) -> str:
    """A UID under 2.25 (PS3.5 section B.2), always 44 characters long so that it can be put in another's place."""
    digest = hashlib.sha256(f"lbctl lab {seed} {what}".encode()).digest()
    return f"2.25.{10**38 + int.from_bytes(digest[:15]) % 10**38}"


def _checksum(pixels: bytes) -> str:
    return hashlib.blake2b(pixels, digest_size=16).hexdigest()
