"""Brokers that break clauses B28 to B30."""

from __future__ import annotations

import time

from drivetrain.contract import DEAD_REASON_HEADER, QueueSection, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, entries
from mutants.broker_publishing import decoded


@breaks("B28", "drops dead letters")
class DropsDead(MemoryBroker):
    def dead_letter(self, letters):
        self.acknowledge([delivery for delivery, _ in letters])


@breaks("B28", "delivers dead letters again")
class Undead(MemoryBroker):
    def dead_letter(self, letters):
        for delivery, _ in letters:
            self.publish([evolve(delivery.message, id="undead", eta=time.time() + 0.1)])
        super().dead_letter(letters)


def buries(name, change):
    """A broker that keeps the message and reason that ``change`` makes of a dead letter."""

    class Burying(MemoryBroker):
        def peek(self, queue, place, **how):
            found = super().peek(queue, place, **how)
            return [change(each) for each in found] if place is QueueSection.DEAD else found

    breaks("B28", name)(Burying)


def with_reason(message, reason):
    return evolve(message, headers={**message.headers, DEAD_REASON_HEADER: reason})


buries("cuts reasons at 255 bytes", lambda m: with_reason(m, m.headers[DEAD_REASON_HEADER][:255]))
buries("keeps the first line of a reason", lambda m: with_reason(m, m.headers[DEAD_REASON_HEADER].split("\n")[0]))
buries("keeps no headers but its own", lambda m: evolve(m, headers={k: v for k, v in m.headers.items() if k != "a"}))
buries("forgets the priority of dead letters", lambda m: evolve(m, priority=0))
buries("keeps dead bodies as text", decoded)
buries("tells no time", lambda m: evolve(m, headers={**m.headers, "drivetrain-dead-at": "0"}))


@breaks("B28", "keeps an older reason")
class KeepsTheOldReason(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter(
            [(delivery, delivery.message.headers.get(DEAD_REASON_HEADER, reason)) for delivery, reason in letters]
        )


def shows_dead(name, change):
    class Showing(MemoryBroker):
        def peek(self, queue, place, *, limit):
            if place is not QueueSection.DEAD:
                return super().peek(queue, place, limit=limit)
            return change(super().peek(queue, place, limit=10**6))[:limit]

    breaks("B29", name)(Showing)


shows_dead("shows the newest dead letters first", lambda dead: dead[::-1])
shows_dead("shows dead letters by their ids", lambda dead: sorted(dead, key=lambda each: each.id))


@breaks("B29", "looks at dead letters by taking one off and putting it at the end")
class RotatesDead(MemoryBroker):
    def peek(self, queue, place, *, limit):
        found = super().peek(queue, place, limit=limit)
        if place is QueueSection.DEAD and found:
            dead = self._store.queue(queue).dead
            dead.append(dead.pop(0))
        return found


class Replaying(MemoryBroker):
    """Replays by hand."""

    def letters(self, queue, message_ids):
        return [x for x in self._store.queue(queue).dead if message_ids is None or x.message.id in message_ids]


@breaks("B30", "replays with the headers that were added")
class ReplaysMarked(Replaying):
    def replay(self, queue, message_ids=None):
        letters = self.letters(queue, message_ids)
        for letter in letters:
            letter.message.headers.update(letter.shown().headers)
        return super().replay(queue, message_ids)


@breaks("B30", "leaves in the dead letters what it replays")
class ReplaysCopies(Replaying):
    def replay(self, queue, message_ids=None):
        letters = self.letters(queue, message_ids)
        self.publish([letter.message for letter in letters])
        return len(letters)


@breaks("B30", "replays all when some are asked for")
class ReplaysAll(MemoryBroker):
    def replay(self, queue, message_ids=None):
        return super().replay(queue)


@breaks("B30", "takes no ids for all")
class FalsyIds(MemoryBroker):
    def replay(self, queue, message_ids=None):
        return super().replay(queue, message_ids or None)


@breaks("B30", "tells how many were asked for and not how many there were")
class CountsAsked(MemoryBroker):
    def replay(self, queue, message_ids=None):
        replayed = super().replay(queue, message_ids)
        return replayed if message_ids is None else len(message_ids)


@breaks("B30", "replays one of several letters with the same id")
class ReplaysOne(Replaying):
    def replay(self, queue, message_ids=None):
        letters = {letter.message.id: letter for letter in self.letters(queue, message_ids)}
        dead = self._store.queue(queue).dead
        for letter in letters.values():
            dead.remove(letter)
        self.publish([letter.message for letter in letters.values()])
        return len(letters)


# Dropping


def drops(name):
    """Mark a function that says which ids are dropped in place of those that were asked for; None: all."""

    def mark(ids):
        class Dropping(MemoryBroker):
            def drop_dead_letters(self, queue, message_ids):
                wanted = ids(message_ids)
                if wanted is None:
                    return self.purge(queue, QueueSection.DEAD)
                return super().drop_dead_letters(queue, wanted)

        breaks("B30", name)(Dropping)
        return ids

    return mark


@drops("drops all when some are asked for")
def drops_all(_ids):
    return None


@drops("takes no ids for all when it drops")
def drops_all_for_none(ids):
    return ids or None


@drops("drops the first of several that are asked for")
def drops_the_first(ids):
    return list(ids)[:1]


@breaks("B30", "drops nothing and says that it has")
class DropsNothing(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        return sum(each.id in message_ids for each in self.peek(queue, QueueSection.DEAD, limit=10**6))


@breaks("B30", "drops the oldest letters, as many as were asked for")
class DropsTheOldest(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        dead = self._store.queue(queue).dead
        dropped = min(len(dead), len(message_ids))
        del dead[:dropped]
        return dropped


@breaks("B30", "tells how many it was asked to drop and not how many there were")
class CountsAskedToDrop(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        super().drop_dead_letters(queue, message_ids)
        return len(message_ids)


@breaks("B30", "drops one of several letters with the same id")
class DropsOne(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        dead = self._store.queue(queue).dead
        letters = {letter.message.id: letter for letter in dead if letter.message.id in message_ids}
        for letter in letters.values():
            dead.remove(letter)
        return len(letters)


@breaks("B30", "drops what waits under the same id too")
class DropsTheReady(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        dropped = super().drop_dead_letters(queue, message_ids)
        found = self._store.queue(queue)
        for entry in [*entries(found.ready), *entries(found.delayed)]:
            if entry.message.id in message_ids:
                entry.take()
                entry.heap = None
        return dropped


@breaks("B30", "drops letters of other queues with the same id")
class DropsEverywhere(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        others = [name for name in self._store.queues if name != queue]
        for name in others:
            super().drop_dead_letters(name, message_ids)
        return super().drop_dead_letters(queue, message_ids)


@breaks("B30", "takes ids for the same that differ by case when it drops")
class DropsByCase(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        wanted = {each.lower() for each in message_ids}
        dead = self._store.queue(queue).dead
        return super().drop_dead_letters(queue, [x.message.id for x in dead if x.message.id.lower() in wanted])
