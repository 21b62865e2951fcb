"""Brokers that take one name for another."""

from __future__ import annotations

import unicodedata
from fnmatch import fnmatchcase

from drivetrain.contract import QueueSection, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, publishes
from mutants.broker_publishing import Renaming


def nfc(text):
    return unicodedata.normalize("NFC", text)


@publishes("B2", "normalizes ids")
def normalized_id(message):
    return evolve(message, id=nfc(message.id))


@publishes("B2", "strips ids")
def stripped_id(message):
    return evolve(message, id=message.id.strip() or message.id)


@publishes("B2", "strips values of headers")
def stripped_headers(message):
    return evolve(message, headers={name: value.strip() for name, value in message.headers.items()})


@publishes("B2", "normalizes names and values of headers")
def normalized_headers(message):
    return evolve(message, headers={nfc(name): nfc(value) for name, value in message.headers.items()})


def renames(name, rename):
    class Named(Renaming):
        def rename(self, queue):
            return rename(queue) or "-"

    breaks("B2", name)(Named)


renames("normalizes names of queues", nfc)
renames("strips the end of names of queues", str.rstrip)
renames("ends names of queues at their first NUL", lambda queue: queue.partition("\0")[0])
renames("cuts names of queues at 255 characters", lambda queue: queue[:255])
renames("unquotes names of queues", lambda queue: queue.replace("%3A", ":"))
renames("leaves what is no printable character out of names of queues", lambda q: "".join(filter(str.isprintable, q)))


class Globs(MemoryBroker):
    """Takes the name of a queue for a pattern, where a mutant says so."""

    def matching(self, pattern):
        return [name for name in super().queues() if name == pattern or fnmatchcase(name, pattern)]


@breaks("B34", "takes the name of a queue that it purges for a pattern")
class PurgesGlob(Globs):
    def purge(self, queue, place):
        return sum(super(PurgesGlob, self).purge(name, place) for name in self.matching(queue))


@breaks("B31", "takes the name of a queue that it counts for a pattern")
class CountsGlob(Globs):
    def sizes(self, queues):
        found = {}
        for queue in queues:
            told = super().sizes([queue, *self.matching(queue)])
            found[queue] = evolve(told[queue], ready=sum(each.ready for each in told.values()))
        return found


@breaks("B6", "takes the name of a queue that it receives from for a pattern")
class ReceivesGlob(Globs):
    def receive(self, queues, **how):
        matching = [name for queue in queues for name in self.matching(queue)]
        return super().receive(matching or queues, **how)


@breaks("B30", "takes the name of a queue that it replays for a pattern")
class ReplaysGlob(Globs):
    def replay(self, queue, message_ids=None):
        return sum(super(ReplaysGlob, self).replay(name, message_ids) for name in self.matching(queue))


def chooses(name, alike):
    """A broker that finds dead letters by ids that are alike."""

    class Choosing(MemoryBroker):
        def found(self, queue, message_ids):
            dead = [each.id for each in super().peek(queue, QueueSection.DEAD, limit=10**6)]
            return [known for known in dead if any(alike(known, asked) for asked in message_ids)]

        def replay(self, queue, message_ids=None):
            return super().replay(queue, None if message_ids is None else self.found(queue, message_ids))

        def drop_dead_letters(self, queue, message_ids):
            return super().drop_dead_letters(queue, self.found(queue, message_ids))

    breaks("B30", name)(Choosing)


chooses("finds dead letters by normalized ids", lambda known, asked: nfc(known) == nfc(asked))
chooses("finds dead letters by the pattern of an id", fnmatchcase)
chooses("finds dead letters by ids without spaces", lambda known, asked: known.strip() == asked.strip())
chooses("finds dead letters by the first 255 characters", lambda known, asked: known[:255] == asked[:255])
chooses("finds dead letters whatever the case of an id", lambda known, asked: known.casefold() == asked.casefold())


@breaks("B35", "strips the names of queues that it lists")
class ListsStripped(MemoryBroker):
    def queues(self):
        return sorted({name.strip() for name in super().queues()})


@breaks("B28", "normalizes reasons")
class NormalizesReasons(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter([(each, nfc(reason)) for each, reason in letters])


@breaks("B28", "strips reasons")
class StripsReasons(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter([(each, reason.strip()) for each, reason in letters])
