"""The genuine SLIM 3.4.6 library as a test peer: node or application. slim22.mjs is its twin with the same protocol (see doc.go).

    python slim34.py node|app OPTIONS_AS_JSON

Commands come on standard input, one JSON object a line; replies and events leave on file descriptor 3, because the library logs
on standard output.
"""

import asyncio
import base64
import hashlib
import json
import os
import struct
import sys
import tempfile
import time
from datetime import timedelta

import slim_bindings as sb

background = set()  # asyncio keeps only weak references to tasks


def spawn(coroutine):
    task = asyncio.ensure_future(coroutine)
    background.add(task)
    task.add_done_callback(background.discard)
    return task


def emit(obj):
    data = json.dumps(obj).encode() + b"\n"
    while data:
        data = data[os.write(3, data) :]


def error_text(e):
    return getattr(e, "message", None) or str(e) or repr(e)


def name_of(text):
    return sb.Name.from_string(text)


def name_json(name):
    return {"name": "/".join(name.components()), "id": name.id().replace("NULL_COMPONENT", "")}


def milliseconds(n):
    return timedelta(milliseconds=n)


# ---- service -----------------------------------------------------------------------------------------------------------------


def start_service(options, dataplane):
    """Returns the process's service. Only a configuration file makes a service strict (links without header MAC are refused) or
    post-quantum. A file that the library does not accept is silently replaced by an empty service: hence the check."""
    if options.get("strict") or options.get("pqc"):
        service = {"dataplane": {"enforce_pqc": bool(options.get("pqc")), **dataplane}}
        if options.get("node_id"):
            service["node_id"] = options["node_id"]
        with tempfile.TemporaryDirectory(prefix="slim34-") as directory:
            file = os.path.join(directory, "config.yaml")  # JSON is YAML
            with open(file, "w") as f:
                json.dump({"tracing": {"log_level": options["log_level"]}, "services": {"slim/0": service}}, f)
            sb.initialize_from_config_with_error(file)
        service0 = sb.get_services()[0]
        if service0.get_name() != "slim/0":
            raise RuntimeError("the library refused its configuration file")
        return service0
    sb.initialize_with_configs(
        sb.new_runtime_config_with(0, "slim", timedelta(seconds=5)),
        sb.new_tracing_config_with(options["log_level"], False, False, []),
        [sb.new_service_config_with(options.get("node_id"), None, sb.new_dataplane_config())],
    )
    return sb.get_global_service()


async def run_node(options):
    clients = [
        {"endpoint": d["endpoint"], "connection_type": d["type"], "tls": {"insecure": True}} for d in options.get("dial") or []
    ]
    server = {"endpoint": options["endpoint"], "tls": {"insecure": True}}
    service = start_service(options, {"servers": [server], "clients": clients})
    if not options.get("strict") and not options.get("pqc"):
        await service.run_server_async(sb.new_insecure_server_config(options["endpoint"]))
    emit({"event": "ready", "endpoint": options["endpoint"]})


async def connect(options):
    service = start_service(options, {"clients": [{"endpoint": options["endpoint"], "tls": {"insecure": True}}]})
    if not options.get("strict") and not options.get("pqc"):
        return service, await service.connect_async(sb.new_insecure_client_config(options["endpoint"]))
    for _ in range(100):
        connection = service.get_connection_id(options["endpoint"])
        if connection is not None:
            return service, connection
        await asyncio.sleep(0.05)
    raise RuntimeError(f"no link to {options['endpoint']}")


# ---- sessions ----------------------------------------------------------------------------------------------------------------


