"""Rows of streams that are updated where they stand."""

from __future__ import annotations

from migrations.statements import change, run

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# A row whose key stays the same is updated on its own page, without a word to the index, and the dead ones before it go
# when the page is next written. Only an old snapshot left open keeps them: then each look-up walks them all. So the key
# changes every 64 versions, and no more than those are ever walked.
_STREAMS = """
    ALTER TABLE log.streams ADD COLUMN generation integer NOT NULL DEFAULT 0;
    UPDATE log.streams SET generation = version >> 6 WHERE version >= 64;
    ALTER TABLE log.streams DROP CONSTRAINT streams_by_version;
    ALTER TABLE log.streams ADD CONSTRAINT streams_by_generation PRIMARY KEY (tenant_id, stream_id, generation);
    ALTER TABLE log.streams SET (fillfactor = 50);
"""

_BY_VERSION = "ORDER BY r.version DESC LIMIT 1"
_BY_GENERATION = "ORDER BY r.generation DESC LIMIT 1"

_INSERTED = "(tenant_id, stream_id, version, category, first_position, last_position)"
_INSERTED_NOW = "(tenant_id, stream_id, version, generation, category, first_position, last_position)"

_UNDISPUTED = (
    (_BY_VERSION, _BY_GENERATION),
    (_INSERTED, _INSERTED_NOW),
    ("s_id[n], e_version[s_last[n]], words", "s_id[n], e_version[s_last[n]], e_version[s_last[n]] >> 6, words"),
    (
        "SET version = e_version[s_last[n]], last",
        "SET version = e_version[s_last[n]], generation = e_version[s_last[n]] >> 6, last",
    ),
    ("AND r.version = s_was[n];", "AND r.generation = s_was[n] >> 6 AND r.version = s_was[n];"),
)

_ONE = (
    (_BY_VERSION, _BY_GENERATION),
    (_INSERTED, _INSERTED_NOW),
    (
        "VALUES (stream_tenant, stream, new_version, a",
        "VALUES (stream_tenant, stream, new_version, new_version >> 6, a",
    ),
    ("SET version = new_version, last", "SET version = new_version, generation = new_version >> 6, last"),
    ("AND r.version = was;", "AND r.generation = was >> 6;"),
)

_BATCH = (
    (_BY_VERSION, _BY_GENERATION),
    (_INSERTED, _INSERTED_NOW),
    ("s_id[n], s_version[n], words", "s_id[n], s_version[n], s_version[n] >> 6, words"),
    ("WHERE s_version[n] <> s_was[n];", "WHERE s_version[n] <> s_was[n] AND s_was[n] < 0;"),
    (
        """
            DELETE FROM log.streams r
             WHERE r.ctid = ANY (ARRAY(SELECT s_place[n] FROM generate_series(1, cardinality(s_id)) n
                                        WHERE s_version[n] <> s_was[n] AND s_was[n] >= 0));""",
        """
            UPDATE log.streams r
               SET version = s_version[n], generation = s_version[n] >> 6, last_position = s_last[n]
              FROM generate_series(1, cardinality(s_id)) n
             WHERE r.ctid = s_place[n] AND s_version[n] <> s_was[n] AND s_was[n] >= 0;""",
    ),
)


def upgrade() -> None:
    run(_STREAMS)
    change("log.append_undisputed", *_UNDISPUTED)
    change("log.append_one", *_ONE)
    change("log.append_batch", *_BATCH)
    for reads in ("log.load", "log.load_since", "log.read_stream", "log.find_streams"):
        change(reads, (_BY_VERSION, _BY_GENERATION))
