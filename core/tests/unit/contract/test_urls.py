"""`drivetrain.contract.urls`: taking URLs apart, and showing them without their secrets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivetrain.contract import ConfigurationError, DriverUrl, Host, redact


class TestParse:
    def test_all_parts(self):
        parts = DriverUrl.parse("redis://user:pw@h1:1,h2:2/a%20b?x=1&y=&z=%26")
        assert parts.scheme == "redis"
        assert parts.netloc == "user:pw@h1:1,h2:2"
        assert parts.path == "/a b"
        assert parts.options == {"x": "1", "y": "", "z": "&"}

    def test_nothing_but_a_scheme(self):
        assert DriverUrl.parse("memory://") == DriverUrl(scheme="memory", netloc="", path="", options={})

    def test_an_absolute_path(self):
        assert DriverUrl.parse("sqlite:////var/lib/work.db").path == "//var/lib/work.db"

    @pytest.mark.parametrize("url", ["", "memory", "redis:host", "/var/work.db", "user:secret@host", "://host"])
    def test_a_text_that_is_not_a_url(self, url):
        with pytest.raises(ConfigurationError, match="is not a driver URL") as caught:
            DriverUrl.parse(url)
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("url", "user", "password", "hosts"),
        [
            ("redis://host", None, None, "host"),
            ("redis://user@host", "user", None, "host"),
            ("redis://:p%40ss@host", "", "p@ss", "host"),
            ("redis://u%3As:p%3Aw@a,b:1", "u:s", "p:w", "a,b:1"),
            ("redis://user:@host", "user", "", "host"),
        ],
    )
    def test_user_and_password(self, url, user, password, hosts):
        parts = DriverUrl.parse(url)
        assert (parts.user, parts.password, parts.hosts_text) == (user, password, hosts)

    def test_many_hosts_with_addresses(self):
        assert DriverUrl.parse("redis+cluster://u:p@a,[::1]:7").hosts(port=1) == ((Host("a", 1), Host("::1", 7)), [])

    @pytest.mark.parametrize(
        ("url", "encoded"),
        [
            ("redis://:S3CR3T/S3CR3T@host:1/0", "%2F"),
            ("redis://:S3CR3T?S3CR3T@host:1/0", "%3F"),
            ("redis://:S3CR3T?a=S3CR3T@host:1/0", "%3F"),
            ("redis://:S3CR3T?a=1&S3CR3T@host:1/0", "%3F"),
            ("redis://:S3CR3T#S3CR3T@host:1/0", "%23"),
            ("redis://:S3CR3T@S3CR3T/S3CR3T@host:1/0", "%2F"),
            ("redis://:S3CR3T[S3CR3T/@host", "%2F"),
        ],
    )
    def test_a_password_that_ends_the_host_is_reported_and_not_shown(self, url, encoded):
        with pytest.raises(ConfigurationError, match=encoded) as caught:
            DriverUrl.parse(url)
        assert "S3CR3T" not in str(caught.value)

    @pytest.mark.parametrize(
        "url", ["sqlite:///a@b.db", "mongodb://u:p@host/db?appName=@account@", "redis://u:p@ss@host/0"]
    )
    def test_an_at_that_can_only_be_meant_so_is_taken(self, url):
        DriverUrl.parse(url)

    def test_an_option_twice(self):
        with pytest.raises(ConfigurationError, match="twice") as caught:
            DriverUrl.parse("redis://:secret@host?token=hidden1&token=hidden2")
        assert "secret" not in str(caught.value)
        assert "hidden" not in str(caught.value)

    def test_repr_shows_no_secret(self):
        shown = repr(DriverUrl.parse("redis://user:secret@host:1/0?token=hidden"))
        assert shown == "DriverUrl(redis://***@host:1/0?token=…)"


class TestRedact:
    @pytest.mark.parametrize(
        ("url", "shown"),
        [
            ("memory://", "memory://"),
            ("redis://host:6379/0", "redis://host:6379/0"),
            ("redis://user:secret@host/0", "redis://***@host/0"),
            ("redis://:secret@host/0", "redis://***@host/0"),
            ("redis://secret@host/0", "redis://***@host/0"),
            ("redis://u:se/cr@et@host/0", "redis://***@host/0"),
            ("redis://@host/0", "redis://host/0"),
            ("sqs://key:secret@region?token=secret&wait=20", "sqs://***@region?token=…&wait=…"),
            ("amqp://host?password=secret", "amqp://host?password=…"),
            ("user:secret@host", "***"),
            ("work.db", "work.db"),
            ("", ""),
        ],
    )
    def test_cases(self, url, shown):
        assert redact(url) == shown

    # Any sign but those that end the part of a URL in which user and password stand.
    @given(st.text(st.characters(exclude_characters="?#", codec="utf-8"), max_size=20))
    def test_no_password_is_ever_shown(self, password):
        shown = redact(f"redis://user:S3CR3T{password}S3CR3T@host/0?token=S3CR3T")
        assert shown == "redis://***@host/0?token=…"
