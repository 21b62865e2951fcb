"""TLS: which servers the driver trusts, which certificate it shows, and its errors."""

import pytest

from drivetrain.contract import ConfigurationError, DriverContext, ServiceError, ServiceUnavailable
from drivetrain_redis import make_broker
from services.redis import Certificates, RedisServer


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Certificates(tmp_path_factory.mktemp("certificates") / "ours")


@pytest.fixture(scope="module")
def strict(made, tmp_path_factory):
    """A server that wants to see a certificate of its clients."""
    options = [*made.options[:-1], "yes", "--bind", "127.0.0.1", "127.0.0.2"]
    shown = {"ssl_certfile": str(made.certificate), "ssl_keyfile": str(made.key)}
    server = RedisServer(
        tmp_path_factory.mktemp("strict"),
        durable=False,
        options=tuple(options),
        listens=False,
        ssl=True,
        ssl_ca_certs=str(made.authority),
        **shown,
    )
    server.process.start()
    yield server
    server.process.kill()


def broker_of(url, **options):
    return make_broker(f"{url}&durability=none", DriverContext(options=options))


def test_a_certificate_is_shown_to_a_server_that_wants_one(strict, made):
    url = f"rediss://localhost:{strict.port}?ca_file={made.authority}"
    broker = broker_of(f"{url}&cert_file={made.certificate}&key_file={made.key}")
    broker.ping()
    broker.close()
    with pytest.raises(ServiceUnavailable):
        broker_of(url).ping()


def test_an_app_passes_the_authority_as_data(strict, made):
    url = f"rediss://localhost:{strict.port}?cert_file={made.certificate}&key_file={made.key}"
    with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
        broker_of(url).ping()
    broker = broker_of(url, ssl_ca_data=made.authority.read_text())
    broker.ping()
    broker.close()


def test_a_certificate_that_ocsp_cannot_check_is_refused_where_the_url_asks_for_it(strict, made):
    files = f"ca_file={made.authority}&cert_file={made.certificate}&key_file={made.key}"
    # Our authority offers no OCSP; and redis-py can only ask with the package cryptography.
    with pytest.raises(ServiceError, match="AIA|pip install"):
        broker_of(f"rediss://localhost:{strict.port}?{files}&verify_ocsp=true").ping()


def test_a_server_with_an_untrusted_authority_gets_no_requests(strict, tmp_path):
    other = Certificates(tmp_path / "others")
    with pytest.raises(ServiceUnavailable, match="certificate verify failed"):
        broker_of(f"rediss://localhost:{strict.port}?ca_file={other.authority}").ping()


def test_a_host_name_missing_in_the_certificate_is_refused_unless_the_check_is_off(strict, made):
    # 127.0.0.2 is the same machine, and not in the certificate.
    files = f"ca_file={made.authority}&cert_file={made.certificate}&key_file={made.key}"
    url = f"rediss://127.0.0.2:{strict.port}?{files}"
    with pytest.raises(ServiceUnavailable, match="127.0.0.2"):
        broker_of(url).ping()
    for option in ("verify_hostname=false", "verify=false"):
        broker = broker_of(f"{url}&{option}")
        broker.ping()
        broker.close()


def test_files_that_cannot_be_used_are_named(strict, made, tmp_path):
    for wrong in (f"ca_file={tmp_path}/none.crt", f"cert_file={made.key}"):
        with pytest.raises(ConfigurationError, match=wrong.partition("=")[2]):
            broker_of(f"rediss://localhost:{strict.port}?{wrong}").ping()
