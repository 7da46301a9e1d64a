"""The bytes that we send, read by an independent implementation; the bytes that we read, hostile."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.filereader import read_dataset
from pynetdicom.pdu import A_ASSOCIATE_RQ, P_DATA_TF

from lbctl.probes import pdu
from tests.unit.probes import peers


def test_association_request_is_read_by_pynetdicom_as_meant() -> None:
    request = A_ASSOCIATE_RQ()
    request.decode(pdu.associate_request(calling_ae="LBCTL", called_ae="PACS 1"))
    assert request.calling_ae_title == "LBCTL"
    assert request.called_ae_title == "PACS 1"
    assert request.application_context_name == "1.2.840.10008.3.1.1.1"
    (context,) = request.presentation_context
    assert context.context_id == pdu.CONTEXT_ID
    assert context.abstract_syntax == "1.2.840.10008.1.1"
    assert context.transfer_syntax == ["1.2.840.10008.1.2"]
    assert request.user_information.maximum_length == pdu.MAX_DATA_BYTES
    assert request.user_information.implementation_class_uid.is_valid
    assert request.user_information.implementation_version_name == "LBCTL_1"


def test_association_request_has_the_titles_at_the_standards_offsets() -> None:
    request = pdu.associate_request(calling_ae="LBCTL", called_ae="PACS")
    assert request[10:26] == b"PACS            "
    assert request[26:42] == b"LBCTL           "
    assert request[74] == 0x10


def test_echo_request_is_read_by_pydicom_as_meant() -> None:
    data = P_DATA_TF()
    data.decode(pdu.echo_request())
    (value,) = data.presentation_data_value_items
    assert value.message_control_header_byte == "00000011"
    # the first byte of pynetdicom's data is that header
    command = read_dataset(BytesIO(value.data[1:]), is_implicit_VR=True, is_little_endian=True)
    assert command[0x0000, 0x0000].value == len(value.data) - 1 - 12
    assert command[0x0000, 0x0002].value == "1.2.840.10008.1.1"
    assert command[0x0000, 0x0100].value == 0x0030
    assert command[0x0000, 0x0110].value == pdu.MESSAGE_ID
    assert command[0x0000, 0x0800].value == 0x0101


@pytest.mark.parametrize("title", ["", "SEVENTEEN_LETTERS", "RÖNTGEN"])
def test_association_request_of_an_impossible_title_is_refused(title: str) -> None:
    with pytest.raises(ValueError, match="AE title"):
        pdu.associate_request(calling_ae=title, called_ae="PACS")


@pytest.mark.parametrize(
    "header",
    [
        b"HTTP/1.1 400",
        b"\x15\x03\x01\x00\x02\x02",  # a TLS alert
        b"\x00",
        b"\x08",
        bytes.fromhex("02 00 ffffffff"),
        bytes.fromhex("04 00 00004001"),
        bytes.fromhex("03 00 00000005"),
        bytes.fromhex("06 00 00000003"),
    ],
)
def test_reader_given_an_impossible_header_refuses_before_the_body(header: bytes) -> None:
    reader = pdu.PduReader()
    reader.feed(header)
    with pytest.raises(pdu.PduError):
        reader.next_pdu()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        bytes(67),
        bytes(68),
        bytes(68) + b"\x21\x00\x00",
        bytes(68) + b"\x21\x00\xff\xff\x01",
        peers.accept(context_id=3)[6:],
    ],
)
def test_accept_without_a_whole_answer_is_an_error(body: bytes) -> None:
    with pytest.raises(pdu.PduError):
        pdu.parse_context_answer(body)


def test_accept_with_a_padded_transfer_syntax_is_understood() -> None:
    answer = pdu.parse_context_answer(peers.accept(transfer_syntax=b"1.2.840.10008.1.2\0")[6:])
    assert answer == pdu.ContextAnswer(result=0, transfer_syntax=pdu.IMPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize(
    "body", [b"\0", b"\0\0\0\1\1", b"\0\0\0\1\1\3", b"\0\0\0\3\1\3", peers.pdv(b"abc") + b"\0\0", b"\xff" * 8]
)
def test_data_that_does_not_fit_is_an_error(body: bytes) -> None:
    with pytest.raises(pdu.PduError):
        list(pdu.parse_pdvs(body))


@given(st.binary(max_size=300))
def test_parsers_given_any_bytes_raise_nothing_but_their_own_error(data: bytes) -> None:
    with suppress(pdu.PduError):
        pdu.parse_context_answer(bytes(68) + data)
    with suppress(pdu.PduError):
        assert sum(len(value.fragment) + 6 for value in pdu.parse_pdvs(data)) == len(data)
    with suppress(pdu.PduError):
        pdu.parse_command(data)


@given(st.lists(st.binary(max_size=40), max_size=8), st.data())
def test_reader_cuts_a_stream_the_same_however_it_arrives(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(peers.pdu(4, body) for body in bodies)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    reader, found = pdu.PduReader(), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        reader.feed(stream[start:end])
        while (received := reader.next_pdu()) is not None:
            found.append(received)
    assert found == [(pdu.PduType.DATA, body) for body in bodies]