class Session:
    """Reads a library session to its end: it echoes every item, or keeps it for take()."""

    all = {}  # number in the protocol -> Session

    def __init__(self, raw, echo):
        self.raw = raw
        self.echo = echo
        self.key = len(Session.all) + 1
        self.items = asyncio.Queue()  # message, error text, or None at the end
        self.closed = ""  # text of the end
        self.unsettled = set()  # acknowledgements of what was sent without waiting
        Session.all[self.key] = self

    def describe(self):
        return {
            "session": self.key,
            "session_id": self.raw.session_id(),
            "peer": name_json(self.raw.destination()),
            "initiator": self.raw.is_initiator(),
            "metadata": self.raw.metadata(),
        }

    async def read(self):
        errors = 0
        while errors < 100:
            try:
                message = await self.raw.get_message_async(None)
            except sb.SlimError as e:
                error = error_text(e)
                if "session closed" in error:
                    return self.end(error)
                errors += 1
                self.error(error)
                self.items.put_nowait(error)
                continue
            errors = 0
            if self.echo:
                await self.answer(message)
            else:
                self.items.put_nowait(message)
        self.end("the library reports errors without end")

    async def answer(self, message):
        reply = (message.payload, message.context.payload_type, {})
        try:
            if self.echo == "publish_to":
                handle = await self.raw.publish_to_async(message.context, *reply)
            else:
                handle = await self.raw.publish_async(*reply)
        except sb.SlimError as e:
            return self.error(error_text(e))
        spawn(wait(handle, self.error))

    def error(self, text):
        emit({"event": "session_error", "session": self.key, "error": text})

    def end(self, error):
        self.closed = error
        self.items.put_nowait(None)
        emit({"event": "session_closed", "session": self.key, "error": error})

    async def take(self, deadline):
        """Waits for the next item; raises TimeoutError at the deadline (a time.monotonic() time)."""
        if self.items.empty():
            item = await asyncio.wait_for(self.items.get(), deadline - time.monotonic())
        else:
            item = self.items.get_nowait()
        if item is None:
            self.items.put_nowait(None)
            raise RuntimeError(self.closed)
        return item


async def wait(handle, on_error):
    try:
        await handle.wait_async()
    except sb.SlimError as e:
        on_error(error_text(e))


def need(key):
    if key not in Session.all:
        raise RuntimeError(f"no session {key}")
    return Session.all[key]


# ---- load --------------------------------------------------------------------------------------------------------------------


def body(seed, seq, size):
    """Message number seq of a pump: 8 bytes of number, then SHAKE128 of seed and number."""
    return seq.to_bytes(8, "big") + hashlib.shake_128(f"{seed}:{seq}".encode()).digest(max(0, size - 8))


