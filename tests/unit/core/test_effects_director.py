"""What else a change means: for interfaces, checks, agents, classes, and the rules of a pool."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lbctl.config.loader import parse
from lbctl.core.effects.effects import EffectKind, Live, effects
from lbctl.core.imagined import imagined

HOSPITAL = (Path(__file__).parents[3] / "deploy" / "examples" / "hospital.yaml").read_text()
"""Every kind of thing is in it."""

SCANNERS = "sources: [10.20.32.0/19]"
EDITS = {
    "mode": (
        "mode: native ",
        "mode: generic ",
        "ens1f0: the program runs in mode generic, not native; if that is another one, for microseconds none does",
    ),
    "interval": (
        "check: {interval: 2s}",
        "check: {interval: 1s}",
        "web: all backends are probed at other times: a failure is noticed within about 2.6s, not 5.2s",
    ),
    "check of one": (
        "called_ae: PACS2",
        "called_ae: PACSB",
        "archives: pacs2 is probed in another way; who fails that goes down after 2 probes",
    ),
    "agent of one": (
        "agent: none",
        "agent: {port: 4444}",
        "archives: pacs3 is asked about load in another way; the weight follows what an agent says",
    ),
    "class": (
        SCANNERS,
        "sources: [10.20.0.0/16]",
        "class scanners: other new connections than before are of it, and shared so in archives",
    ),
    "on_empty": (
        "fallback: spare ",
        "on_empty: drop\n    fallback: spare ",
        "archives: new connections that nobody takes are dropped from now on",
    ),
    "failback": (
        "failback: manual",
        "failback: automatic",
        "engine: failback is automatic",
    ),
    "reset": (
        "kind: web\n",
        "kind: web\n    reset_on_down: always\n",
        "web: clients of a backend that goes down are told by a reset",
    ),
    "flows": (
        "tcp_flows: 262144",
        "tcp_flows: 65536",
        "the flow tables hold 65,536 TCP and 65,536 UDP flows from the next start on "
        "(systemctl restart lbctl; flows are taken along)",
    ),
    "ports": (
        "director:\n",
        "director:\n  wrong_port: drop\n",
        "what comes to a port of a VIP that no service has is dropped without an answer",
    ),
}


def told(new: str) -> dict[str, EffectKind]:
    """Each effect of another text than the hospital's, and whom it concerns."""
    found = effects(imagined(parse(HOSPITAL, source="old"), parse(new, source="new")))
    return {each.text: each.kind for each in found}


@pytest.mark.parametrize(("old", "new", "expected"), EDITS.values(), ids=EDITS)
def test_effects_of_a_rule_are_told_and_touch_no_live_session(old: str, new: str, expected: str) -> None:
    assert old in HOSPITAL
    found = told(HOSPITAL.replace(old, new))
    assert expected in found
    assert EffectKind.LIVE_SESSIONS not in found.values()


def _without_vlan() -> str:
    """XDS is given up, and its VLAN with it."""
    text = HOSPITAL
    for begin, end in (("  ens1f1.20:", "\nservices:"), ("  registry:", "  feed:"), ("  registries:", "  engine:")):
        text = text[: text.index(begin)] + text[text.index(end) :]
    return text


def test_effects_of_an_interface_given_up_are_that_what_lives_on_it_ends() -> None:
    found = told(_without_vlan())
    ended = "ens1f1.20: the program is taken off it; connections that come in by it, and live, end"
    assert found[ended] is EffectKind.LIVE_SESSIONS
    assert next(iter(found)) == ended
    gone = "registry: 198.51.100.200 tcp 17035 is no longer served: new connections are refused, and nobody answers for"
    assert [text for text in found if text.startswith(gone)]


def test_effects_of_private_storage_are_told_by_source() -> None:
    text = HOSPITAL.replace("storage: shared\n    check", "storage: private\n    check").replace(
        "    fallback: spare ", "    # "
    )
    text = text.replace("  pacs-tls:", "  old:\n    vip: 192.0.2.105\n    preset: dicom\n    pool: spare\n  pacs-tls:")
    found = told(text)
    assert "archives: every source is assigned one archive at its next connection, and keeps to it" in found
    assert "archives: no other pool steps in when none of its backends takes new connections" in found


ROUTED = HOSPITAL.replace("    vip: 192.0.2.101\n", "    vip: 192.0.2.101\n    announce: routed\n")


def test_effects_of_a_vip_that_is_routed_from_now_on_are_that_live_sessions_may_break() -> None:
    """They do once a client on the segment has forgotten the MAC; if there are any."""
    found = imagined(parse(HOSPITAL, source="old"), parse(ROUTED, source="new"))
    nobody = "viewer: nobody answers for 192.0.2.101 on its segment any more: only routers with a route send to it"
    assert told(ROUTED)[f"{nobody}; live connections that come in otherwise may break"] is EffectKind.LIVE_SESSIONS
    idle = effects(replace(found, live=Live(connections={}, flows={}, sources={})))
    assert nobody in [each.text for each in idle if each.kind is EffectKind.NEW_CONNECTIONS]


def test_effects_of_a_vip_that_is_announced_again_touch_no_live_session() -> None:
    found = effects(imagined(parse(ROUTED, source="old"), parse(HOSPITAL, source="new")))
    assert "viewer: 192.0.2.101 is announced on its segment, no longer by routers only" in [e.text for e in found]
    assert EffectKind.LIVE_SESSIONS not in [each.kind for each in found]


def test_effects_of_a_class_with_other_weights_are_on_that_class_alone() -> None:
    moving = [
        text for text in told(HOSPITAL.replace("scanners: {pacs3: 0}", "scanners: {pacs3: 50}")) if " move" in text
    ]
    assert [text.partition(":")[0] for text in moving] == ["archives, class scanners"]
    assert moving[0].startswith(
        "archives, class scanners: 20.5 % of new connections move: 10.5 % from pacs2 to pacs3, "
    )


def test_effects_of_a_class_that_a_pool_does_not_know_any_more_are_on_that_class_alone() -> None:
    """Its connections go by the pool's own weights then."""
    lines = HOSPITAL.splitlines(keepends=True)
    text = "".join(
        line for line in lines if "scanners:" not in line and SCANNERS not in line and "classes:" not in line
    )
    moving = [line for line in told(text) if " move" in line]
    assert [line.partition(":")[0] for line in moving] == ["archives, class scanners"]
