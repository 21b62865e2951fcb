"""The SQL of the broker. ``@`` stands for the namespace's prefix, ``(…)`` for a list of parameters."""

from __future__ import annotations

__all__ = [
    "ADD",
    "ADD_QUEUE",
    "COUNT",
    "DEAD_LETTER",
    "DELAY",
    "DROP_SOME",
    "EXTEND",
    "FIND_QUEUE",
    "NEXT",
    "OLDEST",
    "PEEK",
    "PURGE",
    "QUEUES",
    "RECEIVE",
    "RELEASE",
    "REMOVE",
    "REPLAY",
    "REPLAY_SOME",
]

#: The index sorts the messages of one section and one priority by `at`. A query that asks for each priority separately
#: stays fast, even with a million messages that are not due.
_LEVELS = "levels (level) AS (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0))"

#: The first messages that can be delivered at :now: ready ones, delayed ones that are due, and those in flight whose
#: hold has ended. A message that becomes due stays in its section: no query has to move it.
_READY = f"""
WITH {_LEVELS}
SELECT seq FROM (
    SELECT * FROM (
        SELECT seq, priority, at AS turn FROM @messages
        WHERE queue = :queue AND section = 'ready' ORDER BY priority DESC, at, seq LIMIT :limit
    )
    UNION ALL
    SELECT m.seq, m.priority, m.at FROM levels CROSS JOIN @messages AS m ON m.seq IN (
        SELECT seq FROM @messages
        WHERE queue = :queue AND section = 'delayed' AND priority = level AND at <= :now ORDER BY at, seq LIMIT :limit
    )
    UNION ALL
    SELECT m.seq, m.priority, m.turn FROM levels CROSS JOIN @messages AS m
    WHERE m.queue = :queue AND m.section = 'in_flight' AND m.priority = level AND m.at <= :now
)
ORDER BY priority DESC, turn, seq LIMIT :limit
"""  # noqa: S608 - built from constants

_DELAYED = f"""
WITH {_LEVELS}
SELECT m.seq FROM levels CROSS JOIN @messages AS m ON m.seq IN (
    SELECT seq FROM @messages
    WHERE queue = :queue AND section = 'delayed' AND priority = level AND at > :now ORDER BY at, seq LIMIT :limit
)
ORDER BY m.at, m.seq LIMIT :limit
"""  # noqa: S608 - built from constants

_DEAD = """
SELECT seq FROM @messages WHERE queue = :queue AND section = 'dead' ORDER BY at, seq LIMIT :limit
"""

#: When the next message can be delivered: 0 if one is ready, NULL if there is none.
NEXT = f"""
WITH {_LEVELS}, sections (waiting) AS (VALUES ('delayed'), ('in_flight'))
SELECT CASE
    WHEN EXISTS (SELECT 1 FROM @messages WHERE queue = :queue AND section = 'ready') THEN 0.0
    ELSE (
        SELECT min((SELECT min(at) FROM @messages WHERE queue = :queue AND section = waiting AND priority = level))
        FROM levels CROSS JOIN sections
    )
END
"""  # noqa: S608 - built from constants

#: The rows come in no order; their first three columns give the order of delivery.
RECEIVE = f"""
UPDATE @messages
SET
    section = 'in_flight',
    turn = CASE section WHEN 'in_flight' THEN turn ELSE at END,
    at = :until,
    deliveries = deliveries + 1
WHERE seq IN ({_READY})
RETURNING -priority, turn, seq, deliveries, forgiven, priority, eta, id, headers, body
"""  # noqa: S608 - built from constants

_SEEN = "seq, reason, at, priority, eta, id, headers, body FROM @messages WHERE seq IN"

#: By section. The first three columns give the order.
PEEK = {
    "ready": f"SELECT -priority, CASE section WHEN 'in_flight' THEN turn ELSE at END, {_SEEN} ({_READY})",
    "delayed": f"SELECT 0, at, {_SEEN} ({_DELAYED})",
    "dead": f"SELECT 0, at, {_SEEN} ({_DEAD})",
}

#: By section.
PURGE = {
    "ready": """
    DELETE FROM @messages
    WHERE queue = :queue AND (section = 'ready' OR (section IN ('delayed', 'in_flight') AND at <= :now))
    """,
    "delayed": "DELETE FROM @messages WHERE queue = :queue AND section = 'delayed' AND at > :now",
    "dead": "DELETE FROM @messages WHERE queue = :queue AND section = 'dead'",
}

QUEUES = "SELECT name FROM @queues"
FIND_QUEUE = "SELECT number FROM @queues WHERE name = ?"
ADD_QUEUE = "INSERT INTO @queues (name) VALUES (?) RETURNING number"

ADD = """
INSERT INTO @messages (queue, section, priority, at, eta, id, headers, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

#: By section: the number of messages, and how many of them are due at :now.
COUNT = "SELECT section, count(*), total(at <= :now) FROM @messages WHERE queue = :queue GROUP BY section"

#: Since when the oldest message is ready at :now; NULL if none is.
OLDEST = f"""
WITH {_LEVELS}
SELECT min(since) FROM (
    SELECT (
        SELECT min(at) FROM @messages WHERE queue = :queue AND section = 'ready' AND priority = level
    ) AS since FROM levels
    UNION ALL
    SELECT (
        SELECT min(at) FROM @messages
        WHERE queue = :queue AND section = 'delayed' AND priority = level AND at <= :now
    ) FROM levels
    UNION ALL
    SELECT min(m.turn) FROM levels CROSS JOIN @messages AS m
    WHERE m.queue = :queue AND m.section = 'in_flight' AND m.priority = level AND m.at <= :now
)
"""  # noqa: S608 - built from constants

# A delivery that may still be settled: the message was not delivered again, nor settled before.
_MINE = "seq = ? AND deliveries = ? AND section = 'in_flight'"

REMOVE = f"DELETE FROM @messages WHERE {_MINE}"  # noqa: S608 - built from constants
RELEASE = f"UPDATE @messages SET section = 'ready', at = turn WHERE {_MINE}"  # noqa: S608 - built from constants
DELAY = f"UPDATE @messages SET section = 'delayed', at = ? WHERE {_MINE}"  # noqa: S608 - built from constants
DEAD_LETTER = f"UPDATE @messages SET section = 'dead', at = ?, reason = ? WHERE {_MINE}"  # noqa: S608 - built from constants
EXTEND = f"UPDATE @messages SET at = ? WHERE {_MINE}"  # noqa: S608 - built from constants

REPLAY = """
UPDATE @messages SET section = 'ready', at = ?, reason = NULL, forgiven = deliveries
WHERE queue = ? AND section = 'dead'
"""
REPLAY_SOME = f"{REPLAY} AND id IN (…)"
DROP_SOME = "DELETE FROM @messages WHERE queue = ? AND section = 'dead' AND id IN (…)"
