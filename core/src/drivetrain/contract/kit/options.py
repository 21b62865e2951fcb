"""What several drivers take in their URLs: time-outs, TLS files, sockets; and the error that names all faults."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, frozen

from drivetrain.contract.capabilities import TaskReach
from drivetrain.contract.errors import ConfigurationError
from drivetrain.contract.forks import finish_before_forks
from drivetrain.contract.url_options import OptionReader, boolean_option, choice_option, seconds_option, unknown_option
from drivetrain.contract.urls import DriverUrl

if TYPE_CHECKING:
    import ssl

__all__ = [
    "INDEX_OPTIONS",
    "TIMEOUT_OPTIONS",
    "TLS_OPTIONS",
    "TlsOptions",
    "check_driver_options",
    "file_option",
    "raise_for_faults",
    "socket_path_faults",
    "take_tls_options",
]

#: Linux does not take longer paths of unix sockets.
_LONGEST_SOCKET_BYTES = 107


def file_option(text: str) -> str:
    """Read the path of a file. The file need not exist yet.

    Raises:
        ValueError: the path is empty or contains a NUL.
    """
    if not text or "\0" in text:
        raise ValueError(f"is {text!r}; use the path of a file")
    return text


#: Readers of the time-outs that every driver of a server has, in seconds.
TIMEOUT_OPTIONS: Mapping[str, OptionReader] = {
    "connect_timeout_seconds": seconds_option(0.001, 86_400),
    "call_timeout_seconds": seconds_option(0.001, 86_400),
}

#: The reader of the option ``index`` of backends that list tasks by an index, which costs time: ``failed`` leaves out
#: those that succeed, ``all`` does not.
INDEX_OPTIONS: Mapping[str, OptionReader] = {"index": choice_option(TaskReach.FAILED, TaskReach.ALL)}

#: Readers of the options of TLS; `take_tls_options` makes a `TlsOptions` of their values.
TLS_OPTIONS: Mapping[str, OptionReader] = {
    "ca_file": file_option,
    "cert_file": file_option,
    "key_file": file_option,
    "verify": boolean_option,
}


@frozen(kw_only=True)
class TlsOptions:
    """The certificates of a TLS connection.

    Attributes:
        ca_file: a file of the certificate authorities to trust, in PEM; empty: those of the system.
        cert_file: a file with this client's certificate, in PEM; empty: the client shows none.
        key_file: a file with the private key of `cert_file`; empty: the key is in `cert_file` too.
        verify: whether the server must show a valid certificate of its host name.
    """

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    verify: bool = True

    def in_directory(self, directory: Path) -> TlsOptions:
        """The same options with absolute paths; relative ones begin in ``directory``."""

        def absolute(path: str) -> str:
            return path and str(directory / path)

        ca_file, cert_file, key_file = map(absolute, (self.ca_file, self.cert_file, self.key_file))
        return evolve(self, ca_file=ca_file, cert_file=cert_file, key_file=key_file)

    def context(self) -> ssl.SSLContext:
        """The context in which a socket is wrapped. Reads the files; a fork waits meanwhile.

        Raises:
            ConfigurationError: a file is missing, unreadable or not what its option needs.
        """
        import ssl  # a megabyte of memory, which only connections with TLS need

        try:
            with finish_before_forks():
                context = ssl.create_default_context(cafile=self.ca_file or None)
                if self.cert_file:
                    # The empty password keeps OpenSSL from asking the terminal for the one of an encrypted key.
                    context.load_cert_chain(self.cert_file, self.key_file or None, password="")
        except OSError as error:
            files = [path for path in (self.ca_file, self.cert_file, self.key_file) if path]
            raise ConfigurationError(f"TLS cannot use {' or '.join(files) or 'its files'}: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def take_tls_options(values: dict[str, Any], *, tls: bool, how: str) -> tuple[TlsOptions | None, list[str]]:
    """Take the options of TLS out of the values of a URL.

    Args:
        values: what `read_options` returned; the options of TLS are removed from it.
        tls: whether this URL uses TLS.
        how: how to write a URL that does, for the fault: ``write amqps://…``.

    Returns:
        The options, None without TLS; and a sentence for each fault.
    """
    given = {name: values.pop(name) for name in TLS_OPTIONS if name in values}
    faults = []
    if given and not tls:
        faults.append(f"TLS is off, so {', '.join(given)} cannot be used; {how}")
    if "key_file" in given and "cert_file" not in given:
        faults.append("key_file is the key of a certificate; name the certificate as cert_file")
    return (TlsOptions(**given) if tls else None), faults


def socket_path_faults(path: str) -> list[str]:
    """What is wrong with the path of a unix socket, as sentences. The socket need not exist yet."""
    if "\0" in path or len(path.encode(errors="surrogateescape")) > _LONGEST_SOCKET_BYTES:
        return [f"the path of its socket contains a NUL or has more than {_LONGEST_SOCKET_BYTES} bytes"]
    return []


def raise_for_faults(driver: str, url: DriverUrl, faults: Sequence[str]) -> None:
    """Raise one error for all faults of a URL, or return if there are none.

    Args:
        driver: the name of the driver, for the message.
        url: the URL; its secrets are not shown.
        faults: a sentence for each fault.

    Raises:
        ConfigurationError: there is at least one fault.
    """
    if faults:
        raise ConfigurationError(f"invalid URL for the {driver} driver: {url.shown}", faults)


def check_driver_options(driver: str, given: Mapping[str, Any], known: Iterable[str] = ()) -> None:
    """Check the names of `DriverContext.options`.

    Args:
        driver: the name of the driver, for the message.
        given: the options that the app passes for this driver.
        known: the names that the driver takes.

    Raises:
        ConfigurationError: a name is unknown; every such name is a fault, with the one that was probably meant.
    """
    names = dict.fromkeys(known)
    faults = [_unknown_driver_option(name, names) for name in given if name not in names]
    if faults:
        takes = f"it takes {', '.join(names)}" if names else "it takes none"
        raise ConfigurationError(f"invalid driver_options for the {driver} driver ({takes})", faults)


def _unknown_driver_option(name: str, names: Mapping[str, object]) -> str:
    return unknown_option(name, names) if names else f"there is no option {name!r}; leave it out"
