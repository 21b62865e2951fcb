"""The SQL of the broker. ``@`` stands for the namespace's prefix, ``(…)`` for a list of parameters."""

from __future__ import annotations

__all__ = [
    "ADD",
    "ADD_QUEUE",
    "BURY",
    "COUNT",
    "DELAY",
    "EXTEND",
    "FIND_QUEUE",
    "GIVE_BACK",
    "NEXT",
    "PEEK",
    "PURGE",
    "QUEUES",
    "REMOVE",
    "REPLAY",
    "REPLAY_SOME",
    "TAKE",
]

#: For every priority by itself the index yields messages in the order of `at`, whatever lies behind them: no query is
#: slowed down by a million messages that are not due.
_LEVELS = "levels (level) AS (VALUES (9), (8), (7), (6), (5), (4), (3), (2), (1), (0))"

#: The first messages that can be delivered at :now: those that are ready, delayed ones that are due, and held ones
#: whose hold has ended. Messages become ready by being due: nobody has to move them.
_READY = f"""
WITH {_LEVELS}
SELECT seq FROM (
    SELECT * FROM (
        SELECT seq, priority, at AS turn FROM @messages
        WHERE queue = :queue AND place = 'ready' ORDER BY priority DESC, at, seq LIMIT :limit
    )
    UNION ALL
    SELECT m.seq, m.priority, m.at FROM levels CROSS JOIN @messages AS m ON m.seq IN (
        SELECT seq FROM @messages
        WHERE queue = :queue AND place = 'delayed' AND priority = level AND at <= :now ORDER BY at, seq LIMIT :limit
    )
    UNION ALL
    SELECT m.seq, m.priority, m.turn FROM levels CROSS JOIN @messages AS m
    WHERE m.queue = :queue AND m.place = 'held' AND m.priority = level AND m.at <= :now
)
ORDER BY priority DESC, turn, seq LIMIT :limit
"""  # noqa: S608 - built from constants

_DELAYED = f"""
WITH {_LEVELS}
SELECT m.seq FROM levels CROSS JOIN @messages AS m ON m.seq IN (
    SELECT seq FROM @messages
    WHERE queue = :queue AND place = 'delayed' AND priority = level AND at > :now ORDER BY at, seq LIMIT :limit
)
ORDER BY m.at, m.seq LIMIT :limit
"""  # noqa: S608 - built from constants

_DEAD = """
SELECT seq FROM @messages WHERE queue = :queue AND place = 'dead' ORDER BY at, seq LIMIT :limit
"""

#: When the next message can be delivered: 0 when one is ready, NULL when none is there.
NEXT = f"""
WITH {_LEVELS}, places (waiting) AS (VALUES ('delayed'), ('held'))
SELECT CASE
    WHEN EXISTS (SELECT 1 FROM @messages WHERE queue = :queue AND place = 'ready') THEN 0.0
    ELSE (
        SELECT min((SELECT min(at) FROM @messages WHERE queue = :queue AND place = waiting AND priority = level))
        FROM levels CROSS JOIN places
    )
END
"""  # noqa: S608 - built from constants

#: What is returned comes in no order; its first three columns say which is that of delivery.
TAKE = f"""
UPDATE @messages
SET place = 'held', turn = CASE place WHEN 'held' THEN turn ELSE at END, at = :until, handouts = handouts + 1
WHERE seq IN ({_READY})
RETURNING -priority, turn, seq, handouts, forgiven, priority, eta, id, headers, body
"""  # noqa: S608 - built from constants

_SEEN = "seq, reason, at, priority, eta, id, headers, body FROM @messages WHERE seq IN"

#: By place. The first three columns say the order.
PEEK = {
    "ready": f"SELECT -priority, CASE place WHEN 'held' THEN turn ELSE at END, {_SEEN} ({_READY})",
    "delayed": f"SELECT 0, at, {_SEEN} ({_DELAYED})",
    "dead": f"SELECT 0, at, {_SEEN} ({_DEAD})",
}

#: By place.
PURGE = {
    "ready": """
    DELETE FROM @messages WHERE queue = :queue AND (place = 'ready' OR (place IN ('delayed', 'held') AND at <= :now))
    """,
    "delayed": "DELETE FROM @messages WHERE queue = :queue AND place = 'delayed' AND at > :now",
    "dead": "DELETE FROM @messages WHERE queue = :queue AND place = 'dead'",
}

QUEUES = "SELECT name FROM @queues"
FIND_QUEUE = "SELECT number FROM @queues WHERE name = ?"
ADD_QUEUE = "INSERT INTO @queues (name) VALUES (?) RETURNING number"

ADD = """
INSERT INTO @messages (queue, place, priority, at, eta, id, headers, body) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
"""

#: By place: how many lie there, and how many of them are due at :now.
COUNT = "SELECT place, count(*), total(at <= :now) FROM @messages WHERE queue = :queue GROUP BY place"

# A delivery that may still be settled: the message was not handed out again, nor settled before.
_MINE = "seq = ? AND handouts = ? AND place = 'held'"

REMOVE = f"DELETE FROM @messages WHERE {_MINE}"  # noqa: S608 - built from constants
GIVE_BACK = f"UPDATE @messages SET place = 'ready', at = turn WHERE {_MINE}"  # noqa: S608 - built from constants
DELAY = f"UPDATE @messages SET place = 'delayed', at = ? WHERE {_MINE}"  # noqa: S608 - built from constants
BURY = f"UPDATE @messages SET place = 'dead', at = ?, reason = ? WHERE {_MINE}"  # noqa: S608 - built from constants
EXTEND = f"UPDATE @messages SET at = ? WHERE {_MINE}"  # noqa: S608 - built from constants

REPLAY = """
UPDATE @messages SET place = 'ready', at = ?, reason = NULL, forgiven = handouts WHERE queue = ? AND place = 'dead'
"""
REPLAY_SOME = f"{REPLAY} AND id IN (…)"
DROP_SOME = "DELETE FROM @messages WHERE queue = ? AND place = 'dead' AND id IN (…)"
