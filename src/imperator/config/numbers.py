"""Numbers as the original reads them from a value: what it begins with, in C's arithmetic."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

LEAST: Final = -(1 << 63)
"""The least whole number of 64 bits."""
_MOST_DIGITS: Final = 19

_NOT_NEGATIVE_WORDS: Final = """
alarm-freq async backtrace-depth cache-expire-freq cache-store-sync cheaper cheaper-initial cheaper-step
check-interval chunked-input-timeout cpu-affinity cron-harakiri emperor-broodlord emperor-curse-tolerance
emperor-freq emperor-max-throttle emperor-required-heartbeat emperor-throttle fastrouter-events
fastrouter-gracetime fastrouter-harakiri fastrouter-processes fastrouter-timeout fastrouter-workers
forkbomb-delay harakiri harakiri-graceful-signal harakiri-graceful-timeout harakiri-queue-threshold heartbeat
http-connect-timeout http-events http-gracetime http-harakiri http-headers-timeout http-keepalive
http-modifier1 http-modifier2 http-processes http-timeout http-workers idle ksm legion-death-on-lord-error
legion-freq legion-skew-tolerance legion-tolerance limit-nproc listen locks log-slow max-apps max-fd
max-worker-lifetime-delta mem-collector-freq mule-harakiri mule-msg-size mule-reload-mercy multicast-loop
multicast-ttl offload-thread offload-threads optimize processes py-auto-reload py-autoreload
python-auto-reload python-autoreload queue queue-blocksize queue-store-sync rawrouter-events
rawrouter-gracetime rawrouter-harakiri rawrouter-max-retries rawrouter-processes rawrouter-timeout
rawrouter-workers reload-mercy response-headers-limit signal-bufsize signals-bufsize so-send-timeout
so-write-timeout socket-send-timeout socket-timeout socket-write-timeout spooler-freq spooler-frequency
spooler-harakiri spooler-max-tasks spooler-processes ssl-session-timeout ssl-sessions-timeout ssl-verify-depth
sslrouter-events sslrouter-gracetime sslrouter-harakiri sslrouter-max-retries sslrouter-processes
sslrouter-timeout sslrouter-workers static-cache-paths stats-pusher-default-freq stats-pushers-default-freq
subscribe-freq subscription-tolerance subscriptions-sign-check-tolerance tcp-fast-open tcp-fastopen
thread-stack-size thread-stacksize threads threads-stack-size threads-stacksize vassal-sos vassal-sos-backlog
wait-for-fs-timeout wait-for-iface-timeout wait-for-interface-timeout wait-for-socket-timeout
wait-iface-timeout wait-interface-timeout websocket-ping-freq websocket-pong-tolerance websockets-ping-freq
websockets-pong-tolerance worker-reload-mercy workers
"""
_NOT_NEGATIVE: Final = frozenset(_NOT_NEGATIVE_WORDS.split())
"""The options that the original takes for an ``int``, and whose value it refuses if it is less than 0."""


def leading_number(text: str) -> int:
    """strtoll(3): the number that a text begins with, 0 if it begins with none."""
    text = text.lstrip(" \t\n\v\f\r")
    sign = text[:1] if text[:1] in ("+", "-") else ""
    unsigned = text[len(sign) :]
    digits = unsigned[: len(unsigned) - len(unsigned.lstrip("0123456789"))]
    if not digits:
        return 0
    if len(digits := digits.lstrip("0")) > _MOST_DIGITS:
        return LEAST if sign == "-" else -LEAST - 1
    return max(LEAST, min(int(f"{sign}{digits or 0}"), -LEAST - 1))


def is_refused(key: str, value: str) -> bool:
    """Is it less than 0, in the 32 bits that the original has for it?"""
    return key in _NOT_NEGATIVE and bool(leading_number(value) & (1 << 31))
