"""What the Python driver sees: prints one line a case, the same direct and through the proxy.

usage: suite.py PORT [USER PASSWORD]
"""

import sys
import threading

from cassandra import ConsistencyLevel, InvalidRequest, Unauthorized
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile, NoHostAvailable
from cassandra.protocol import SyntaxException
from cassandra.query import BatchStatement, SimpleStatement

PORT = int(sys.argv[1])
LOGIN = sys.argv[2:4]
KEYSPACE = "python_suite"


def cluster(**options):
    if LOGIN:
        options.setdefault("auth_provider", PlainTextAuthProvider(*LOGIN))
    options.setdefault("protocol_version", 4)
    # A busy machine takes its time to drop a keyspace.
    options.setdefault("execution_profiles", {EXEC_PROFILE_DEFAULT: ExecutionProfile(request_timeout=60)})
    return Cluster(["127.0.0.1"], port=PORT, connect_timeout=20, **options)


def case(name, result):
    print(f"{name}: {result}", flush=True)


def error_of(session, text):
    try:
        session.execute(text)
        return "no error"
    except (InvalidRequest, SyntaxException, Unauthorized) as error:
        return f"{type(error).__name__} {error}"


TYPES = {
    "ascii": "'abc'",
    "bigint": "-9223372036854775808",
    "blob": "0x00ff",
    "boolean": "true",
    "date": "'2026-11-24'",
    "decimal": "-1.5e10",
    "double": "2.5",
    "duration": "1y2mo3d4h",
    "float": "0.25",
    "inet": "'::1'",
    "int": "-7",
    "smallint": "-300",
    "text": "'ü€'",
    "time": "'08:12:54.123456789'",
    "timestamp": "'2026-11-24T10:00:00Z'",
    "timeuuid": "50554d6e-29bb-11e5-b345-feff819cdc9f",
    "tinyint": "-5",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "varint": "123456789012345678901234567890",
    "list<int>": "[1, 2, 3]",
    "set<text>": "{'a', 'b'}",
    "map<text, int>": "{'x': 1}",
    "tuple<int, text>": "(1, 'one')",
    "frozen<point>": "{x: 1, y: 2}",
}


def main():
    connected = cluster()
    session = connected.connect()
    case("release", connected.metadata.all_hosts()[0].release_version)
    session.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    session.execute(
        f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    session.set_keyspace(KEYSPACE)
    session.execute("CREATE TYPE point (x int, y int)")
    for number, (kind, literal) in enumerate(TYPES.items()):
        session.execute(f"CREATE TABLE type_{number} (id int PRIMARY KEY, value {kind})")
        session.execute(f"INSERT INTO type_{number} (id, value) VALUES (1, {literal})")
        value = session.execute(f"SELECT value FROM type_{number}").one().value
        case(f"type {kind}", repr(value))
        again = session.prepare(f"INSERT INTO type_{number} (id, value) VALUES (?, ?)")
        session.execute(again, (2, value))
        rows = session.execute(f"SELECT id, value FROM type_{number}")
        case(f"bound {kind}", sorted((row.id, repr(row.value)) for row in rows))

    session.execute("CREATE TABLE rows (part int, item int, text text, data blob, PRIMARY KEY (part, item))")
    insert = session.prepare("INSERT INTO rows (part, item, text) VALUES (?, ?, ?)")
    futures = [session.execute_async(insert, (1, item, f"row {item}")) for item in range(1000)]
    for future in futures:
        future.result()
    statement = SimpleStatement("SELECT item, text FROM rows WHERE part = 1", fetch_size=70)
    result = session.execute(statement)
    case("pages", (result.has_more_pages, [row.item for row in result] == list(range(1000))))

    batch = BatchStatement(consistency_level=ConsistencyLevel.ONE)
    for item in range(50):
        batch.add(insert, (2, item, "batched"))
    batch.add(SimpleStatement("DELETE FROM rows WHERE part = 2 AND item = 7"))
    session.execute(batch)
    case("batch", session.execute("SELECT count(*) FROM rows WHERE part = 2").one()[0])
    session.execute("BEGIN BATCH INSERT INTO rows (part, item) VALUES (3, 1); INSERT INTO rows (part, item) VALUES (3, 2); APPLY BATCH")
    case("batch in one text", session.execute("SELECT count(*) FROM rows WHERE part = 3").one()[0])

    large = bytes(range(256)) * 4096
    session.execute(session.prepare("INSERT INTO rows (part, item, data) VALUES (4, 1, ?)"), (large,))
    case("1 MiB", session.execute("SELECT data FROM rows WHERE part = 4").one().data == large)
    case("condition", session.execute("INSERT INTO rows (part, item) VALUES (5, 1) IF NOT EXISTS").was_applied)
    case("condition again", session.execute("INSERT INTO rows (part, item) VALUES (5, 1) IF NOT EXISTS").was_applied)

    case("syntax error", error_of(session, "SELEKT 1"))
    case("no such table", error_of(session, "SELECT * FROM nothing_here"))
    case("no such keyspace", error_of(session, "USE nothing_here"))
    trace = session.execute("SELECT * FROM rows WHERE part = 3", trace=True)
    case("trace", trace.get_query_trace(max_wait_sec=10).request_type)

    seen = threading.Event()
    other = cluster()
    other_session = other.connect()
    watch(other, seen)
    session.execute("CREATE TABLE appears (id int PRIMARY KEY)")
    case("schema event", seen.wait(20))
    other_session.execute(f"SELECT * FROM {KEYSPACE}.appears")
    case("schema", sorted(other.metadata.keyspaces[KEYSPACE].tables)[:3])
    other.shutdown()

    session.execute("ALTER TABLE rows ADD extra int")
    case("after a change of the schema", session.execute("SELECT * FROM rows WHERE part = 3").one()._fields)

    many = [cluster() for _ in range(50)]
    sessions = [one.connect(KEYSPACE) for one in many for _ in range(2)]
    counts = [one.execute("SELECT count(*) FROM rows WHERE part = 1").one()[0] for one in sessions]
    case("100 sessions, 200 connections", (len(counts), set(counts)))
    for one in many:
        one.shutdown()

    negotiated = cluster(protocol_version=4)
    case("negotiated", negotiated.connect().execute("SELECT key FROM system.local").one().key)
    negotiated.shutdown()
    if LOGIN:
        refused = cluster(auth_provider=PlainTextAuthProvider(LOGIN[0], "wrong"))
        try:
            refused.connect()
            case("wrong password", "let in")
        except NoHostAvailable as error:
            case("wrong password", sorted(type(cause).__name__ for cause in error.errors.values()))
        refused.shutdown()
    session.execute(f"DROP KEYSPACE {KEYSPACE}")
    connected.shutdown()
    print("end")


def watch(watched, seen):
    """Sets `seen` when the table appears in the driver's own picture of the schema, which events keep up to date."""

    def look():
        for _ in range(400):
            keyspace = watched.metadata.keyspaces.get(KEYSPACE)
            if keyspace and "appears" in keyspace.tables:
                seen.set()
                return
            threading.Event().wait(0.05)

    threading.Thread(target=look, daemon=True).start()


main()
