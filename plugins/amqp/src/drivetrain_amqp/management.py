"""What only the management plugin tells: how many messages are held. Its statistics are up to five seconds old."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from drivetrain.contract import AuthenticationFailed, ServiceError, ServiceRefused, ServiceUnavailable
from drivetrain_amqp.options import Options

__all__ = ["Management"]

_NOT_FOUND, _REFUSED = 404, (401, 403)


class Management:
    """Asks the plugin over HTTP. Thread-safe."""

    def __init__(self, options: Options) -> None:
        parts = urlsplit(options.management_url)
        user, password = options.user, options.password
        if parts.username:
            user, password = unquote(parts.username), unquote(parts.password or "")
        place = parts.netloc.rpartition("@")[2]
        self._base = urlunsplit((parts.scheme, place, parts.path, "", ""))
        self._vhost = quote(options.vhost, safe="")
        self._authorization = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self._seconds = options.connection_timeout_seconds

    def held(self, name: str) -> int:
        """How many messages of RabbitMQ's queue ``name`` are delivered and not yet settled; 0 where there is none.

        Raises:
            ServiceError: the plugin is not there, refuses us, or says something else.
        """
        found = self._get(f"queues/{self._vhost}/{quote(name, safe='')}?columns=messages_unacknowledged")
        return int(found.get("messages_unacknowledged", 0))

    def _get(self, path: str) -> dict[str, Any]:
        address = f"{self._base}/api/{path}"
        request = urllib.request.Request(address, headers={"Authorization": self._authorization})  # noqa: S310 - http(s)
        try:
            with urllib.request.urlopen(request, timeout=self._seconds) as answer:  # noqa: S310 - as above
                found = json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                if error.code == _NOT_FOUND:
                    return {}
                raise self._refusal(error) from error
        except OSError as error:
            raise ServiceUnavailable(f"the management plugin at {self._base} cannot be reached: {error}") from error
        except ValueError as error:
            raise ServiceRefused(f"what answers at {self._base} is no management plugin: {error}") from error
        return found if isinstance(found, dict) else {}

    def _refusal(self, error: urllib.error.HTTPError) -> ServiceError:
        told = f"the management plugin at {self._base} answered {error.code} {error.reason}"
        if error.code in _REFUSED:
            return AuthenticationFailed(f"{told}; the user needs the tag management (rabbitmqctl set_user_tags)")
        return ServiceUnavailable(told)
