"""Every fuzzer that there is, the slow ones last."""

from __future__ import annotations

from tests.fuzz import answers, configs, frames, netlink, probes, requests, states, words

FUZZERS = (
    *probes.FUZZERS,
    *frames.FUZZERS,
    *netlink.FUZZERS,
    *states.FUZZERS,
    *words.FUZZERS,
    *answers.FUZZERS,
    *requests.FUZZERS,
    *configs.FUZZERS,
)
