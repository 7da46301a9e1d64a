"""How a packet leaves, by what was decided about it: its verdict, and every byte of it."""

from __future__ import annotations

from enum import IntEnum

from lbctl.core.tables import BackendRow, Lan, Tables
from lbctl.dataplane.layout import Reason
from tests.packets import replies
from tests.packets.refusals import ANSWERS, answer_to
from tests.packets.wire import C_TAG, S_TAG, Frame, Tag, frame_of

FIRST_TX, FIRST_DROP = Reason.ESTABLISHED, Reason.NO_SERVICE
REFUSALS = {answer for _, answer in ANSWERS.values()}


class Verdict(IntEnum):
    """``enum xdp_action``."""

    DROP = 1
    PASS = 2
    TX = 3
    REDIRECT = 4


def verdict_of(reason: Reason) -> Verdict:
    """Of what stays on its interface."""
    if reason < FIRST_TX:
        return Verdict.PASS
    return Verdict.TX if reason < FIRST_DROP else Verdict.DROP


def left(data: bytes, reason: Reason, backend: BackendRow | None, lan: Lan, tables: Tables) -> tuple[Verdict, bytes]:
    """``backend`` is whom it is sent to, if it is sent to one."""
    frame, verdict = frame_of(data), verdict_of(reason)
    if frame is None or verdict is not Verdict.TX:
        return verdict, data
    if backend is None:
        return verdict, answered(frame, reason, lan, tables)
    is_near = backend.lan.ifindex == lan.ifindex
    return verdict if is_near else Verdict.REDIRECT, sent(frame, backend, lan, tables)


def answered(frame: Frame, reason: Reason, lan: Lan, tables: Tables) -> bytes:
    """By the program itself."""
    ip = frame.ip
    if reason is Reason.ARP_REPLY:
        return replies.arp_reply(frame, tables.interfaces[lan])
    if reason is Reason.NEIGHBOUR_REPLY:
        return replies.neighbour_reply(frame, tables.interfaces[lan])
    answer = replies.echo_reply(frame, ip) if reason is Reason.PING_REPLY and ip else answer_to(frame.data)
    assert answer is not None, (reason, frame.data.hex())
    return answer


def sent(frame: Frame, backend: BackendRow, lan: Lan, tables: Tables) -> bytes:
    """To a backend: nothing but both MACs, and the tags if it is in another VLAN. From the MAC that the packet was addressed
    to, or from that of our interface where the backend is."""
    assert backend.mac is not None
    source = frame.destination if backend.lan == lan else tables.interfaces[backend.lan].mac
    tags = frame.tags if backend.lan.vlan == lan.vlan else retagged(frame.tags, backend.lan.vlan)
    words = b"".join(tag.tpid.to_bytes(2, "big") + tag.control.to_bytes(2, "big") for tag in tags)
    return backend.mac + source + words + frame.data[frame.header_bytes - 2 :]


def retagged(tags: tuple[Tag, ...], vlan: int) -> tuple[Tag, ...]:
    """The tags of another VLAN. Priorities and drop eligibility stay; if there are more tags or fewer than before, they are
    the outer one's."""
    ids = [vlan >> 12, vlan & 0xFFF] if vlan > 0xFFF else [vlan] if vlan else []
    if len(ids) == len(tags):
        return tuple(Tag(tag.tpid, tag.control & 0xF000 | id_) for tag, id_ in zip(tags, ids, strict=True))
    priority = tags[0].control & 0xF000 if tags else 0
    kinds = (S_TAG, C_TAG) if len(ids) == 2 else (C_TAG,)
    return tuple(Tag(kind, priority | id_) for kind, id_ in zip(kinds, ids, strict=False))
