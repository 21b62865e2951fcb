"""Broken brokers. Each is the in-memory one but for what it does wrong."""

from __future__ import annotations

import math
import socket
import threading
import time
from contextlib import suppress
from weakref import WeakKeyDictionary

from attrs import evolve

from drivetrain.contract import DEAD_REASON_HEADER, Place, QueueSizes, ServiceRefused, ServiceUnavailable, TooLarge
from drivetrain.drivers.memory.broker import MemoryBroker, _Entry
from drivetrain_contract_tests import BrokerContract, Service
from tests.mutants.mutant import Mutant
from tests.mutants.remote import Remote, RemoteBroker

__all__ = ["MUTANTS", "Impatient"]

_FOUND: list[Mutant] = []


class Impatient(BrokerContract):
    """The same checks: what does not come at once from this process never does."""

    patience_seconds = 1.5
    prompt_seconds = 0.25
    tries = 1
    shrinks = False


def local(kind):
    """The service of a broker in this process."""
    return Service(broker_maker=lambda url, context: kind(url.partition("://")[2], context.clock))


def breaks(clause, name):
    """Mark a broken broker with what it does wrong."""

    def mark(kind):
        def service():
            return Remote(kind).service() if issubclass(kind, RemoteBroker) else local(kind)

        _FOUND.append(Mutant(name=name, clause=clause, contract=Impatient, service=service))
        return kind

    return mark


def publishes(clause, name):
    """Mark a function that says what becomes of a message when it is published."""

    def mark(change):
        class Changing(MemoryBroker):
            def publish(self, messages):
                super().publish([changed for each in messages if (changed := change(each)) is not None])

        breaks(clause, name)(Changing)
        return change

    return mark


def hands_out(clause, name):
    """Mark a function that says what becomes of a delivery when it is handed out."""

    def mark(change):
        class Changing(MemoryBroker):
            def receive(self, queues, **how):
                return [change(each) for each in super().receive(queues, **how)]

        breaks(clause, name)(Changing)
        return change

    return mark


def orders(clause, name):
    """Mark a function that gives the key by which ready messages are delivered."""

    def mark(key):
        class Ordering(MemoryBroker):
            def _take(self, queues, limit, hold_seconds):
                for queue in self._store.known(queues, self._clock):
                    for entry in queue.ready.clear():
                        entry.pile = None
                        entry.move(queue.ready, key(entry))
                return super()._take(queues, limit, hold_seconds)

        breaks(clause, name)(Ordering)
        return key

    return mark


def entries(pile):
    return pile.smallest(len(pile))


# Publishing


@breaks("B1", "returns before the service has the message")
class WritesBehind(MemoryBroker):
    _waiting = ()

    def publish(self, messages):
        sent, self._waiting = self._waiting, list(messages)
        super().publish(sent)

    def receive(self, queues, **how):
        self.publish([])
        return super().receive(queues, **how)


@breaks("B1", "loses what was not sent yet when it is closed")
class SendsTheRestLater(MemoryBroker):
    """The first ten go out at once, the others with the next call, as clients with a send buffer do."""

    _waiting = ()

    def publish(self, messages):
        batch = [*self._waiting, *messages]
        super().publish(batch[:10])
        self._waiting = batch[10:]

    def close(self):
        self._waiting = ()
        super().close()


@breaks("B1", "keeps the sender's own dict of headers")
class Aliases(MemoryBroker):
    def _add(self, message, now):
        super()._add(message, now)
        for entry in entries(self._store.queue(message.queue).ready):
            if entry.message.id == message.id:
                entry.message = message


@publishes("B2", "truncates bodies at 64 KiB")
def truncated(message):
    return evolve(message, body=message.body[: 64 * 1024])


@publishes("B2", "mangles bytes that are no UTF-8")
def decoded(message):
    return evolve(message, body=message.body.decode(errors="replace").encode())


@publishes("B2", "drops messages with an empty body")
def needs_body(message):
    return message if message.body else None


@publishes("B2", "strips white space from bodies")
def stripped(message):
    return evolve(message, body=message.body.strip())


@publishes("B2", "ends bodies at their first NUL")
def c_string(message):
    return evolve(message, body=message.body.partition(b"\0")[0])


@publishes("B2", "writes names of headers in small letters")
def small_headers(message):
    return evolve(message, headers={name.lower(): value for name, value in message.headers.items()})


@publishes("B2", "leaves out headers with an empty value")
def full_headers(message):
    return evolve(message, headers={name: value for name, value in message.headers.items() if value})


@publishes("B2", "replaces what is no ASCII in ids")
def ascii_id(message):
    return evolve(message, id=message.id.encode("ascii", "replace").decode())


class Renaming(MemoryBroker):
    """Names of queues as a service takes them. The message keeps the name that it was published under."""

    def rename(self, queue):
        return queue

    def publish(self, messages):
        super().publish([evolve(m, queue=self.rename(m.queue), headers={**m.headers, "q": m.queue}) for m in messages])

    def receive(self, queues, **how):
        found = super().receive([self.rename(queue) for queue in queues], **how)
        return [self.named(each) for each in found]

    def named(self, delivery):
        headers = dict(delivery.message.headers)
        return evolve(delivery, message=evolve(delivery.message, queue=headers.pop("q"), headers=headers))