def percentile(ordered, p):
    return ordered[min(len(ordered) - 1, len(ordered) * p // 100)] if ordered else 0


async def pump(session, count, size, window, seed, timeout_ms):
    """Sends count messages, window of them without an echo at a time, and checks that all come back in order."""
    report = {"sent": 0, "received": 0, "out_of_order": 0, "corrupt": 0, "send_errors": 0, "errors": []}
    sent_at = []
    rtts = []

    def fail(text):
        report["send_errors"] += 1
        report["errors"].append(text)

    start = time.monotonic()
    while report["received"] < count:
        while report["sent"] < count and report["sent"] - report["received"] < window:
            payload = body(seed, report["sent"], size)
            sent_at.append(time.monotonic())
            report["sent"] += 1
            try:
                spawn(wait(await session.raw.publish_async(payload, "application/octet-stream", {}), fail))
            except sb.SlimError as e:
                fail(error_text(e))
        try:
            item = await session.take(start + timeout_ms / 1000)
        except asyncio.TimeoutError:
            report["errors"].append(f"no echo within {timeout_ms} ms")
            break
        except RuntimeError as e:
            report["errors"].append(str(e))
            break
        if isinstance(item, str):
            report["errors"].append(item)
            continue
        got = item.payload
        seq = int.from_bytes(got[:8], "big")
        report["out_of_order"] += seq != report["received"]
        if seq < len(sent_at):
            rtts.append((time.monotonic() - sent_at[seq]) * 1000)
        report["corrupt"] += got != body(seed, seq, size)
        report["received"] += 1
    report["elapsed_ms"] = (time.monotonic() - start) * 1000
    rtts.sort()
    report["rtt_p50_ms"] = percentile(rtts, 50)
    report["rtt_p99_ms"] = percentile(rtts, 99)
    report["ok"] = report["received"] == count and not (report["out_of_order"] or report["corrupt"] or report["errors"])
    return report


def now():
    """In microseconds, on a clock that all processes of this kind on one machine share."""
    return time.monotonic_ns() / 1000


async def stream(session, count, size, window):
    """Sends count messages, each with its time in front, and window of them before the acknowledgement of the first."""
    acknowledged = []
    began = now()
    for i in range(count):
        if i >= window:
            await acknowledged[i - window]
        payload = struct.pack(">d", now()).ljust(size, b"\0")
        handle = await session.raw.publish_async(payload, "application/octet-stream", {})
        acknowledged.append(asyncio.ensure_future(handle.wait_async()))
    await asyncio.gather(*acknowledged)
    return {"began_us": began}


async def collect(session, count, size, timeout_ms):
    """Receives the messages of a stream and tells how old each was."""
    deadline = time.monotonic() + timeout_ms / 1000
    age = []
    ended = 0
    while len(age) < count:
        try:
            item = await session.take(deadline)
        except asyncio.TimeoutError:
            raise RuntimeError(f"{len(age)} of {count} messages within {timeout_ms} ms") from None
        if isinstance(item, str):
            raise RuntimeError(item)
        ended = now()
        if len(item.payload) != size:
            raise RuntimeError(f"a message of {len(item.payload)} bytes")
        age.append(ended - struct.unpack_from(">d", item.payload)[0])
    return {"ended_us": ended, "age_us": age}


# ---- commands ----------------------------------------------------------------------------------------------------------------


class Commands:
    def __init__(self, app, connection):
        self.app = app
        self.connection = connection

    async def open(self, peer, max_retries, interval_ms, group=False, mls=False, metadata=None):
        settings = sb.MlsSettings(header_integrity_validation_percent=100, max_seen_control_message_ids_size=None)
        config = sb.SessionConfig(
            session_type=sb.SessionType.GROUP if group else sb.SessionType.POINT_TO_POINT,
            max_retries=max_retries,
            interval=milliseconds(interval_ms),
            metadata=metadata or {},
            mls_settings=settings if mls else None,
        )
        if not group:
            await self.app.set_route_async(name_of(peer), self.connection)
        session = Session(await self.app.create_session_and_wait_async(config, name_of(peer)), "")
        spawn(session.read())
        return session.describe()

    async def send(self, session, payload, payload_type=None, metadata=None, wait_ack=False):
        s = need(session)
        handle = await s.raw.publish_async(base64.b64decode(payload), payload_type or None, metadata or {})
        if wait_ack:
            await handle.wait_async()
        else:
            ack = spawn(wait(handle, s.error))
            s.unsettled.add(ack)
            ack.add_done_callback(s.unsettled.discard)

    async def settle(self, session):
        await asyncio.gather(*need(session).unsettled)

    async def recv(self, session, timeout_ms):
        try:
            item = await need(session).take(time.monotonic() + timeout_ms / 1000)
        except asyncio.TimeoutError:
            raise RuntimeError(f"no message within {timeout_ms} ms") from None
        if isinstance(item, str):
            raise RuntimeError(item)
        return {
            "payload": base64.b64encode(item.payload).decode(),
            "payload_type": item.context.payload_type,
            "source": name_json(item.context.source_name),
            "metadata": item.context.metadata,
        }

    async def pump(self, session, **load):
        return await pump(need(session), **load)

    async def stream(self, session, **load):
        return await stream(need(session), **load)

    async def collect(self, session, **load):
        return await collect(need(session), **load)

    async def close(self, session):
        await self.app.delete_session_and_wait_async(need(session).raw)

    async def invite(self, session, peer):
        await self.app.set_route_async(name_of(peer), self.connection)
        await need(session).raw.invite_and_wait_async(name_of(peer))

    async def remove(self, session, peer):
        await need(session).raw.remove_and_wait_async(name_of(peer))

    async def participants(self, session):
        found = await need(session).raw.participants_list_async()
        return {"participants": [{**name_json(p.name), "online": p.status == sb.ParticipantStatus.ONLINE} for p in found]}

    async def leave(self, session):
        await need(session).raw.close_with_mode_and_wait_async(sb.CloseMode.SOFT)

    async def rejoin(self, session):
        await need(session).raw.rejoin_and_wait_async()


async def execute(commands, id, cmd, **args):
    try:
        emit({"id": id, "result": await getattr(commands, cmd)(**args) or {}})
    except Exception as e:  # whatever went wrong belongs to the caller
        emit({"id": id, "error": error_text(e)})


async def accept_sessions(app, echo):
    while True:
        try:
            raw = await app.listen_for_session_async(None)
        except sb.SlimError as e:
            emit({"event": "accept_error", "error": error_text(e)})
            await asyncio.sleep(0.1)
            continue
        session = Session(raw, echo)
        emit({"event": "session_opened", **session.describe()})
        spawn(session.read())


def create_app(service, options):
    """Gives the application the identity of its options: the shared secret, tokens that it signs itself, or those of SPIRE."""
    name = name_of(options["name"])
    if spire := options.get("spire"):
        audience = spire["audience"] or ["slim"]
        config = sb.SpireConfig(socket_path=spire["socket"], target_spiffe_id=None, jwt_audiences=audience, trust_domains=[])
        return service.create_app(name, sb.IdentityProviderConfig.SPIRE(config=config), sb.IdentityVerifierConfig.SPIRE(config=config))
    jwt = options.get("jwt")
    if not jwt:
        return service.create_app_with_secret(name, options["secret"])

    def key(text, form):
        algorithm = "ED_DSA" if jwt["algorithm"] == "EdDSA" else jwt["algorithm"]
        data = sb.JwtKeyData.DATA(value=text)
        return sb.JwtKeyConfig(algorithm=sb.JwtAlgorithm[algorithm], format=sb.JwtKeyFormat[form.upper()], key=data)

    signing = sb.JwtKeyType.ENCODING(key=key(jwt["sign_key"], "pem"))
    verifying = sb.JwtKeyType.DECODING(key=key(jwt["verify_key"], jwt["verify_format"] or "pem"))
    own = {"audience": jwt["audience"] or None, "issuer": jwt["issuer"] or None, "subject": jwt["subject"] or None}
    wanted = {"audience": jwt["want_audience"] or None, "issuer": jwt["want_issuer"] or None, "subject": None}
    hour = timedelta(hours=1)
    return service.create_app(
        name,
        sb.IdentityProviderConfig.JWT(config=sb.ClientJwtAuth(key=signing, duration=hour, **own)),
        sb.IdentityVerifierConfig.JWT(config=sb.JwtAuth(key=verifying, duration=hour, **wanted)),
    )


async def run_app(options):
    service, connection = await connect(options)
    app = create_app(service, options)
    await app.subscribe_async(app.name(), connection)
    if options["accept"] == "echo":
        spawn(accept_sessions(app, options.get("reply") or "publish"))
    if options["accept"] == "drive":
        spawn(accept_sessions(app, ""))
    emit({"event": "ready", "app": name_json(app.name())})
    return Commands(app, connection)


async def start(role, options):
    try:
        return await {"node": run_node, "app": run_app}[role](options)
    except Exception as e:
        emit({"event": "failed", "error": error_text(e)})
        os._exit(1)


async def main(role, options):
    loop = asyncio.get_running_loop()
    sb.uniffi_set_event_loop(loop)
    lines = asyncio.StreamReader(limit=1 << 26)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    commands = loop.create_task(start(role, json.loads(options)))
    # The end of standard input ends the process, also while it still tries to connect. The library's threads outlive the loop.
    while line := await lines.readline():
        spawn(execute(await commands, **json.loads(line)))
    os._exit(0)


asyncio.run(main(*sys.argv[1:]))
