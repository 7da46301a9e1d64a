"""Mistakes of YAML itself, of keys, and of the file's outline."""

from __future__ import annotations

from tests.unit.config.rows import GOOD, Wrong, edited, whole

_BOMB = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))

ROWS: tuple[Wrong, ...] = (
    whole("file-empty", "", says=("the file is empty",), hint="deploy/examples"),
    whole("file-of-comments", "# nothing yet\n", says=("the file is empty",), hint="interfaces, services and pools"),
    whole("yaml-tab", "interfaces:\n§\teth0: {}\n", says=("not YAML",), hint="spaces"),
    whole("yaml-open-quote", 'interfaces: "eth0\n§', says=("not YAML", "end of stream"), hint="never closed"),
    whole("yaml-open-bracket", "pools: [a, b\n§", says=("not YAML",), hint="brackets"),
    whole(
        "yaml-indentation",
        "interfaces:\n  eth0:\n    mode: auto\n   §address: 192.0.2.10/24\n",
        says=("not YAML",),
        hint="alike",
    ),
    whole("yaml-two-colons", "interfaces: eth0§: {}\n", says=("mapping values are not allowed",), hint="indentation"),
    whole("yaml-two-documents", f"{GOOD}§---\n{GOOD}", says=("another document",), hint="second '---'"),
    whole("yaml-half-a-character", 'interfaces: §"\\ud800"\n', says=("half a character, U+D800",), hint="eight digits"),
    whole("yaml-half-a-character-key", '§"\\ud800": {}\n', says=("half a character, U+D800",), hint="eight digits"),
    whole("yaml-control-character", "interfaces: §\x07\n", says=("U+0007",), hint="UTF-8"),
    whole("yaml-1.1", f"§%YAML 1.1\n---\n{GOOD}", says=("YAML 1.1",), hint="YAML 1.2"),
    whole("yaml-undefined-alias", "interfaces: §*nics\n", says=("undefined alias",), hint="&name"),
    edited("yaml-tag", "192.0.2.10/24", "§!!str 192.0.2.10/24", says=("tag",), hint="remove the '!'"),
    edited("yaml-merge-key", "    kind: archive", "    §<<: {}\n    kind: archive", says=("merge keys",), hint="alias"),
    edited(
        "key-is-a-list",
        "    kind: archive",
        "    ? §[a]\n    : 1\n    kind: archive",
        says=("must be a word",),
        hint="quote",
    ),
    whole("yaml-too-deep", "[" * 16 + "§" + "[" * 40, says=("nested deeper",), hint="stray '['"),
    whole("yaml-alias-bomb", f"a0: &a0 [1, 2, 3]\n{_BOMB}", says=("more than 100000 values",), hint="aliases"),
    whole("yaml-alias-of-itself", "pools: §&a [*a]\n", says=("nested deeper",), hint="stray"),
    whole("file-is-a-list", "§- interfaces\n- services\n", says=("must be a block of keys, not a list",), hint="pools"),
    whole("file-is-a-word", "§hello\n", says=("not text",), hint="interfaces"),
    edited(
        "section-is-a-list", "  eth0:\n    address", "  §- address", says=("interfaces must be a block",), hint="eth0:"
    ),
    edited(
        "backends-are-a-list",
        "pacs1: {address: 192.0.2.11}\n      pacs2: {",
        "§- {address: 192.0.2.11}\n      - {",
        says=("not a list",),
        hint="pacs1: {address",
    ),
    edited(
        "section-missing",
        "interfaces:\n  eth0:\n    address: 192.0.2.10/24\n",
        "§",
        says=("'interfaces' is missing",),
        hint="add 'interfaces:'",
    ),
    edited(
        "section-empty",
        "services:\n  pacs:\n    vip: 192.0.2.100\n    preset: dicom\n    pool: archives\n",
        "services: §{}\n",
        says=("no services",),
        hint="at least one",
    ),
    edited("key-unknown-at-top", "services:", "§servces:", says=("unknown key 'servces'",), hint="'services'"),
    edited(
        "key-unknown-in-interface",
        "    address: 192.0.2.10/24",
        "    §adress: 192.0.2.10/24",
        says=("interface eth0", "'adress'"),
        hint="'address'",
    ),
    edited(
        "key-unknown-in-service",
        "    pool: archives",
        "    §pol: archives",
        says=("service pacs", "'pol'"),
        hint="'pool'",
    ),
    edited("key-unknown-in-pool", "    kind:", "    §knd:", says=("pool archives", "'knd'"), hint="'kind'"),
    edited(
        "key-unknown-in-backend",
        "192.0.2.11}",
        "192.0.2.11, §wieght: 5}",
        says=("backend archives/pacs1",),
        hint="'weight'",
    ),
    edited(
        "key-unknown-in-check",
        "    backends:",
        "    check: {§intervall: 5s}\n    backends:",
        says=("check: unknown key",),
        hint="'interval'",
    ),
    edited(
        "key-unknown-and-unlike-any",
        "    kind:",
        "    §zzz: 1\n    kind:",
        says=("'zzz'",),
        hint="the keys here are kind",
    ),
    edited(
        "key-of-another-section",
        "    preset:",
        "    §weight: 5\n    preset:",
        says=("'weight'",),
        hint="belongs to: backend",
    ),
    edited(
        "key-missing",
        "192.0.2.11}",
        "192.0.2.11}\n      §pacs3: {}",
        says=("'address' is missing",),
        hint="add 'address:'",
    ),
    edited(
        "key-without-value", "    preset: dicom", "    §preset:", says=("preset has no value",), hint="remove the line"
    ),
    edited(
        "name-twice-service",
        "pools:\n",
        "  §pacs: {vip: 192.0.2.101, preset: dicom, pool: archives}\npools:\n",
        says=("services", "'pacs'", "line 5"),
        hint="rename",
    ),
    edited("name-twice-backend", "pacs2:", "§pacs1:", says=("'pacs1'", "line 14"), hint="rename"),
    edited("name-invalid", "pacs2:", "§pacs 2:", says=("'pacs 2' is not a name",), hint="A-Z a-z 0-9"),
    edited("name-too-long", "pacs2:", f"§{'p' * 64}:", says=("not a name",), hint="1 to 63"),
    edited("name-is-a-number", "    pool: archives", "    pool: §1", says=("1 is not text",), hint='"1"'),
)
