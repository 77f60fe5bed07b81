-- Objects in the store. state: 0 pending (files may be incomplete), 1 valid, 2 deleting (invisible, being removed).
CREATE TABLE object (
    id              INTEGER PRIMARY KEY,
    hash            BLOB    NOT NULL UNIQUE CHECK (length(hash) = 20),
    path            TEXT    NOT NULL,
    name            TEXT    NOT NULL,
    version         TEXT    NOT NULL,
    kind            TEXT    NOT NULL CHECK (kind IN ('source', 'wheel', 'build')),
    state           INTEGER NOT NULL CHECK (state IN (0, 1, 2)),
    content_digest  BLOB    NOT NULL CHECK (length(content_digest) = 32),
    size_bytes      INTEGER NOT NULL,
    source_sha256   BLOB    CHECK (source_sha256 IS NULL OR length(source_sha256) = 32),
    provenance      TEXT    NOT NULL,
    link_plan       BLOB,
    registered_at   INTEGER NOT NULL,
    last_used_at    INTEGER NOT NULL
) STRICT;
CREATE INDEX object_name ON object (name, version);
CREATE INDEX object_source ON object (source_sha256);
CREATE INDEX object_unfinished ON object (state) WHERE state <> 1;

-- referrer keeps reference alive.
CREATE TABLE reference (
    referrer  INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    reference INTEGER NOT NULL REFERENCES object (id) ON DELETE RESTRICT,
    PRIMARY KEY (referrer, reference)
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_reverse ON reference (reference, referrer);

-- recipe -> object, one row for each set of system inputs it was built on.
CREATE TABLE realisation (
    recipe        BLOB    NOT NULL CHECK (length(recipe) = 32),
    system_inputs BLOB    NOT NULL CHECK (length(system_inputs) = 32),
    object        INTEGER NOT NULL REFERENCES object (id) ON DELETE CASCADE,
    built_at      INTEGER NOT NULL,
    PRIMARY KEY (recipe, system_inputs, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX realisation_object ON realisation (object);

-- What keeps objects alive. kind: environment (location = its root), lock (location = the lock file), pin (location = '').
CREATE TABLE root (
    id         INTEGER PRIMARY KEY,
    kind       TEXT    NOT NULL CHECK (kind IN ('environment', 'lock', 'pin')),
    name       TEXT    NOT NULL,
    location   BLOB    NOT NULL,
    device     INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (kind, name)
) STRICT;
CREATE TABLE root_object (
    root   INTEGER NOT NULL REFERENCES root (id) ON DELETE CASCADE,
    object INTEGER NOT NULL REFERENCES object (id) ON DELETE RESTRICT,
    PRIMARY KEY (root, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX root_object_reverse ON root_object (object, root);

-- Objects that running processes use; a lease lives as long as the flock on locks/lease-<name>.
CREATE TABLE lease (
    name   TEXT NOT NULL,
    object INTEGER NOT NULL REFERENCES object (id) ON DELETE RESTRICT,
    PRIMARY KEY (name, object)
) STRICT, WITHOUT ROWID;
CREATE INDEX lease_object ON lease (object);

-- Answers worth remembering (interpreters, selections, resolutions): always recomputable.
CREATE TABLE memo (
    namespace   TEXT    NOT NULL,
    key         BLOB    NOT NULL,
    value       BLOB    NOT NULL,
    written_at  INTEGER NOT NULL,
    PRIMARY KEY (namespace, key)
) STRICT, WITHOUT ROWID;

-- Every build, good or bad.
CREATE TABLE build (
    id          INTEGER PRIMARY KEY,
    name        TEXT    NOT NULL,
    version     TEXT    NOT NULL,
    recipe      BLOB    CHECK (recipe IS NULL OR length(recipe) = 32),
    status      TEXT    NOT NULL,
    reason      TEXT    NOT NULL,
    log         TEXT    NOT NULL,
    started_at  INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX build_name ON build (name, version);
