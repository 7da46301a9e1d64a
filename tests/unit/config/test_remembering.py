"""What is remembered of the file before changes nothing of what the next one means."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from lbctl.config import loader, resolve
from lbctl.config.mistakes import InvalidConfigError
from lbctl.core.model import Declaration

BACKENDS = st.fixed_dictionaries(
    {"address": st.sampled_from(["192.0.2.11", "192.0.2.12", "198.51.100.13"])},
    optional={
        "weight": st.sampled_from(["1", "1.0", "true", "0", "100"]),
        "check": st.sampled_from(["{type: tcp}", "{interval: 9s}"]),
    },
)
POOLS = st.tuples(
    st.sampled_from(["kind: other", "kind: web", "kind: archive\n    storage: shared"]),
    st.dictionaries(st.sampled_from("ab"), BACKENDS, min_size=1),
)
FILES = st.tuples(
    st.sampled_from(["address: 192.0.2.10/24", "address: 192.0.2.10/25"]),
    st.sampled_from(["192.0.2.0/24", "198.51.100.10/24"]),
    st.sampled_from(["ports: [104]", "ports: [105]", "preset: dicom", "ports: [104]\n    protocol: udp"]),
    st.dictionaries(st.sampled_from(["p", "q"]), POOLS, min_size=1),
)


def text_of(found: tuple[str, str, str, dict[str, tuple[str, dict[str, dict[str, str]]]]]) -> str:
    own, other, service, pools = found
    lines = [f"interfaces:\n  eth0:\n    {own}\n  eth1: {{address: {other}}}\nservices:"]
    lines += [f"  s{name}:\n    vip: 192.0.2.10{n}\n    {service}\n    pool: {name}" for n, name in enumerate(pools)]
    lines += ["pools:"]
    for name, (keys, backends) in pools.items():
        lines += [f"  {name}:\n    {keys}\n    backends:"]
        lines += [
            f"      {label}: {{{', '.join(f'{key}: {value}' for key, value in found.items())}}}"
            for label, found in backends.items()
        ]
    return "\n".join(lines) + "\n"


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(FILES, min_size=1, max_size=5))
def test_files_one_after_another_mean_what_each_means_alone(
    files: list[tuple[str, str, str, dict[str, object]]],
) -> None:
    for text in map(text_of, files):  # type: ignore[arg-type]
        found = _meant(loader.parse, text)
        known, resolve._POOLS = resolve._POOLS, {}
        assert found == _meant(loader._thoroughly, text)
        resolve._POOLS = known


def test_pool_that_did_not_change_is_the_same_object() -> None:
    pool = {"p": ("kind: other", {"a": {"address": "192.0.2.11"}})}
    more = pool | {"q": ("kind: other", {"b": {"address": "192.0.2.12"}})}
    texts = [text_of(("address: 192.0.2.10/24", "198.51.100.10/24", "ports: [104]", pools)) for pools in (pool, more)]
    first, second = (loader.parse(text, source="lbctl.yaml") for text in texts)
    assert first.pools[0] is second.pools[0]


def test_pool_whose_backends_change_places_is_read_in_the_new_order() -> None:
    backends = {"a": {"address": "192.0.2.11"}, "b": {"address": "192.0.2.12"}}
    there, back = backends, dict(reversed(backends.items()))
    for order in (there, back, there):
        pools = {"p": ("kind: other\n    policy: failover", order)}
        text = text_of(("address: 192.0.2.10/24", "198.51.100.10/24", "ports: [104]", pools))
        (pool,) = loader.parse(text, source="lbctl.yaml").pools
        assert [backend.name for backend in pool.backends] == list(order)


def _meant(parse: object, text: str) -> Declaration | str:
    try:
        found = parse(text, source="lbctl.yaml")  # type: ignore[operator]
    except InvalidConfigError as error:
        return str(error)
    assert isinstance(found, Declaration)
    return found


def test_pool_whose_backends_stand_in_another_order_is_another_one() -> None:
    """In that order they take over. (To mappings it is all one.)"""
    rows = {"a": {"address": "192.0.2.11"}, "b": {"address": "192.0.2.12"}}
    for names in ("ab", "ba", "ab"):
        pools = {"p": ("kind: other\n    policy: failover", {name: rows[name] for name in names})}
        text = text_of(("address: 192.0.2.10/24", "198.51.100.10/24", "ports: [104]", pools))
        (pool,) = loader.parse(text, source="lbctl.yaml").pools
        assert [backend.name for backend in pool.backends] == list(names)
