"""Brokers that take only the first part of a batch, or cut what is large or long."""

from __future__ import annotations

import time

from drivetrain.contract import QueueSection, QueueSizes, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, publishes

_EMPTY = QueueSizes(ready=0, delayed=0, in_flight=0, dead=0)


def sends(clause, name, part):
    """A broker that publishes what ``part`` gives of a batch."""

    class Sending(MemoryBroker):
        def publish(self, messages):
            super().publish(part(list(messages)))

    breaks(clause, name)(Sending)


sends("B3", "publishes the first 900 of a batch", lambda batch: batch[:900])
sends("B3", "publishes the first 1,000 of a batch", lambda batch: batch[:1000])
sends("B3", "publishes the first 4,096 of a batch", lambda batch: batch[:4096])
sends("B3", "loses the message between two parts of a batch", lambda batch: [*batch[:500], *batch[501:]])
sends("B3", "sends the message between two parts of a batch twice", lambda batch: [*batch[:1001], *batch[1000:]])
sends("B3", "takes more than 256 messages for none", lambda batch: batch if len(batch) % 256 else [])
sends("B10", "sends the parts of a large batch in any order", lambda batch: [*batch[500:], *batch[:500]])
sends("B22", "delays a batch as its first message", lambda batch: [evolve(m, eta=batch[0].eta) for m in batch])


@breaks("B21", "acknowledges the first 100 of a batch")
class Acknowledges100(MemoryBroker):
    def acknowledge(self, deliveries):
        super().acknowledge(deliveries[:100])


@breaks("B21", "acknowledges the first 1,000 of a batch")
class Acknowledges1000(MemoryBroker):
    def acknowledge(self, deliveries):
        super().acknowledge(deliveries[:1000])


@breaks("B21", "releases the first 1,000 of a batch")
class Releases1000(MemoryBroker):
    def release(self, deliveries, **how):
        super().release(deliveries[:1000], **how)


@breaks("B21", "releases the first 100 of a batch with a delay")
class Delays100(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries[:100] if delay_seconds else deliveries, delay_seconds=delay_seconds)


