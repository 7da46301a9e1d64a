"""A status in which both families occur, and what IPv6 and VLANs bring along."""

from __future__ import annotations

from ipaddress import IPv6Address

from lbctl.daemon.models import ClaimStatus, ClassStatus, InterfaceStatus, Status
from tests.unit.cli import samples

LONG = IPv6Address("2001:db8:1234:5678:9abc:def0:1234:5678")


def both_families() -> Status:
    """Two VLANs, both families, a routed VIP, classes, sources that may not come, and a station that claims a VIP."""
    own = {"mac": "02:00:c0:00:02:0a", "mode": "native", "fallback_reason": "", "attached": True, "device": "eth0"}
    trunk = {"name": "eth0", "address": "192.0.2.10/24", "address6": "2001:db8::10/64", "vlans": ()}
    tagged = {"name": "eth0.100.20", "address": None, "address6": "2001:db8:20::10/64", "vlans": (100, 20)}
    six = (
        samples.backend("up", 1, address=LONG, share=0.5),
        samples.backend(
            "down", 2, address=IPv6Address("fd00::a:12"), handshakes=samples.handshakes(2, unfinished_recently=7)
        ),
    )
    scanners = {"name": "scanners", "sources": ("2001:db8:7::/48",), "ports": (104,)}
    shares = {"weights": {"pacs1": 100, "pacs2": 0}, "shares": {"pacs1": 1.0, "pacs2": 0.0}}
    claim = {"vip": samples.VIP, "mac": "02:00:c0:00:02:0c", "backend": "archives/pacs2", "times": 3, "age_s": 2.5}
    told = f"archives/pacs2 answers ARP for the VIP {samples.VIP}: set arp_ignore=1 and arp_announce=2 there"
    calm = samples.status()
    return samples.status(
        daemon=calm.daemon.model_copy(update={"config_error": None, "last_error": None, "warnings": (told,)}),
        interfaces=tuple(InterfaceStatus.model_validate(each | own) for each in (trunk, tagged)),
        services=(
            samples.service("pacs", allow=("192.0.2.0/24",), denied=40, denied_recently=4),
            samples.service("pacs6", vip=LONG, announce="routed"),
        ),
        pools=(samples.pool("archives", "archive", *six, classes=(ClassStatus.model_validate(scanners | shares),)),),
        removed=(),
        removed_vips=(IPv6Address("fd00::a:1"),),
        claims=(ClaimStatus.model_validate(claim | {"message": told}),),
    )
