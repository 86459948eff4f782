"""A row with a value of every type: the Python driver writes it, reads it, writes what it read, and prints a line a column.

usage: values.py PORT
"""

import datetime
import decimal
import sys
import uuid

from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.util import Date, Duration, OrderedMapSerializedKey, SortedSet, Time

PORT = int(sys.argv[1])
KEYSPACE = "values_suite"

# A column a type: its name does not matter, its value is written as CQL.
TYPES = [
    ("ascii", "'it''s'"),
    ("bigint", "-9223372036854775808"),
    ("blob", "0x00ff"),
    ("boolean", "true"),
    ("date", "'1969-12-31'"),
    ("decimal", "-1.5e10"),
    ("decimal", "0.0000012345678901234567890"),
    ("double", "2.5"),
    ("duration", "-1y2mo3d4h5ns"),
    ("float", "0.25"),
    ("inet", "'::1'"),
    ("inet", "'127.0.0.1'"),
    ("int", "-7"),
    ("smallint", "-300"),
    ("text", "'ü€'"),
    ("text", "''"),
    ("time", "'08:12:54.123456789'"),
    ("timestamp", "'2026-11-24T10:00:00.123Z'"),
    ("timestamp", "'1901-02-28T23:59:59.001Z'"),
    ("timeuuid", "50554d6e-29bb-11e5-b345-feff819cdc9f"),
    ("tinyint", "-5"),
    ("uuid", "123e4567-e89b-12d3-a456-426614174000"),
    ("varint", "-123456789012345678901234567890"),
    ("varint", "0"),
    ("list<int>", "[1, 2, 3]"),
    ("set<text>", "{'b', 'a'}"),
    ("map<text, int>", "{'x': 1}"),
    ("tuple<int, text>", "(1, 'one')"),
    ("tuple<int, text>", "(null, 'one')"),
    ("frozen<point>", "{x: 1, y: [2]}"),
    ("frozen<point>", "{x: 1}"),
    ("list<frozen<point>>", "[{x: 1, y: [2]}]"),
    ("map<int, frozen<map<text, frozen<set<uuid>>>>>", "{1: {'a': {123e4567-e89b-12d3-a456-426614174000}}}"),
    ("list<duration>", "[1mo2d3ns]"),
    ("vector<float, 3>", "[1.0, 0.5, -2.0]"),
    ("vector<text, 2>", "['a', 'bcd']"),
    ("vector<boolean, 2>", "[true, false]"),
    ("vector<int, 2>", "[1, -1]"),
    ("vector<bigint, 2>", "[1, -1]"),
    ("vector<double, 1>", "[0.5]"),
    ("vector<smallint, 2>", "[1, -1]"),
    ("vector<tinyint, 2>", "[1, -1]"),
    ("vector<varint, 2>", "[1, -1000]"),
    ("vector<date, 1>", "['2026-11-24']"),
    ("vector<time, 1>", "['08:12:54.123456789']"),
    ("vector<timestamp, 1>", "['2026-11-24T10:00:00.123Z']"),
    ("vector<uuid, 1>", "[123e4567-e89b-12d3-a456-426614174000]"),
    ("vector<timeuuid, 1>", "[50554d6e-29bb-11e5-b345-feff819cdc9f]"),
    ("vector<inet, 1>", "['127.0.0.1']"),
    ("vector<blob, 1>", "[0x00ff]"),
    ("vector<decimal, 1>", "[1.5]"),
    ("vector<duration, 1>", "[1mo2d3ns]"),
    ("vector<vector<float, 2>, 2>", "[[1.0, 2.0], [3.0, 4.0]]"),
    ("vector<frozen<list<int>>, 2>", "[[1], [2, 3]]"),
]


def literal(value):
    """What the driver read, as CQL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, datetime.datetime):
        return f"'{value:%Y-%m-%d %H:%M:%S}.{value.microsecond // 1000:03}Z'"
    if isinstance(value, (Date, Time)):
        return f"'{value}'"
    if isinstance(value, Duration):
        sign = "-" if min(value.months, value.days, value.nanoseconds) < 0 else ""
        return f"{sign}{abs(value.months)}mo{abs(value.days)}d{abs(value.nanoseconds)}ns"
    if isinstance(value, (int, float, decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, SortedSet):
        return "{" + ", ".join(literal(each) for each in value) + "}"
    if isinstance(value, (dict, OrderedMapSerializedKey)):
        return "{" + ", ".join(f"{literal(key)}: {literal(each)}" for key, each in value.items()) + "}"
    if hasattr(value, "_fields"):
        return "{" + ", ".join(f"{name}: {literal(getattr(value, name))}" for name in value._fields) + "}"
    if isinstance(value, tuple):
        return "(" + ", ".join(literal(each) for each in value) + ")"
    return "[" + ", ".join(literal(each) for each in value) + "]"


def show(row):
    for number, value in enumerate(row):
        print(f"{number} {literal(value)}", flush=True)


def main():
    profile = ExecutionProfile(request_timeout=60)
    connected = Cluster(
        ["127.0.0.1"],
        port=PORT,
        protocol_version=4,
        connect_timeout=20,
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
    )
    session = connected.connect()
    session.execute(f"DROP KEYSPACE IF EXISTS {KEYSPACE}")
    session.execute(
        f"CREATE KEYSPACE {KEYSPACE} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
    )
    session.set_keyspace(KEYSPACE)
    session.execute("CREATE TYPE point (x int, y frozen<list<int>>)")
    names = [f"c{number:02}" for number in range(len(TYPES))]
    columns = ", ".join(f"{name} {kind}" for name, (kind, _) in zip(names, TYPES))
    session.execute(f"CREATE TABLE every (id int PRIMARY KEY, {columns})")
    literals = ", ".join(text for _, text in TYPES)
    session.execute(f"INSERT INTO every (id, {', '.join(names)}) VALUES (1, {literals})")
    session.execute("INSERT INTO every (id) VALUES (3)")
    row = session.execute("SELECT * FROM every WHERE id = 1").one()
    insert = session.prepare(f"INSERT INTO every (id, {', '.join(names)}) VALUES ({'?, ' * len(TYPES)}?)")
    session.execute(insert, [2, *row[1:]])
    select = session.prepare("SELECT * FROM every WHERE id = ?")
    for number in (1, 2, 3):
        show(session.execute(select, [number]).one())
    session.execute("CREATE TABLE counters (id int PRIMARY KEY, c counter)")
    session.execute("UPDATE counters SET c = c - 5 WHERE id = 1")
    show(session.execute("SELECT * FROM counters").one())
    connected.shutdown()
    print("end", flush=True)


main()