@breaks("B21", "dead-letters the first 100 of a batch")
class Buries100(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter(letters[:100])


@breaks("B21", "settles every other message of a batch")
class SettlesEveryOther(MemoryBroker):
    def acknowledge(self, deliveries):
        super().acknowledge(deliveries[::2])


@breaks("B21", "releases one message of each queue")
class ReleasesOnePerQueue(MemoryBroker):
    def release(self, deliveries, **how):
        super().release(list({each.message.queue: each for each in deliveries}.values()), **how)


@breaks("B17", "extends the first 1,000 of a batch and confirms all")
class Extends1000(MemoryBroker):
    def extend(self, deliveries, *, hold_seconds):
        told = list(super().extend(deliveries[:1000], hold_seconds=hold_seconds))
        return told + [True] * (len(deliveries) - len(told))


@breaks("B17", "answers for the first 100 of a batch")
class Answers100(MemoryBroker):
    def extend(self, deliveries, *, hold_seconds):
        return super().extend(deliveries, hold_seconds=hold_seconds)[:100]


@breaks("B17", "extends the first of a batch and confirms all")
class ExtendsOne(MemoryBroker):
    def extend(self, deliveries, *, hold_seconds):
        told = super().extend(deliveries[:1], hold_seconds=hold_seconds)
        return [told[0]] * len(deliveries) if told else []


@breaks("B30", "replays no more than 1,000 dead letters")
class Replays1000(MemoryBroker):
    def replay(self, queue, message_ids=None):
        if message_ids is None:
            message_ids = [each.id for each in self.peek(queue, QueueSection.DEAD, limit=1000)]
        return super().replay(queue, message_ids)


@breaks("B30", "replays the first 100 ids that it is asked for")
class Replays100Ids(MemoryBroker):
    def replay(self, queue, message_ids=None):
        return super().replay(queue, message_ids if message_ids is None else message_ids[:100])


@breaks("B30", "drops the first 999 ids that it is asked for")
class Drops999Ids(MemoryBroker):
    def drop_dead_letters(self, queue, message_ids):
        return super().drop_dead_letters(queue, message_ids[:999])


@breaks("B29", "shows no more than 100 dead letters")
class Shows100Dead(MemoryBroker):
    def peek(self, queue, place, *, limit):
        return super().peek(queue, place, limit=min(limit, 100))


@breaks("B32", "shows no more than 1,000 messages that are ready")
class Shows1000(MemoryBroker):
    def peek(self, queue, place, *, limit):
        return super().peek(queue, place, limit=min(limit, 1000))


@breaks("B34", "purges 1,000 messages at most")
class Purges1000(MemoryBroker):
    def purge(self, queue, place):
        kept = super().peek(queue, place, limit=10**6)[1000:]
        told = super().purge(queue, place)
        if place is QueueSection.READY:
            self.publish(kept)
            return told - len(kept)
        return told


@breaks("B31", "answers for the first 100 queues")
class Sizes100Queues(MemoryBroker):
    def sizes(self, queues):
        return {name: sizes if n < 100 else _EMPTY for n, (name, sizes) in enumerate(super().sizes(queues).items())}


@breaks("B31", "counts up to 1,000")
class CountsTo1000(MemoryBroker):
    def sizes(self, queues):
        return {name: evolve(sizes, ready=min(sizes.ready, 1000)) for name, sizes in super().sizes(queues).items()}


@breaks("B31", "counts up to 1,000 dead letters")
class CountsDeadTo1000(MemoryBroker):
    def sizes(self, queues):
        return {name: evolve(sizes, dead=min(sizes.dead, 1000)) for name, sizes in super().sizes(queues).items()}


@breaks("B8", "asks the first ten queues of a list")
class AsksTenQueues(MemoryBroker):
    def receive(self, queues, **how):
        return super().receive(queues[:10], **how)


@breaks("B35", "names the first 100 queues")
class Names100(MemoryBroker):
    def queues(self):
        return super().queues()[:100]


@breaks("B9", "looks for priorities among the oldest 100 messages")
class LooksAt100(MemoryBroker):
    def _take(self, queues, limit, hold_seconds):
        for queue in self._store.known(queues, self._clock):
            entries = sorted(queue.ready.clear(), key=lambda entry: entry.turn % 2**64)  # the number in it
            for place, entry in enumerate(entries):
                entry.heap = None
                entry.move(queue.ready, (-entry.message.priority if place < 100 else 0, entry.turn))
        return super()._take(queues, limit, hold_seconds)


# What is large or long


@publishes("B2", "cuts bodies at 1 MiB")
def cut_at_a_mebibyte(message):
    return evolve(message, body=message.body[: 2**20])


@publishes("B2", "cuts ids at 255 characters")
def short_id(message):
    return evolve(message, id=message.id[:255])


@publishes("B2", "drops headers beyond 4 KiB together")
def small_block(message):
    size, kept = 0, {}
    for name, value in message.headers.items():
        size += len(name) + len(value)
        if size <= 4096:
            kept[name] = value
    return evolve(message, headers=kept)


@publishes("B2", "cuts values of headers at 1,024 characters")
def short_values(message):
    return evolve(message, headers={name: value[:1024] for name, value in message.headers.items()})


@publishes("B2", "cuts names of headers at 255 characters")
def short_names(message):
    return evolve(message, headers={name[:255]: value for name, value in message.headers.items()})


@publishes("B2", "carries 64 headers at most")
def few_headers(message):
    return evolve(message, headers=dict(list(message.headers.items())[:64]))


@publishes("B26", "caps a delay at seven days")
def a_week_at_most(message):
    return message if message.eta is None else evolve(message, eta=min(message.eta, time.time() + 7 * 86_400))


@publishes("B26", "keeps times as 32-bit seconds")
def before_2038(message):
    return message if message.eta is None else evolve(message, eta=(message.eta + 2**31) % 2**32 - 2**31)


@breaks("B18", "caps the delay of a release at fifteen minutes")
class CapsRelease(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries, delay_seconds=min(delay_seconds, 900.0))


@breaks("B28", "drops large headers of dead letters")
class SmallHeadersOfTheDead(MemoryBroker):
    def peek(self, queue, place, *, limit):
        found = super().peek(queue, place, limit=limit)
        if place is not QueueSection.DEAD:
            return found
        small = [{name: value for name, value in each.headers.items() if len(value) < 3_700} for each in found]
        return [evolve(each, headers=headers) for each, headers in zip(found, small, strict=True)]
