"""How many processors nothing uses, from the files of Linux and of a control group."""

import pytest

from drivetrain.cli.free_processors import ProcessorMeter


class System:
    """A machine with four processors, whose counters the test sets."""

    def __init__(self):
        self.now = 0.0
        self.files = {}

    def idle(self, idle, total, group=None):
        self.files["/proc/stat"] = f"cpu  {total - idle} 0 0 {idle} 0 0 0 0 7 0\ncpu0 1 1 1 1\n"
        if group is not None:
            self.files["/sys/fs/cgroup/cpu.stat"] = f"usage_usec {group}\nuser_usec 3\n"

    def read(self, path):
        try:
            return self.files[path]
        except KeyError:
            raise FileNotFoundError(path) from None

    def meter(self):
        return ProcessorMeter(read=self.read, clock=lambda: self.now, processors=4)


@pytest.fixture
def system():
    return System()


def test_the_idle_part_of_the_machine_counts(system):
    system.idle(100, 1000)
    meter = system.meter()
    system.idle(400, 1400)
    assert meter.free() == pytest.approx(3.0)
    system.idle(400, 1800)
    assert meter.free() == 0.0


def test_a_container_may_have_fewer(system):
    system.idle(0, 1000, group=0)
    system.files["/sys/fs/cgroup/cpu.max"] = "150000 100000\n"
    meter = system.meter()
    system.idle(400, 1400, group=2_000_000)
    system.now = 2.0
    assert meter.free() == pytest.approx(0.5)


def test_a_group_without_a_limit_has_the_machine(system):
    system.idle(0, 1000, group=0)
    system.files["/sys/fs/cgroup/cpu.max"] = "max 100000\n"
    meter = system.meter()
    system.idle(200, 1400, group=2_000_000)
    system.now = 2.0
    assert meter.free() == pytest.approx(2.0)


def test_elsewhere_the_load_of_the_last_minute_counts(system, monkeypatch):
    monkeypatch.setattr("os.getloadavg", lambda: (1.5, 0.0, 0.0), raising=False)
    assert system.meter().free() == pytest.approx(2.5)
    monkeypatch.delattr("os.getloadavg")
    assert system.meter().free() is None


@pytest.mark.parametrize("text", ["", "cpu\n", "cpu a b c d e\n", "cpu 1 2 3\n"])
def test_an_unknown_file_is_ignored(system, monkeypatch, text):
    monkeypatch.delattr("os.getloadavg", raising=False)
    system.files = {"/proc/stat": text, "/sys/fs/cgroup/cpu.stat": "x y\n"}
    meter = system.meter()
    assert meter.free() is None


def test_it_reads_this_system():
    free = ProcessorMeter().free()
    assert free is None or free >= 0
