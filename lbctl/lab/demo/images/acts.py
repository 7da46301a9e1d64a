"""The acts of the demonstration, in the order they are shown."""

from __future__ import annotations

from lbctl.lab.demo.images import disturbances, transfers
from lbctl.lab.demo.images.stage import POOL
from lbctl.lab.demo.programme import Act

ACTS = (
    Act(
        name="c-echo",
        title="C-ECHO",
        why="Every new connection to the virtual address is given to an archive by the XDP program.",
        pools=(POOL,),
        play=transfers.verify,
    ),
    Act(
        name="c-store",
        title="C-STORE",
        why="Three modalities store one CT study together. What they send passes the director, once.",
        pools=(POOL,),
        play=transfers.store_in_parallel,
    ),
    Act(
        name="c-get",
        title="C-GET",
        why="A workstation fetches the study. The images return past the director: it sees only acknowledgements.",
        pools=(POOL,),
        play=transfers.retrieve_by_c_get,
    ),
    Act(
        name="dicomweb",
        title="DICOMweb",
        why="A browser-like client fetches it over HTTP, from the same address, and again past the director.",
        pools=(POOL,),
        play=transfers.retrieve_by_dicomweb,
    ),
    Act(
        name="agent",
        title="agent says 25 %",
        why="An archive's load agent reports 25 %. It is due 25 of 225 parts of the new connections: 11.1 %.",
        pools=(POOL,),
        play=disturbances.shift_weight,
    ),
    Act(
        name="kill",
        title="archive killed",
        why="An archive crashes in mid-store. The clients' retries must land on a survivor, and no image be lost.",
        pools=(POOL,),
        play=disturbances.kill_in_mid_store,
    ),
    Act(
        name="drain",
        title="archive drained",
        why="An archive is drained for maintenance in mid-store. The store completes; new connections go elsewhere.",
        pools=(POOL,),
        play=disturbances.drain_in_mid_store,
    ),
    Act(
        name="books",
        title="the books",
        why="What else did the program do with packets, and what did lbctl write down?",
        pools=(POOL,),
        play=disturbances.close_the_books,
    ),
)
