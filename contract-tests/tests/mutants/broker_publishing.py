"""Brokers that break clauses B1 to B5."""

from __future__ import annotations

from drivetrain.contract import ServiceRefused, TooLarge, evolve
from drivetrain.drivers.memory.broker import MemoryBroker
from mutants.broker_base import breaks, entries, publishes

__all__ = ["Limited", "decoded"]


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
