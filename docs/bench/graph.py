"""A store's database with as many objects as one likes, and a Nix database of the same shape. Only the standard library."""
import hashlib
import os
import random
import sqlite3

# Each object refers to so many others; one half hangs from a root, the other half is dead.
REFERENCES = 20
# Long ago, so that nothing is young.
REGISTERED = 1_500_000_000
NIX_LETTERS = "0123456789abcdfghijklmnpqrsvwxyz"


def edges(objects, references=REFERENCES, seed=1):
    """Pairs of positions, referrer and reference. Those of the first half stay in the first half."""
    chance = random.Random(seed)
    for position in range(1, objects):
        limit = position
        for target in {chance.randrange(limit) for _ in range(min(references, limit))}:
            yield position, target


def digest(position, length):
    return hashlib.blake2b(b"object %d" % position, digest_size=length).digest()


def rooted(objects):
    """The first half is what the root reaches: it names every object of it that nothing else would keep."""
    return range(objects // 2)


def fill_store(database, objects):
    """Writes `objects` valid rows, their references and one pin into the database of a store of pip-accel."""
    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous = OFF")
    first = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM object").fetchone()[0]
    row = ("INSERT INTO object (id, hash, path, name, version, kind, state, content_digest, size_bytes, source_sha256,"
           " provenance, link_plan, registered_at, last_used_at) VALUES (?, ?, ?, ?, '1.0', 'wheel', 1, ?, 1000, ?, ?, NULL, ?, ?)")
    provenance = '{"kind":"wheel","file_name":"p-1.0-py3-none-any.whl","sha256":"%s","bytecode_tag":"cpython-311"}' % ("0" * 64)
    with connection:
        connection.executemany(row, (
            (first + position, digest(position, 20), "%s-p%d-1.0" % (digest(position, 16).hex(), position), "p%d" % position,
             digest(position, 32), digest(position, 32), provenance, REGISTERED, REGISTERED) for position in range(objects)))
        connection.executemany("INSERT INTO reference VALUES (?, ?)", ((first + one, first + other) for one, other in edges(objects)))
        root = connection.execute(
            "INSERT INTO root (kind, name, location, device, created_at) VALUES ('pin', 'bench', x'', 0, ?)", (REGISTERED,)).lastrowid
        connection.executemany("INSERT INTO root_object VALUES (?, ?)", ((root, first + position) for position in rooted(objects)))
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def nix_environment(directory):
    """Variables of a Nix of its own below `directory`."""
    places = {"NIX_CONF_DIR": "conf", "NIX_STORE_DIR": "store", "NIX_STATE_DIR": "var/nix", "NIX_LOG_DIR": "log"}
    for place in places.values():
        os.makedirs(os.path.join(directory, place), exist_ok=True)
    with open(os.path.join(directory, "conf/nix.conf"), "w") as file:
        file.write("build-users-group =\nsandbox = false\nsubstituters =\n")
    return dict(os.environ, HOME=directory, **{name: os.path.join(directory, place) for name, place in places.items()})


def nix_path(directory, position):
    number = int.from_bytes(digest(position, 20), "big")
    letters = "".join(NIX_LETTERS[number >> 5 * place & 31] for place in range(32))
    return os.path.join(directory, "store", "%s-p%d" % (letters, position))


def fill_nix(directory, objects):
    """The same graph for `nix-store`, whose database has been made by `nix-store --init`; each path is an empty file."""
    connection = sqlite3.connect(os.path.join(directory, "var/nix/db/db.sqlite"))
    connection.execute("PRAGMA synchronous = OFF")
    with connection:
        connection.executemany(
            "INSERT INTO ValidPaths (id, path, hash, registrationTime, narSize) VALUES (?, ?, ?, ?, 1000)",
            ((position + 1, nix_path(directory, position), "sha256:" + "0" * 64, REGISTERED) for position in range(objects)))
        connection.executemany("INSERT INTO Refs (referrer, reference) VALUES (?, ?)",
                               ((one + 1, other + 1) for one, other in edges(objects)))
    connection.close()
    for position in range(objects):
        open(nix_path(directory, position), "w").close()
    # One root that refers to the whole first half.
    roots = os.path.join(directory, "var/nix/gcroots/bench")
    os.makedirs(roots, exist_ok=True)
    for position in rooted(objects):
        os.symlink(nix_path(directory, position), os.path.join(roots, str(position)))
