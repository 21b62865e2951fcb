"""Core's own serializer and retry policies are certified, by the file that a third party would write."""

from drivetrain_contract_tests import PolicyUnderTest, RetryPolicyContract, SerializerContract


class TestJson(SerializerContract):
    serializer = "json"


class TestNever(RetryPolicyContract):
    policy = PolicyUnderTest(name="never", bad=[{"seconds": 1}])


class TestFixed(RetryPolicyContract):
    policy = PolicyUnderTest(
        name="fixed",
        good=[{"seconds": 0}, {"seconds": 0.5}, {"seconds": 86400}],
        bad=[{}, {"seconds": -1}, {"seconds": None}, {"seconds": True}],
        cap="seconds",
    )


class TestExponential(RetryPolicyContract):
    policy = PolicyUnderTest(
        name="exponential",
        good=[{}, {"base": 0.001, "factor": 1000, "cap": 30, "jitter": 1}, {"base": 5, "factor": 1, "jitter": 0}],
        bad=[{"base": -1}, {"base": 0}, {"factor": 0.5}, {"jitter": 1.5}, {"jitter": -0.1}, {"cap": 0}, {"bse": 1}],
        cap="cap",
    )


class TestFibonacci(RetryPolicyContract):
    policy = PolicyUnderTest(
        name="fibonacci",
        good=[{}, {"start": 4}, {"start": 0, "cap": 0.5}, {"start": 10, "cap": 1000}],
        bad=[{"start": -1}, {"cap": 0}, {"cap": None}],
        cap="cap",
    )


class TestIntervals(RetryPolicyContract):
    policy = PolicyUnderTest(
        name="intervals",
        good=[{"seconds": [0]}, {"seconds": [1, 2.5, 10]}],
        bad=[{}, {"seconds": []}, {"seconds": [-1]}, {"seconds": 5}, {"seconds": ["1"]}, {"seconds": [1, None]}],
    )
