"""Slots that move from node to node, and nodes that go away and come back."""

from contextlib import contextmanager

import pytest
from redis.crc import key_slot
from redis.exceptions import AskError, MovedError

from drivetrain.contract import DriverContext, Message, ServiceUnavailable, State, Transition
from drivetrain_redis import make_backend, make_broker
from drivetrain_redis.keys import Keys
from support.waiting import until


@pytest.fixture
def cluster_url(redis_cluster, prefix):
    return f"{redis_cluster.url}?durability=none&namespace={prefix}&call_timeout_seconds=5"


def nodes_by_id(redis_cluster):
    found = {}
    for node in redis_cluster.nodes:
        with node.client() as client:
            found[client.execute_command("CLUSTER MYID").decode()] = node
    return found


def owner(redis_cluster, slot):
    """The names of the node that has a slot, and of another one."""
    nodes = nodes_by_id(redis_cluster)
    with redis_cluster.nodes[0].client() as client:
        ranges = client.execute_command("CLUSTER SLOTS")
    ports = {node.port: name for name, node in nodes.items()}
    mine = next(ports[each[2][1]] for each in ranges if each[0] <= slot <= each[1])
    return mine, next(name for name in nodes if name != mine)


def wish(task_id, **fields):
    return Transition(task_id=task_id, state=State.PENDING, at=1.0, **fields)


@pytest.fixture
def task_id(redis_cluster, prefix):
    """Its slot holds no key of another test: a slot that holds some cannot be given to another node."""
    for node in redis_cluster.nodes:
        with node.client() as client:
            client.flushall()
    return f"task of {prefix}"


def test_calls_follow_a_slot_while_it_moves_and_afterwards(redis_cluster, cluster_url, prefix, task_id):
    backend = make_backend(cluster_url, DriverContext())
    key = Keys(prefix).task(task_id)
    slot = key_slot(key)
    backend.record([wish("other")])  # where the slots are is known before one moves
    mine, target = owner(redis_cluster, slot)
    nodes = nodes_by_id(redis_cluster)
    with nodes[mine].client() as source, nodes[target].client() as importing:
        importing.script_flush()
        importing.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", mine)
        source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target)
        # What is not there any more is asked for at the new node, for this once.
        assert list(backend.read([task_id])) == [None]
        # What needs several keys, some of which may be here and some there, waits until the slot has moved.
        with pytest.raises(ServiceUnavailable, match="moving"):
            backend.record([wish(task_id, task="early")])
        assert source.execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 0
        assert importing.execute_command("CLUSTER COUNTKEYSINSLOT", slot) == 0
        for client in (importing, source):
            client.execute_command("CLUSTER SETSLOT", slot, "NODE", target)
        # Sent to the old node, which says where it is now; the new one does not know the script.
        (outcome,) = backend.record([wish(task_id, task="first")])
        assert outcome.applied
        assert importing.exists(key)
        (record,) = backend.read([task_id])
        assert record.task == "first"
    until(redis_cluster.is_whole, "the cluster is whole")
    backend.close()


@contextmanager
def without_hosts(redis_cluster):
    """The nodes name no host in their answers, as behind a port forwarding: a client is to use the one it knows."""
    setting = "cluster-preferred-endpoint-type"
    for node in redis_cluster.nodes:
        with node.client() as client:
            client.config_set(setting, "unknown-endpoint")
    yield
    for node in redis_cluster.nodes:
        with node.client() as client:
            client.config_set(setting, "ip")


def test_a_redirection_without_a_host_leads_to_the_host_that_answered(redis_cluster, cluster_url, prefix, task_id):
    backend = make_backend(cluster_url, DriverContext())
    slot = key_slot(Keys(prefix).task(task_id))
    with without_hosts(redis_cluster):
        backend.record([wish("other")])  # the slots are read, and no node has a host
        mine, target = owner(redis_cluster, slot)
        nodes = nodes_by_id(redis_cluster)
        with nodes[mine].client() as source, nodes[target].client() as importing:
            importing.execute_command("CLUSTER SETSLOT", slot, "IMPORTING", mine)
            source.execute_command("CLUSTER SETSLOT", slot, "MIGRATING", target)
            with pytest.raises(AskError, match=f"^{slot} :{nodes[target].port}$"):
                source.get(Keys(prefix).task(task_id))
            assert list(backend.read([task_id])) == [None]
            for client in (importing, source):
                client.execute_command("CLUSTER SETSLOT", slot, "NODE", target)
            with pytest.raises(MovedError, match=f"^{slot} :{nodes[target].port}$"):
                source.get(Keys(prefix).task(task_id))
        (outcome,) = backend.record([wish(task_id)])
        assert outcome.applied
        assert backend.read([task_id])[0] is not None
    until(redis_cluster.is_whole, "the cluster is whole")
    backend.close()


def test_a_lost_node_is_reported_and_found_again(redis_cluster, cluster_url, prefix):
    broker = make_broker(cluster_url, DriverContext())
    broker.publish([Message(id="m", queue="q", body=b"")])
    mine, _ = owner(redis_cluster, key_slot(Keys(prefix).queue("q")))
    node = nodes_by_id(redis_cluster)[mine]
    node.process.kill()
    with pytest.raises(ServiceUnavailable):
        broker.sizes(["q"])
    node.process.start()
    until(redis_cluster.is_whole, "the cluster is whole again")

    def works():
        try:
            broker.publish([Message(id="m", queue="q", body=b"")])
        except ServiceUnavailable:
            return False
        return True

    until(works, "the same object works again")
    assert broker.receive(["q"], limit=1, wait_seconds=5, hold_seconds=5)
    broker.close()
