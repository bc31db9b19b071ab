"""DICOM files made here: a radiograph's object around any pixels, in every transfer syntax for which an encoder is at hand."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

CR, DX, SC = "1.2.840.10008.5.1.4.1.1.1", "1.2.840.10008.5.1.4.1.1.1.1", "1.2.840.10008.5.1.4.1.1.7"
IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN = (f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
JPEG, JPEG_EXTENDED, JPEG_LOSSLESS, JPEG_LOSSLESS_FIRST = (f"1.2.840.10008.1.2.4.{end}" for end in (50, 51, 57, 70))
JPEG_LS, JPEG_LS_LOSSY, J2K_LOSSLESS, J2K = (f"1.2.840.10008.1.2.4.{end}" for end in (80, 81, 90, 91))
HTJ2K_LOSSLESS, RLE = "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.5"
NATIVE = (IMPLICIT, EXPLICIT, DEFLATED, BIG_ENDIAN)
LOSSLESS = (JPEG_LOSSLESS, JPEG_LOSSLESS_FIRST, JPEG_LS, J2K_LOSSLESS, HTJ2K_LOSSLESS, RLE)
LOSSY = (JPEG, JPEG_EXTENDED, JPEG_LS_LOSSY, J2K)

# What a good file of a knee says of it.
OF_A_KNEE: dict[str, Any] = {
    "Modality": "CR",
    "BodyPartExamined": "KNEE",
    "ViewPosition": "AP",
    "ImageLaterality": "R",
    "PixelSpacing": [0.2, 0.2],
}
# What nobody is to see again.
SECRETS: dict[str, Any] = {
    "PatientName": "Secretname^Given",
    "PatientID": "SECRETID77",
    "PatientBirthDate": "19410203",
    "PatientAddress": "Secretstreet 5",
    "OtherPatientIDs": "SECRETOTHER",
    "PatientComments": "secretcomment",
}


def dataset(pixels: np.ndarray, *, kind: str = CR, bits: int | None = None, **elements: Any) -> Dataset:
    """An object around greys (rows, columns) or colours (rows, columns, 3); `elements` change, add or, as None, remove some."""
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = kind, "1.2.3.4"
    made.Rows, made.Columns = pixels.shape[:2]
    made.SamplesPerPixel = 3 if pixels.ndim == 3 else 1
    made.PhotometricInterpretation = "RGB" if pixels.ndim == 3 else "MONOCHROME2"
    if pixels.ndim == 3:
        made.PlanarConfiguration = 0
    made.BitsAllocated = 8 * pixels.itemsize
    made.BitsStored = bits or made.BitsAllocated
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(pixels.dtype.kind == "i")
    for keyword, value in elements.items():
        if value is None:
            made.pop(keyword, None)
        else:
            setattr(made, keyword, value)
    return made


def file(pixels: np.ndarray, syntax: str = EXPLICIT, **elements: Any) -> bytes:
    """The bytes of such a file; see ``dataset``."""
    made = dataset(pixels, **elements)
    is_native = syntax in NATIVE
    order = ">" if syntax == BIG_ENDIAN else "<"
    stored = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
    data = stored if is_native else encapsulated(encode(pixels, syntax, made))
    if is_native and len(data) % 2:
        data += b"\0"
    made.add_new(0x7FE00010, "OW" if pixels.itemsize > 1 or syntax == IMPLICIT else "OB", data)
    made["PixelData"].is_undefined_length = not is_native
    return written(made, syntax)


def written(made: Dataset, syntax: str = EXPLICIT) -> bytes:
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = UID(syntax)
    made.file_meta.MediaStorageSOPClassUID, made.file_meta.MediaStorageSOPInstanceUID = made.SOPClassUID, "1.2.3.4"
    target = io.BytesIO()
    pydicom.dcmwrite(target, made, enforce_file_format=True)
    return target.getvalue()


def encapsulated(code: bytes, *more: bytes) -> bytes:
    """A codestream in one or more pieces, after an empty table of offsets; pydicom writes the end."""
    pieces = [piece + bytes(len(piece) % 2) for piece in (b"", code, *more)]
    return b"".join(struct.pack("<HHI", 0xFFFE, 0xE000, len(piece)) + piece for piece in pieces)


def encode(pixels: np.ndarray, syntax: str, made: Dataset) -> bytes:
    import imagecodecs

    bits = made.BitsStored
    if syntax == RLE:
        return _runs(pixels, made)
    if syntax in (JPEG_LS, JPEG_LS_LOSSY):
        return bytes(imagecodecs.jpegls_encode(pixels.view(f"u{pixels.itemsize}"), level=2 * (syntax == JPEG_LS_LOSSY)))
    if syntax == HTJ2K_LOSSLESS:
        return bytes(imagecodecs.htj2k_encode(pixels))
    if syntax in (J2K, J2K_LOSSLESS):
        options = {"reversible": True, "level": 0} if syntax == J2K_LOSSLESS else {"level": 60}
        return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", bitspersample=bits, **options))
    if syntax in (JPEG_LOSSLESS, JPEG_LOSSLESS_FIRST):
        unsigned = pixels.view(f"u{pixels.itemsize}")
        return bytes(imagecodecs.jpeg8_encode(unsigned, lossless=True, predictor=1, bitspersample=8 * pixels.itemsize))
    depth = 8 if syntax == JPEG or pixels.itemsize == 1 else 12
    return bytes(imagecodecs.jpeg8_encode(pixels, level=95, bitspersample=depth))


def _runs(pixels: np.ndarray, made: Dataset) -> bytes:
    from pydicom.pixels import get_encoder

    form = {"rows": made.Rows, "columns": made.Columns, "samples_per_pixel": made.SamplesPerPixel, "number_of_frames": 1}
    form |= {"bits_allocated": made.BitsAllocated, "bits_stored": made.BitsStored, "pixel_keyword": "PixelData"}
    form |= {"pixel_representation": made.PixelRepresentation, "photometric_interpretation": made.PhotometricInterpretation}
    form |= {"planar_configuration": made.get("PlanarConfiguration", 0)}
    return bytes(get_encoder(UID(RLE)).encode(pixels.tobytes(), **form))