@breaks("B2", "cuts names of queues at 80 signs")
class CutsNames(Renaming):
    def rename(self, queue):
        return queue[:79]


@breaks("B2", "folds the case of names of queues")
class FoldsNames(Renaming):
    def rename(self, queue):
        return queue.casefold()


@breaks("B2", "replaces signs in names of queues")
class ReplacesSigns(Renaming):
    def rename(self, queue):
        return "".join(sign if sign.isalnum() else "_" for sign in queue)


@breaks("B3", "sends the first ten of a batch")
class SendsTen(MemoryBroker):
    def publish(self, messages):
        super().publish(messages[:10])


@breaks("B3", "sends a batch to the queue of its first message")
class OneQueue(MemoryBroker):
    def publish(self, messages):
        super().publish([evolve(each, queue=messages[0].queue) for each in messages])


@breaks("B3", "fails on an empty batch")
class NeedsOne(MemoryBroker):
    def publish(self, messages):
        if not messages:
            raise ServiceRefused("EmptyBatchRequest: there should be at least one entry")
        super().publish(messages)


class Limited(MemoryBroker):
    """Takes 64 KiB; correct."""

    capabilities = evolve(MemoryBroker.capabilities, largest_message_bytes=64 * 1024)

    def size(self, message):
        texts = [text for pair in message.headers.items() for text in pair]
        return len(message.body) + sum(len(text.encode(errors="surrogatepass")) for text in texts)

    def check(self, message):
        if self.size(message) > 64 * 1024:
            raise TooLarge(f"message {message.id}", self.size(message), 64 * 1024)

    def publish(self, messages):
        for each in messages:
            self.check(each)
        super().publish(messages)


@breaks("B4", "publishes what stands before a message that is too large")
class OneByOne(Limited):
    def publish(self, messages):
        for each in messages:
            self.check(each)
            MemoryBroker.publish(self, [each])


@breaks("B4", "cuts what is too large")
class Cuts(Limited):
    def publish(self, messages):
        super().publish([evolve(each, body=each.body[: 64 * 1024 - 6]) for each in messages])


@breaks("B4", "refuses a message of exactly the largest size")
class OffByOne(Limited):
    def size(self, message):
        return super().size(message) + 1


@breaks("B4", "does not count the headers")
class CountsBodies(Limited):
    def size(self, message):
        return len(message.body)


@breaks("B4", "counts headers in signs and not in bytes")
class CountsSigns(Limited):
    def size(self, message):
        return len(message.body) + sum(len(text) for pair in message.headers.items() for text in pair)


@breaks("B4", "refuses with another error")
class RefusesOtherwise(Limited):
    def check(self, message):
        if self.size(message) > 64 * 1024:
            raise ServiceRefused("InvalidParameterValue: one or more parameters are invalid")


@breaks("B5", "drops a message whose id it has seen")
class Deduplicates(MemoryBroker):
    def publish(self, messages):
        seen = self.__dict__.setdefault("seen", set())
        new = {each.id: each for each in messages if each.id not in seen}
        seen.update(new)
        super().publish(list(new.values()))


@breaks("B5", "settles all messages of one id together")
class SettlesById(MemoryBroker):
    def acknowledge(self, deliveries):
        super().acknowledge([other for each in deliveries for other in self._alike(each)])

    def _alike(self, delivery):
        open_entries = self._store.queue(delivery.message.queue).open.values()
        return [entry.deliver() for entry in open_entries if entry.message.id == delivery.message.id]


# Receiving


@breaks("B6", "hands out all that it has prefetched")
class Prefetches(MemoryBroker):
    def receive(self, queues, *, limit, **how):
        return super().receive(queues, limit=max(limit, 10), **how)


