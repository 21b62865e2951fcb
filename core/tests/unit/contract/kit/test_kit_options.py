"""`drivetrain.contract.kit.options`: what several drivers take in their URLs."""

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from drivetrain.contract import (
    TIMEOUT_OPTIONS,
    TLS_OPTIONS,
    ConfigurationError,
    DriverUrl,
    TlsOptions,
    check_driver_options,
    raise_for_faults,
    read_options,
    socket_path_faults,
    take_tls_options,
)


def _tls(query: str, *, tls: bool = True) -> tuple[TlsOptions | None, list[str]]:
    values, faults = read_options(DriverUrl.parse(f"x://h?{query}").options, TLS_OPTIONS)
    options, more = take_tls_options(values, tls=tls, how="write xs://…")
    assert values == {}
    return options, [*faults, *more]


def test_time_outs_are_seconds_from_a_millisecond_to_a_day():
    values, faults = read_options(
        {"connect_timeout_seconds": "0.001", "call_timeout_seconds": "86400"}, TIMEOUT_OPTIONS
    )
    assert (values, faults) == ({"connect_timeout_seconds": 0.001, "call_timeout_seconds": 86400.0}, [])
    assert read_options({"call_timeout_seconds": "0"}, TIMEOUT_OPTIONS)[1] == [
        "call_timeout_seconds is '0'; use a number of seconds from 0.001 to 86400"
    ]


def test_options_of_tls_are_read():
    assert _tls("ca_file=ca.pem&cert_file=me.pem&key_file=me.key&verify=false") == (
        TlsOptions(ca_file="ca.pem", cert_file="me.pem", key_file="me.key", verify=False),
        [],
    )
    assert _tls("") == (TlsOptions(), [])
    assert _tls("", tls=False) == (None, [])


def test_every_fault_of_tls_is_named():
    assert _tls("key_file=me.key&verify=maybe&ca_file=", tls=False)[1] == [
        "verify is 'maybe'; use true or false",
        "ca_file is ''; use the path of a file",
        "TLS is off, so key_file cannot be used; write xs://…",
        "key_file is the key of a certificate; name the certificate as cert_file",
    ]


def test_relative_files_of_tls_begin_in_the_directory():
    options = TlsOptions(ca_file="ca.pem", cert_file="/etc/me.pem").in_directory(Path("/srv"))
    assert options == TlsOptions(ca_file="/srv/ca.pem", cert_file="/etc/me.pem")


def test_a_server_is_verified_by_default():
    context = TlsOptions().context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
    context = TlsOptions(verify=False).context()
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_NONE, False)


def test_a_file_of_tls_that_cannot_be_used_is_named(tmp_path):
    missing, wrong = tmp_path / "missing.pem", tmp_path / "wrong.pem"
    wrong.write_text("no certificate")
    with pytest.raises(ConfigurationError, match=f"TLS cannot use {missing}: .*No such file"):
        TlsOptions(ca_file=str(missing)).context()
    with pytest.raises(ConfigurationError, match=f"TLS cannot use {wrong}: "):
        TlsOptions(cert_file=str(wrong)).context()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_an_encrypted_key_is_an_error(tmp_path):
    both = tmp_path / "me.pem"
    request = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-passout", "pass:secret"]
    subprocess.run(["openssl", *request, "-subj", "/CN=me", "-keyout", both, "-out", tmp_path / "c.pem"], check=True)
    with both.open("ab") as file:
        file.write((tmp_path / "c.pem").read_bytes())
    with pytest.raises(ConfigurationError, match=f"TLS cannot use {both}: "):
        TlsOptions(cert_file=str(both)).context()


@pytest.mark.parametrize(("path", "good"), [("/run/x.sock", True), ("/" + "ä" * 53, True), ("/" + "ä" * 54, False)])
def test_the_path_of_a_socket_has_at_most_107_bytes(path, good):
    assert (socket_path_faults(path) == []) is good
    assert socket_path_faults(path + "\0") != []


def test_one_error_names_all_faults_of_a_url_and_no_secret():
    url = DriverUrl.parse("x://me:secret@host?size=0")
    raise_for_faults("x", url, [])
    with pytest.raises(ConfigurationError) as raised:
        raise_for_faults("x", url, ["it is wrong", "it is wrong twice"])
    assert (
        str(raised.value) == "invalid URL for the x driver: x://***@host?size=…\n  - it is wrong\n  - it is wrong twice"
    )
    assert raised.value.faults == ("it is wrong", "it is wrong twice")


def test_driver_options_of_unknown_names_are_refused():
    check_driver_options("x", {})
    check_driver_options("x", {"client": object()}, ["client", "session"])
    with pytest.raises(ConfigurationError) as raised:
        check_driver_options("x", {"clinet": 1, "size": 1, "client": 1}, ["client", "session"])
    assert str(raised.value) == (
        "invalid driver_options for the x driver (it takes client, session)\n"
        "  - there is no option 'clinet'; did you mean 'client'?\n"
        "  - there is no option 'size'; use client, session"
    )
    with pytest.raises(ConfigurationError, match=r"\(it takes none\)\n  - there is no option 'size'; leave it out"):
        check_driver_options("x", {"size": 1})
