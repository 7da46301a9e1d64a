"""The acts of this demonstration, in the order they are shown."""

from __future__ import annotations

from lbctl.lab.demo.life import archives, attack, deaths, feed, limits
from lbctl.lab.demo.programme import Act

ACTS = (
    Act(
        name="drained",
        title="drained",
        why="An archive is drained, then taken out of the file, in mid-store. A study must not be cut in two for that.",
        pools=("archives",),
        play=archives.drain_and_remove,
    ),
    Act(
        name="failing",
        title="fails checks",
        why="An archive that fails its C-ECHO may still be storing. A failed check stops new associations, no live one.",
        pools=("archives",),
        play=archives.fail_checks,
    ),
    Act(
        name="restarts",
        title="restarts",
        why="The daemon only writes tables. Killing, restarting or reloading it touches no connection.",
        pools=("web",),
        play=archives.restart,
    ),
    Act(
        name="vanishes",
        title="host vanishes",
        why="A dead host sends no FIN and no RST. lbctl tells its clients, or they would wait for a time-out of their own.",
        pools=("web",),
        play=deaths.vanish,
    ),
    Act(
        name="halted",
        title="halted",
        why="`lbctl halt` cuts a live server off, and tells both ends, so that neither holds half a connection.",
        pools=("web",),
        play=deaths.halt,
    ),
    Act(
        name="failover",
        title="failover",
        why="HL7 messages are in order, so one receiver has them all; the next takes over if it fails, and never beside it.",
        pools=("engines",),
        play=feed.fail_over_and_back,
    ),
    Act(
        name="full",
        title="full",
        why="A licence allows 10 connections a server. What finds no room goes to a spare; without one it is told so at once.",
        pools=("licensed", "spare"),
        play=limits.fill,
    ),
    Act(
        name="private",
        title="private storage",
        why="Archives that share no storage: a modality must come back to where its studies are, whatever the weights.",
        pools=("regional",),
        play=limits.keep_private,
    ),
    Act(
        name="flood",
        title="flood",
        why="A SYN flood must neither push a quiet association out of the flow table nor keep new ones out.",
        pools=("web",),
        play=attack.flood,
    ),
)