@breaks("B6", "takes the limit for that of each queue")
class LimitsQueues(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        found = [each for queue in queues for each in super(LimitsQueues, self).receive([queue], wait_seconds=0, **how)]
        return found or super().receive(queues, wait_seconds=wait_seconds, **how)


@breaks("B6", "takes the name of a queue for a pattern")
class MatchesNames(MemoryBroker):
    def receive(self, queues, **how):
        return super().receive([name for name in self.queues() if name.startswith(tuple(queues))] or queues, **how)


@breaks("B7", "delivers one message to two consumers that ask at once")
class LooksThenTakes(MemoryBroker):
    def receive(self, queues, *, limit, wait_seconds, hold_seconds):
        with self._store.condition:
            seen = [
                (queue, entry)
                for queue in self._store.known(queues, self._clock)
                for entry in queue.ready.smallest(limit)
            ]
        time.sleep(0.001)  # the way to the service and back
        if not seen:
            return super().receive(queues, limit=limit, wait_seconds=wait_seconds, hold_seconds=hold_seconds)
        with self._store.condition:
            until = self._clock.monotonic() + hold_seconds
            return [self._give(queue, entry, until) for queue, entry in seen[:limit]]

    def _give(self, queue, entry, until):
        queue.give_back(entry)
        entry.move(queue.ready, (-math.inf, 0))
        return queue.hand_out(1, until)[0]


@breaks("B7", "hides what is held from its own object only")
class HidesFromItself(MemoryBroker):
    def receive(self, queues, **how):
        mine = self.__dict__.setdefault("mine", set())
        with self._store.condition:
            for queue in self._store.known(queues, self._clock):
                for entry in entries(queue.held):
                    if entry.receipt not in mine:
                        queue.give_back(entry)
        found = super().receive(queues, **how)
        mine.update(each.receipt for each in found)
        return found


@breaks("B7", "holds messages for half as long as was asked")
class HoldsHalf(MemoryBroker):
    def receive(self, queues, *, hold_seconds, **how):
        return super().receive(queues, hold_seconds=hold_seconds / 2, **how)


@breaks("B8", "asks queues in the order of their names")
class SortsQueues(MemoryBroker):
    def receive(self, queues, **how):
        return super().receive(sorted(queues), **how)


@breaks("B8", "takes turns between queues")
class TakesTurns(MemoryBroker):
    calls = 0

    def receive(self, queues, **how):
        self.calls += 1
        turn = self.calls % len(queues)
        return super().receive([*queues[turn:], *queues[:turn]], **how)


@breaks("B8", "waits for the first queue before it asks the next one")
class AsksOneByOne(MemoryBroker):
    def receive(self, queues, **how):
        for queue in queues:
            if found := super().receive([queue], **how):
                return found
        return []


@orders("B9", "ignores priorities")
def ignores_priority(entry):
    return 0, entry.turn


@orders("B9", "delivers the lowest priority first")
def lowest_first(entry):
    return entry.message.priority, entry.turn


@orders("B9", "has three levels of priority and declares ten")
def three_levels(entry):
    return -(entry.message.priority * 3 // 10), entry.turn


@orders("B10", "delivers the newest message first")
def newest_first(entry):
    return -entry.message.priority, -entry.turn


@orders("B10", "swaps neighbours")
def swapped(entry):
    return -entry.message.priority, entry.turn ^ 1


@breaks("B11", "looks again only when its time is out")
class SleepsThrough(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        found = super().receive(queues, wait_seconds=0, **how)
        if found or not wait_seconds:
            return found
        threading.Event().wait(wait_seconds)
        return super().receive(queues, wait_seconds=0, **how)


@breaks("B11", "waits until it has as many as were asked for")
class FillsUp(MemoryBroker):
    def receive(self, queues, *, limit, wait_seconds, hold_seconds):
        end, found = time.monotonic() + wait_seconds, []
        while len(found) < limit and (left := end - time.monotonic()) > 0:
            found += super().receive(queues, limit=limit - len(found), wait_seconds=left, hold_seconds=hold_seconds)
        return found


@breaks("B11", "is woken by what its own object publishes and by nobody else")
class DeafToOthers(SleepsThrough):
    def receive(self, queues, *, wait_seconds, **how):
        self.woken = threading.Event()
        found = MemoryBroker.receive(self, queues, wait_seconds=0, **how)
        if not found:
            self.woken.wait(wait_seconds)
            found = MemoryBroker.receive(self, queues, wait_seconds=0, **how)
        return found

    def publish(self, messages):
        super().publish(messages)
        if hasattr(self, "woken"):
            self.woken.set()


@breaks("B12", "polls without a pause")
class PollsBusily(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        end = time.monotonic() + wait_seconds
        while not (found := super().receive(queues, wait_seconds=0, **how)) and time.monotonic() < end:
            pass
        return found


@breaks("B12", "polls with a pause of half a millisecond")
class PollsOften(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        end = self._clock.monotonic() + wait_seconds
        while not (found := super().receive(queues, wait_seconds=0, **how)) and self._clock.monotonic() < end:
            time.sleep(0.0005)
        return found


@breaks("B12", "polls busily in a thread of its own")
class PollsAside(MemoryBroker):
    def receive(self, queues, **how):
        done = threading.Event()
        threading.Thread(target=self._poll, args=(done,), daemon=True).start()
        try:
            return super().receive(queues, **how)
        finally:
            done.set()

    def _poll(self, done):
        while not done.is_set():
            self._store.condition  # noqa: B018


@breaks("B12", "returns at once with nothing")
class NeverWaits(MemoryBroker):
    def receive(self, queues, **how):
        return super().receive(queues, **{**how, "wait_seconds": 0})


@breaks("B12", "rounds the time to wait up to whole seconds")
class WaitsLonger(MemoryBroker):
    def receive(self, queues, *, wait_seconds, **how):
        return super().receive(queues, wait_seconds=math.floor(wait_seconds) + 1, **how)


@hands_out("B13", "never says that a message was handed out before")
def fresh_always(delivery):
    return evolve(delivery, redelivered=False)


@hands_out("B13", "forgets with a replay that a message was handed out")
def fresh_after_replay(delivery):
    return evolve(delivery, redelivered=delivery.delivery_count > 1)


@breaks("B13", "marks what is released and not what its consumer lost")
class MarksReleased(MemoryBroker):
    def release(self, deliveries, **how):
        self.__dict__.setdefault("released", set()).update(each.message.id for each in deliveries)
        super().release(deliveries, **how)

    def receive(self, queues, **how):
        released = self.__dict__.get("released", set())
        return [evolve(each, redelivered=each.message.id in released) for each in super().receive(queues, **how)]


@hands_out("B14", "counts deliveries from zero")
def counts_from_zero(delivery):
    return evolve(delivery, delivery_count=delivery.delivery_count - 1)


@hands_out("B14", "counts every delivery as the first")
def counts_one(delivery):
    return evolve(delivery, delivery_count=1)


@breaks("B14", "begins to count anew with a release")
class ForgetsCounts(MemoryBroker):
    def release(self, deliveries, **how):
        for each in deliveries:
            if entry := self._store.queue(each.message.queue).open.get(each.receipt):
                entry.deliveries = 0
        super().release(deliveries, **how)


# Settling


@breaks("B15", "redelivers acknowledged messages when their hold ends")
class AcknowledgesInVain(MemoryBroker):
    def acknowledge(self, deliveries):
        pass


@breaks("B15", "removes another message than the one that is acknowledged")
class AcknowledgesTheOldest(MemoryBroker):
    def acknowledge(self, deliveries):
        for each in deliveries:
            held = entries(self._store.queue(each.message.queue).held)
            super().acknowledge([entry.deliver() for entry in held[-1:]])


@breaks("B15", "gives back at close what was acknowledged too")
class GivesBackAll(MemoryBroker):
    def acknowledge(self, deliveries):
        self.__dict__.setdefault("done", []).extend(each.message for each in deliveries)
        super().acknowledge(deliveries)

    def close(self):
        self.publish(self.__dict__.pop("done", []))
        super().close()


@breaks("B15", "ignores an acknowledgement after the hold has ended")
class Strict(MemoryBroker):
    def acknowledge(self, deliveries):
        self.sizes([each.message.queue for each in deliveries])
        held = {entry.receipt for each in deliveries for entry in entries(self._store.queue(each.message.queue).held)}
        super().acknowledge([each for each in deliveries if each.receipt in held])


@breaks("B16", "acknowledges at receipt")
class PopsMessages(MemoryBroker):
    def receive(self, queues, **how):
        found = super().receive(queues, **how)
        super().acknowledge(found)
        return found


@breaks("B16", "holds messages for ever")
class HoldsForEver(MemoryBroker):
    def receive(self, queues, *, hold_seconds, **how):
        return super().receive(queues, hold_seconds=hold_seconds + 1e6, **how)


@breaks("B16", "notices the end of a hold only when somebody asks anew")
class SleepsOverHolds(MemoryBroker):
    def _seconds_to_change(self, names):
        return math.inf


@breaks("B17", "says of every message that it is still held")
class SaysYes(MemoryBroker):
    def extend(self, deliveries, **how):
        return [True for _ in super().extend(deliveries, **how)]


@breaks("B17", "says that it has prolonged holds and does not")
class ProlongsNothing(MemoryBroker):
    def extend(self, deliveries, *, hold_seconds):
        return [each.receipt in self._store.queue(each.message.queue).open for each in deliveries]


@breaks("B17", "adds to the hold what is to be counted from now")
class AddsUp(MemoryBroker):
    def _extend(self, delivery, until):
        entry = self._store.queue(delivery.message.queue).open.get(delivery.receipt)
        left = 0 if entry is None else max(0.0, entry.key[0] - self._clock.monotonic())
        return super()._extend(delivery, until + left)


@breaks("B17", "prolongs no more after the first that is lost")
class StopsExtending(MemoryBroker):
    lost = False

    def extend(self, deliveries, **how):
        told = super().extend(deliveries, **how)
        return told if all(told) else [*told[: told.index(False)], *[False] * (len(told) - told.index(False))]


@breaks("B18", "forgets the delay of a release")
class ForgetsDelay(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries)


@breaks("B18", "rounds the delay of a release to whole seconds")
class RoundsDelay(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().release(deliveries, delay_seconds=int(delay_seconds))


@breaks("B18", "drops what is released")
class DropsReleased(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        super().acknowledge(deliveries)


@breaks("B18", "lets the hold end by itself in place of a release")
class LeavesItHeld(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        if delay_seconds:
            super().release(deliveries, delay_seconds=delay_seconds)


@breaks("B18", "loses the headers of what is released")
class RepublishesBare(MemoryBroker):
    def release(self, deliveries, *, delay_seconds=0.0):
        self.acknowledge(deliveries)
        eta = time.time() + delay_seconds
        self.publish([evolve(each.message, headers={}, eta=eta) for each in deliveries])


@breaks("B18", "wakes nobody when it releases")
class ReleasesQuietly(SleepsThrough):
    pass


def late(method, name):
    """A broker that settles by the message and not by its delivery, so that it is never too late."""

    class Late(MemoryBroker):
        def present(self, delivery):
            for entry in self._store.queue(delivery.message.queue).open.values():
                if entry.message.id == delivery.message.id:
                    return evolve(delivery, receipt=entry.receipt)
            return delivery

    def settle(self, deliveries, **how):
        pairs = method == "dead_letter"
        present = [(self.present(each[0]), each[1]) if pairs else self.present(each) for each in deliveries]
        return getattr(MemoryBroker, method)(self, present, **how)

    setattr(Late, method, settle)
    breaks("B19", name)(Late)


late("acknowledge", "lets a late worker acknowledge")
late("release", "lets a late worker release")
late("dead_letter", "lets a late worker put a message aside")
late("extend", "lets a late worker prolong its hold")


@breaks("B19", "fails when it is too late")
class RefusesLate(MemoryBroker):
    def acknowledge(self, deliveries):
        for each in deliveries:
            if each.receipt not in self._store.queue(each.message.queue).open:
                raise ServiceRefused("PRECONDITION_FAILED: unknown delivery tag")
        super().acknowledge(deliveries)


@breaks("B20", "fails when something is settled twice")
class RefusesTwice(RefusesLate):
    pass


@breaks("B20", "puts a message back twice that is released twice")
class ReleasesTwice(MemoryBroker):
    def release(self, deliveries, **how):
        seen = self.__dict__.setdefault("seen", set())
        again = [each.message for each in deliveries if each.receipt in seen]
        seen.update(each.receipt for each in deliveries)
        super().release(deliveries, **how)
        self.publish(again)


@breaks("B20", "keeps a dead letter for each time that it was put aside")
class BuriesTwice(MemoryBroker):
    def dead_letter(self, letters):
        for delivery, reason in letters:
            queue = self._store.queue(delivery.message.queue)
            super().dead_letter([(delivery, reason)])
            if delivery.message.id not in [letter.message.id for letter in queue.dead[-1:]] or len(letters) > 1:
                self._again(delivery, reason)

    def _again(self, delivery, reason):
        self.publish([delivery.message])
        with self._store.condition:
            super().dead_letter([(each, reason) for each in self._take([delivery.message.queue], 1, 60)])


@breaks("B21", "stops at the first of a batch that it does not know")
class StopsSettling(MemoryBroker):
    def acknowledge(self, deliveries):
        for each in deliveries:
            if each.receipt not in self._store.queue(each.message.queue).open:
                return
            super().acknowledge([each])


@breaks("B21", "settles nothing when it does not know one of a batch")
class AllOrNothing(MemoryBroker):
    def release(self, deliveries, **how):
        if all(each.receipt in self._store.queue(each.message.queue).open for each in deliveries):
            super().release(deliveries, **how)


@breaks("B21", "settles the first ten of a batch")
class SettlesTen(MemoryBroker):
    def acknowledge(self, deliveries):
        super().acknowledge(deliveries[:10])

    def release(self, deliveries, **how):
        super().release(deliveries[:10], **how)


# Delays


@publishes("B22", "rounds an ETA down to whole seconds")
def rounds_down(message):
    return message if message.eta is None else evolve(message, eta=float(math.floor(message.eta)))


@publishes("B22", "lets messages go when they are due with its next tick")
def early_by_a_tick(message):
    return message if message.eta is None else evolve(message, eta=message.eta - 0.05)


@publishes("B22", "takes no notice of an ETA")
def ignores_eta(message):
    return evolve(message, eta=None)


@breaks("B23", "looks once in a second for what is due")
class LooksSeldom(MemoryBroker):
    def _seconds_to_change(self, names):
        return 1.0


@breaks("B23", "lets one message go at each tick")
class OneAtATick(MemoryBroker):
    def receive(self, queues, *, limit, **how):
        found = super().receive(queues, limit=1, **how)
        time.sleep(0.05)
        return found


@publishes("B23", "rounds an ETA up to whole seconds and declares a twentieth of one")
def rounds_up(message):
    return message if message.eta is None else evolve(message, eta=float(math.ceil(message.eta)) + 1)


@orders("B24", "lets those go first that became due last")
def newest_due_first(entry):
    return -entry.message.priority, entry.turn if entry.message.eta is None else -entry.turn


@breaks("B24", "delivers delayed messages in the order in which they were published")
class FirstInFirstOut(MemoryBroker):
    def publish(self, messages):
        for each in messages:
            due = max(each.eta or 0.0, self.__dict__.get("latest", 0.0))
            self.latest = due if each.queue == "q" else self.__dict__.get("latest", 0.0)
            super().publish([evolve(each, eta=due)])


@breaks("B25", "lets a short delay wait behind a longer one")
class HeadOfLine(MemoryBroker):
    def publish(self, messages):
        latest = self.__dict__.setdefault("latest", {})
        for each in messages:
            if each.eta is not None:
                latest[each.queue] = max(each.eta, latest.get(each.queue, 0.0))
            super().publish([each if each.eta is None else evolve(each, eta=latest[each.queue])])


@breaks("B25", "lets what is ready wait behind what is delayed")
class OneLine(HeadOfLine):
    def publish(self, messages):
        latest = self.__dict__.setdefault("latest", {})
        for each in messages:
            latest[each.queue] = max(each.eta or 0.0, latest.get(each.queue, 0.0))
            MemoryBroker.publish(self, [evolve(each, eta=latest[each.queue])])


def delays(clause, name):
    """Mark a function from the delay of a message to the one that it has."""

    def mark(change):
        @publishes(clause, name)
        def delayed(message):
            now = time.time()
            return message if message.eta is None else evolve(message, eta=now + change(message.eta - now))

        return change

    return mark


@delays("B26", "takes a delay below one second for none")
def to_zero(delay):
    return float(int(delay))


@delays("B26", "takes a delay below one second for one without end")
def to_never(delay):
    return delay if int(delay) else 1e9


@delays("B26", "counts milliseconds in 32 bits")
def wraps(delay):
    return ((int(delay * 1000) + 2**31) % 2**32 - 2**31) / 1000


@delays("B26", "takes an ETA in the past for one without end")
def past_is_never(delay):
    return delay if delay > 0 else 1e9


@publishes("B27", "loses the headers of delayed messages")
def bare_when_delayed(message):
    return message if message.eta is None else evolve(message, headers={})


@publishes("B27", "keeps delayed bodies as text")
def text_when_delayed(message):
    return message if message.eta is None else decoded(message)


@publishes("B27", "gives delayed messages the lowest priority")
def low_when_delayed(message):
    return message if message.eta is None else evolve(message, priority=0)


@breaks("B27", "counts the end of a delay as a delivery")
class PromotesByReceiving(MemoryBroker):
    def receive(self, queues, **how):
        return [
            each if each.message.eta is None else evolve(each, delivery_count=each.delivery_count + 1)
            for each in super().receive(queues, **how)
        ]


# Dead letters


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
            return [change(each) for each in found] if place is Place.DEAD else found

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
            if place is not Place.DEAD:
                return super().peek(queue, place, limit=limit)
            return change(super().peek(queue, place, limit=10**6))[:limit]

    breaks("B29", name)(Showing)


shows_dead("shows the newest dead letters first", lambda dead: dead[::-1])
shows_dead("shows dead letters by their ids", lambda dead: sorted(dead, key=lambda each: each.id))


@breaks("B29", "looks at dead letters by taking one off and putting it at the end")
class RotatesDead(MemoryBroker):
    def peek(self, queue, place, *, limit):
        found = super().peek(queue, place, limit=limit)
        if place is Place.DEAD and found:
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


# Looking


def measures(name, change):
    class Measuring(MemoryBroker):
        def sizes(self, queues):
            return change(super().sizes(queues))

    breaks("B31", name)(Measuring)


def each_size(change):
    return lambda told: {name: change(sizes) for name, sizes in told.items()}


measures("counts what is held as ready", each_size(lambda s: evolve(s, ready=s.ready + s.held)))
measures("counts what is delayed as ready", each_size(lambda s: evolve(s, ready=s.ready + s.delayed, delayed=0)))
measures("tells no sizes of the dead", each_size(lambda s: evolve(s, dead=0)))
measures("leaves out queues that were never used", lambda t: {k: v for k, v in t.items() if any((v.ready, v.held))})
measures(
    "adds up all queues",
    lambda t: dict.fromkeys(t, QueueSizes(ready=sum(v.ready for v in t.values()), delayed=0, held=0, dead=0)),
)


@breaks("B31", "notices what is due only when somebody receives")
class CountsWithoutLooking(MemoryBroker):
    def sizes(self, queues):
        return {name: self._store.queue(name).sizes() for name in queues}


def peeks(clause, name):
    def mark(peek):
        class Peeking(MemoryBroker):
            def peek(self, queue, place, *, limit):
                return peek(self, super(), queue, place, limit)

        breaks(clause, name)(Peeking)
        return peek

    return mark


@peeks("B32", "shows messages in the order in which they were published")
def in_order_of_ids(broker, correct, queue, place, limit):
    return sorted(correct.peek(queue, place, limit=1000), key=lambda each: each.id)[:limit]


@peeks("B32", "shows delayed messages as they lie")
def as_they_lie(broker, correct, queue, place, limit):
    return correct.peek(queue, place, limit=1000)[::-1][:limit]


@peeks("B32", "shows all messages whatever the limit")
def all_of_them(broker, correct, queue, place, limit):
    return correct.peek(queue, place, limit=1000)


@peeks("B32", "shows delayed messages among those that are ready")
def all_places(broker, correct, queue, place, limit):
    more = correct.peek(queue, Place.DELAYED, limit=limit) if place is Place.READY else []
    return [*correct.peek(queue, place, limit=limit), *more][:limit]


@peeks("B32", "shows one message where none was asked for")
def falsy_limit(broker, correct, queue, place, limit):
    return correct.peek(queue, place, limit=limit or 1)


@peeks("B33", "looks at messages by receiving and releasing them")
def receives_and_releases(broker, correct, queue, place, limit):
    if place is Place.READY:
        broker.release(correct.receive([queue], limit=limit, wait_seconds=0, hold_seconds=30))
    return correct.peek(queue, place, limit=limit)


@peeks("B33", "puts what it has looked at behind the rest")
def puts_behind(broker, correct, queue, place, limit):
    found = correct.peek(queue, place, limit=limit)
    if place is Place.READY:
        with broker._store.condition:
            known = broker._store.queue(queue)
            for entry in known.ready.smallest(limit):
                known.add_ready(entry)
    return found


@peeks("B33", "holds for a while what it shows")
def holds_what_it_shows(broker, correct, queue, place, limit):
    found = correct.peek(queue, place, limit=limit)
    if place is Place.READY:
        correct.receive([queue], limit=limit, wait_seconds=0, hold_seconds=30)
    return found


@breaks("B33", "counts by taking everything out and putting it back")
class CountsByTaking(MemoryBroker):
    def sizes(self, queues):
        told = super().sizes(queues)
        for name in queues:
            self.release(super().receive([name], limit=1000, wait_seconds=0, hold_seconds=30))
        return told


def purges(name):
    def mark(purge):
        class Purging(MemoryBroker):
            def purge(self, queue, place):
                return purge(self, super(), queue, place)

        breaks("B34", name)(Purging)
        return purge

    return mark


@purges("purges queues whose name begins alike")
def by_prefix(broker, correct, queue, place):
    return [correct.purge(name, place) for name in reversed(broker.queues()) if name.startswith(queue)][-1:] or 0


@purges("purges held messages too")
def held_too(broker, correct, queue, place):
    known = broker._store.queue(queue)
    known.drop(known.held)
    return correct.purge(queue, place)


@purges("does not tell how many it has purged")
def tells_nothing(broker, correct, queue, place):
    correct.purge(queue, place)
    return 0


@purges("purges ready and delayed messages together")
def both_places(broker, correct, queue, place):
    if place is Place.READY:
        correct.purge(queue, Place.DELAYED)
    return correct.purge(queue, place)


@purges("cannot purge delayed messages")
def not_delayed(broker, correct, queue, place):
    return len(correct.peek(queue, place, limit=1000)) if place is Place.DELAYED else correct.purge(queue, place)


@breaks("B35", "names queues as they were first used")
class ListsUnsorted(MemoryBroker):
    def queues(self):
        return list(self._store.queues)


@breaks("B35", "forgets queues that are empty")
class ForgetsEmpty(MemoryBroker):
    def queues(self):
        return [
            name for name in super().queues() if any((self.sizes([name])[name].ready, self.sizes([name])[name].delayed))
        ]


@breaks("B35", "names only queues that were received from")
class ListsConsumed(MemoryBroker):
    def receive(self, queues, **how):
        self.__dict__.setdefault("seen", set()).update(queues)
        return super().receive(queues, **how)

    def queues(self):
        return sorted(self.__dict__.get("seen", set()))


# Life


@breaks("B36", "connects when it is made")
class ConnectsAtOnce(MemoryBroker):
    def __init__(self, name, clock):
        with suppress(OSError), socket.create_connection(("127.0.0.1", 9), timeout=0.1):
            pass
        super().__init__(name, clock)


@breaks("B36", "asks the service when it is made")
class AsksAtOnce(RemoteBroker):
    def __init__(self, name, clock, remote):
        super().__init__(name, clock, remote)
        self.ask()


@breaks("B36", "says that all is well without asking")
class AlwaysWell(RemoteBroker):
    def ping(self):
        pass


@breaks("B37", "lets all threads wait for one that receives")
class OneConnection(MemoryBroker):
    def __init__(self, name, clock):
        super().__init__(name, clock)
        self._connection = threading.Lock()

    def receive(self, queues, **how):
        with self._connection:
            return super().receive(queues, **how)

    def publish(self, messages):
        with self._connection:
            super().publish(messages)


@breaks("B37", "mixes up what several threads publish")
class SharesABuffer(MemoryBroker):
    def publish(self, messages):
        self.buffer = messages
        time.sleep(0.0002)
        super().publish(self.buffer)


@breaks("B38", "fails when it is closed twice")
class ClosesOnce(MemoryBroker):
    closed = False

    def close(self):
        if self.closed:
            raise ServiceRefused("the connection is closed already")
        self.closed = True
        super().close()


@breaks("B38", "fails when it is closed before it was used")
class ClosesUsed(MemoryBroker):
    used = False

    def publish(self, messages):
        self.used = True
        super().publish(messages)

    def close(self):
        if not self.used:
            raise AttributeError("'NoneType' object has no attribute 'close'")
        super().close()


@breaks("B38", "wakes nobody when it is closed")
class ClosesQuietly(MemoryBroker):
    def close(self):
        pass


@breaks("B38", "lets a receive fail when it is closed")
class FailsWhenClosed(MemoryBroker):
    closed = False

    def close(self):
        self.closed = True
        super().close()

    def receive(self, queues, **how):
        found = super().receive(queues, **how)
        if self.closed:
            raise ServiceUnavailable("the connection was closed")
        return found


@breaks("B38", "wakes with nothing the receives of others when it is closed and drops their queues")
class ClosesForAll(MemoryBroker):
    def close(self):
        super().close()
        for queue in self._store.queues.values():
            queue.drop(queue.ready)


@breaks("B39", "shares its state between namespaces")
class OneNamespace(MemoryBroker):
    def __init__(self, name, clock):
        super().__init__("the-only-one", clock)


_KEPT = MemoryBroker("the-only-dead", time)  # type: ignore[arg-type]


@breaks("B39", "keeps the dead letters of all namespaces together")
class OneGrave(MemoryBroker):
    def dead_letter(self, letters):
        super().dead_letter(letters)
        for delivery, _ in letters:
            name = delivery.message.queue
            _KEPT._store.queue(name).dead += self._store.queue(name).dead
            self._store.queue(name).dead = _KEPT._store.queue(name).dead

    def peek(self, queue, place, *, limit):
        if place is Place.DEAD:
            return [letter.shown() for letter in _KEPT._store.queue(queue).dead][:limit]
        return super().peek(queue, place, limit=limit)


@breaks("B39", "gives every object a place of its own")
class Private(MemoryBroker):
    def __init__(self, name, clock):
        super().__init__("", clock)


def recovers(name):
    """Mark a function that says what becomes of a queue when the service is started again."""

    def mark(lose):
        class Recovering(RemoteBroker):
            @staticmethod
            def recover(store):
                for queue in store.queues.values():
                    lose(queue)

        breaks("B40", name)(Recovering)
        return lose

    return mark


@recovers("drops delayed messages at a restart")
def drops_delayed(queue):
    queue.drop(queue.delayed)


@recovers("drops ready messages at a restart")
def drops_ready(queue):
    queue.drop(queue.ready)


@recovers("loses what was held at a crash")
def drops_held(queue):
    queue.drop(queue.held)


@recovers("drops dead letters at a restart")
def drops_dead(queue):
    queue.drop_dead()


@recovers("lets delayed messages go at a restart")
def releases_delayed(queue):
    for entry in entries(queue.delayed):
        queue.add_ready(entry)


@breaks("B40", "brings acknowledged messages back at a restart")
class ForgetsAcknowledgements(RemoteBroker):
    done = WeakKeyDictionary()

    def acknowledge(self, deliveries):
        super().acknowledge(deliveries)
        self.done.setdefault(self._store, []).extend(each.message for each in deliveries)

    @classmethod
    def recover(cls, store):
        for message in cls.done.pop(store, []):
            store.queue(message.queue).add_ready(_Entry(message))


@breaks("B41", "says that there is nothing while the service is away")
class SaysNothing(RemoteBroker):
    def receive(self, queues, **how):
        with suppress(ServiceUnavailable):
            return super().receive(queues, **how)
        return []


@breaks("B41", "takes messages while the service is away and loses them")
class LosesPublished(RemoteBroker):
    def publish(self, messages):
        with suppress(ServiceUnavailable):
            super().publish(messages)


@breaks("B41", "never works again once it has lost its connection")
class NeverReconnects(RemoteBroker):
    lost = False

    def ask(self):
        self.lost = self.lost or not self.remote.up
        if self.lost:
            raise ServiceUnavailable("the connection is lost") from ConnectionResetError()
        super().ask()


@breaks("B41", "refuses where it should say that the service is away")
class Refuses(RemoteBroker):
    def ask(self):
        try:
            super().ask()
        except ServiceUnavailable as error:
            raise ServiceRefused("the service is away") from error


@breaks("B41", "waits for ever for an answer when the service goes away")
class HangsUp(RemoteBroker):
    def receive(self, queues, *, wait_seconds, **how):
        found = MemoryBroker.receive(self, queues, wait_seconds=wait_seconds, **how)
        if not self.remote.up or self.__dict__.get("hung"):
            self.hung = True
            threading.Event().wait(4)
        return found


@breaks("B42", "lets the error of its client through")
class Leaks(RemoteBroker):
    def ask(self):
        self.remote.answer()


@breaks("B42", "does not chain its errors")
class Unchained(RemoteBroker):
    def ask(self):
        if not self.remote.up:
            raise ServiceUnavailable("the service is away")


@breaks("B42", "shows the password of its URL")
class ShowsPassword(RemoteBroker):
    def ask(self):
        self.remote.shown = "memory://user:s3cret@service"
        super().ask()


@publishes("B42", "lets an error through when a time is too large")
def milliseconds(message):
    return message if message.eta is None else evolve(message, eta=int(message.eta * 1000) / 1000)


@publishes("B42", "lets an error through when a text cannot be encoded")
def encoded(message):
    return evolve(message, id=message.id.encode().decode())


@breaks("B43", "keeps for ever what it held when it is closed")
class KeepsHeld(MemoryBroker):
    def close(self):
        super().close()
        for queue in self._store.queues.values():
            for entry in entries(queue.held):
                queue.hold(entry, math.inf)


@breaks("B43", "drops what it held when it is closed")
class DropsHeld(MemoryBroker):
    def close(self):
        super().close()
        for queue in self._store.queues.values():
            queue.drop(queue.held)


@breaks("B43", "puts aside what it held when it is closed")
class BuriesHeld(MemoryBroker):
    def close(self):
        for queue in self._store.queues.values():
            self.dead_letter([(entry.deliver(), "its consumer was closed") for entry in entries(queue.held)])
        super().close()


MUTANTS: tuple[Mutant, ...] = tuple(_FOUND)
