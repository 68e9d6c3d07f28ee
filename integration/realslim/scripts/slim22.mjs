// The genuine SLIM 2.2 library as a test peer: node or application. slim34.py is its twin with the same protocol (see doc.go).
//
//   SLIMBRIDGE_PEERS=DIR node slim22.mjs node|app OPTIONS_AS_JSON
//
// Commands come on standard input, one JSON object a line; replies and events leave on file descriptor 3, because the library
// logs on standard output.
import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const library = 'npm/node_modules/@agntcy/slim-bindings-linux-x64-gnu/index.js';
const sb = await import(pathToFileURL(join(process.env.SLIMBRIDGE_PEERS, library)).href);
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function emit(object) {
  const bytes = Buffer.from(JSON.stringify(object) + '\n');
  for (let done = 0; done < bytes.length; ) done += writeSync(3, bytes, done);
}

const errorText = (e) => e?.inner?.message ?? e?.message ?? String(e);
const nameOf = (text) => new sb.Name(...text.split('/'));
const nameJSON = (name) => ({ name: name.components().join('/'), id: name.id().replace('NULL_COMPONENT', '') });
const arrayBuffer = (b) => b.buffer.slice(b.byteOffset, b.byteOffset + b.byteLength);

// ---- service -------------------------------------------------------------------------------------------------------------

// startService returns the process's service. Only a configuration file makes a service strict (links without header MAC are
// refused) or post-quantum. A file that the library does not accept is silently replaced by an empty service: hence the check.
function startService(options, dataplane) {
  if (options.strict || options.pqc) {
    const dir = mkdtempSync(join(tmpdir(), 'slim22-'));
    const file = join(dir, 'config.yaml'); // JSON is YAML
    const service = { node_id: options.node_id, dataplane: { enforce_pqc: Boolean(options.pqc), ...dataplane } };
    writeFileSync(file, JSON.stringify({ tracing: { log_level: options.log_level }, services: { 'slim/0': service } }));
    try {
      sb.initializeFromConfigWithError(file);
    } finally {
      rmSync(dir, { recursive: true });
    }
    const [service0] = sb.getServices();
    if (service0.getName() !== 'slim/0') throw new Error('the library refused its configuration file');
    return service0;
  }
  sb.initializeWithConfigs(
    sb.newRuntimeConfigWith(0n, 'slim', 5000),
    sb.newTracingConfigWith(options.log_level, false, false, []),
    [sb.newServiceConfigWith(options.node_id, undefined, sb.newDataplaneConfig())],
  );
  return sb.getGlobalService();
}

async function runNode(options) {
  const clients = (options.dial ?? []).map((d) => ({ endpoint: d.endpoint, connection_type: d.type, tls: { insecure: true } }));
  const service = startService(options, { servers: [{ endpoint: options.endpoint, tls: { insecure: true } }], clients });
  if (!options.strict && !options.pqc) await service.runServerAsync(sb.newInsecureServerConfig(options.endpoint));
  emit({ event: 'ready', endpoint: options.endpoint });
}

async function connect(options) {
  const service = startService(options, { clients: [{ endpoint: options.endpoint, tls: { insecure: true } }] });
  if (!options.strict && !options.pqc) {
    return [service, await service.connectAsync(sb.newInsecureClientConfig(options.endpoint))];
  }
  for (let tries = 0; tries < 100; tries++) {
    const connection = service.getConnectionId(options.endpoint);
    if (connection !== undefined) return [service, connection];
    await sleep(50);
  }
  throw new Error(`no link to ${options.endpoint}`);
}

// ---- sessions ------------------------------------------------------------------------------------------------------------

const sessions = new Map(); // number in the protocol -> Session
let lastSession = 0;

// Session reads a library session to its end: it echoes every item, or keeps it for take().
class Session {
  constructor(raw, echo) {
    this.raw = raw;
    this.echo = echo;
    this.key = ++lastSession;
    this.items = []; // {message} | {error}
    this.waiting = null;
    this.closed = null; // text of the end
    this.unsettled = new Set(); // acknowledgements of what was sent without waiting
    sessions.set(this.key, this);
  }

  describe() {
    return {
      session: this.key,
      session_id: this.raw.sessionId(),
      peer: nameJSON(this.raw.destination()),
      initiator: this.raw.isInitiator(),
      metadata: Object.fromEntries(this.raw.metadata()),
    };
  }

  async read() {
    for (let errors = 0; errors < 100; ) {
      let message;
      try {
        message = await this.raw.getMessageAsync(undefined);
      } catch (e) {
        const error = errorText(e);
        if (error.includes('session closed')) return this.end(error);
        errors++;
        emit({ event: 'session_error', session: this.key, error });
        this.push({ error });
        continue;
      }
      errors = 0;
      if (!this.echo) this.push({ message });
      else await this.answer(message);
    }
    this.end('the library reports errors without end');
  }

  async answer({ context, payload }) {
    try {
      const reply = [payload, context.payloadType, new Map()];
      const handle = this.echo === 'publish_to' ? await this.raw.publishToAsync(context, ...reply) : await this.raw.publishAsync(...reply);
      handle.waitAsync().catch((e) => emit({ event: 'session_error', session: this.key, error: errorText(e) }));
    } catch (e) {
      emit({ event: 'session_error', session: this.key, error: errorText(e) });
    }
  }

  // expect reports a message that is never acknowledged.
  expect(handle) {
    const ack = handle.waitAsync().catch((e) => emit({ event: 'session_error', session: this.key, error: errorText(e) }));
    this.unsettled.add(ack);
    ack.then(() => this.unsettled.delete(ack));
  }

  push(item) {
    this.items.push(item);
    this.waiting?.();
  }

  end(error) {
    this.closed = error;
    this.waiting?.();
    emit({ event: 'session_closed', session: this.key, error });
  }

  // take waits for the next item; undefined at the deadline (a performance.now() time). One caller at a time.
  async take(deadline) {
    while (!this.items.length) {
      if (this.closed) throw new Error(this.closed);
      const left = deadline - performance.now();
      if (left <= 0) return undefined;
      let timer;
      await new Promise((resolve) => {
        this.waiting = resolve;
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
      this.waiting = null;
    }
    return this.items.shift();
  }
}

// ---- load ----------------------------------------------------------------------------------------------------------------

// body is message number seq of a pump: 8 bytes of number, then SHAKE128 of seed and number.
function body(seed, seq, size) {
  const head = Buffer.alloc(8);
  head.writeBigUInt64BE(BigInt(seq));
  if (size <= 8) return head;
  return Buffer.concat([head, createHash('shake128', { outputLength: size - 8 }).update(`${seed}:${seq}`).digest()]);
}

function percentile(sorted, p) {
  return sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor((sorted.length * p) / 100))] : 0;
}

// pump sends count messages, window of them without an echo at a time, and checks that all come back in order.
async function pump(session, { count, size, window, seed, timeout_ms }) {
  const report = { sent: 0, received: 0, out_of_order: 0, corrupt: 0, send_errors: 0, errors: [] };
  const sentAt = [];
  const rtts = [];
  const fail = (e) => {
    report.send_errors++;
    report.errors.push(errorText(e));
  };
  const start = performance.now();
  const deadline = start + timeout_ms;
  while (report.received < count) {
    while (report.sent < count && report.sent - report.received < window) {
      const payload = arrayBuffer(body(seed, report.sent, size));
      sentAt.push(performance.now());
      report.sent++;
      try {
        (await session.raw.publishAsync(payload, 'application/octet-stream', new Map())).waitAsync().catch(fail);
      } catch (e) {
        fail(e);
      }
    }
    let item;
    try {
      item = await session.take(deadline);
    } catch (e) {
      report.errors.push(errorText(e));
      break;
    }
    if (!item) {
      report.errors.push(`no echo within ${timeout_ms} ms`);
      break;
    }
    if (item.error) {
      report.errors.push(item.error);
      continue;
    }
    const got = Buffer.from(item.message.payload);
    const seq = got.length >= 8 ? Number(got.readBigUInt64BE()) : -1;
    if (seq !== report.received) report.out_of_order++;
    if (seq in sentAt) rtts.push(performance.now() - sentAt[seq]);
    if (!got.equals(body(seed, seq, size))) report.corrupt++;
    report.received++;
  }
  report.elapsed_ms = performance.now() - start;
  rtts.sort((a, b) => a - b);
  report.rtt_p50_ms = percentile(rtts, 50);
  report.rtt_p99_ms = percentile(rtts, 99);
  report.ok = report.received === count && !report.out_of_order && !report.corrupt && !report.errors.length;
  return report;
}

// now is in microseconds, on a clock that all processes of this kind on one machine share.
const now = () => Number(process.hrtime.bigint()) / 1000;

// stream sends count messages, each with its time in front, and window of them before the acknowledgement of the first.
async function stream(session, { count, size, window }) {
  const acknowledged = [];
  const began = now();
  for (let i = 0; i < count; i++) {
    if (i >= window) await acknowledged[i - window];
    const payload = Buffer.alloc(size);
    payload.writeDoubleBE(now());
    const handle = await session.raw.publishAsync(arrayBuffer(payload), 'application/octet-stream', new Map());
    const ack = handle.waitAsync();
    ack.catch(() => {}); // is looked at later
    acknowledged.push(ack);
  }
  await Promise.all(acknowledged);
  return { began_us: began };
}

// collect receives the messages of a stream and tells how old each was.
async function collect(session, { count, size, timeout_ms }) {
  const deadline = performance.now() + timeout_ms;
  const age = [];
  let ended = 0;
  while (age.length < count) {
    const item = await session.take(deadline);
    if (!item) throw new Error(`${age.length} of ${count} messages within ${timeout_ms} ms`);
    if (item.error) throw new Error(item.error);
    ended = now();
    const { payload } = item.message;
    if (payload.byteLength !== size) throw new Error(`a message of ${payload.byteLength} bytes`);
    age.push(ended - new DataView(payload).getFloat64(0));
  }
  return { ended_us: ended, age_us: age };
}

// ---- commands ------------------------------------------------------------------------------------------------------------

function need(key) {
  const session = sessions.get(key);
  if (!session) throw new Error(`no session ${key}`);
  return session;
}

const mlsSettings = (on) => (on ? { headerIntegrityValidationPercent: 100, maxSeenControlMessageIdsSize: undefined } : undefined);

function commands(app, connection) {
  return {
    async open({ peer, group, mls, max_retries, interval_ms, metadata }) {
      const config = {
        sessionType: group ? sb.SessionType.Group : sb.SessionType.PointToPoint,
        maxRetries: max_retries,
        interval: interval_ms,
        metadata: new Map(Object.entries(metadata ?? {})),
        mlsSettings: mlsSettings(mls),
      };
      if (!group) await app.setRouteAsync(nameOf(peer), connection);
      const session = new Session(await app.createSessionAndWaitAsync(config, nameOf(peer)), '');
      session.read();
      return session.describe();
    },
    async send({ session, payload, payload_type, metadata, wait_ack }) {
      const data = arrayBuffer(Buffer.from(payload, 'base64'));
      const handle = await need(session).raw.publishAsync(data, payload_type || undefined, new Map(Object.entries(metadata ?? {})));
      if (wait_ack) await handle.waitAsync();
      else need(session).expect(handle);
    },
    async settle({ session }) {
      await Promise.all(need(session).unsettled);
    },
    async recv({ session, timeout_ms }) {
      const item = await need(session).take(performance.now() + timeout_ms);
      if (!item) throw new Error(`no message within ${timeout_ms} ms`);
      if (item.error) throw new Error(item.error);
      const { context, payload } = item.message;
      return {
        payload: Buffer.from(payload).toString('base64'),
        payload_type: context.payloadType,
        source: nameJSON(context.sourceName),
        metadata: Object.fromEntries(context.metadata),
      };
    },
    pump: ({ session, ...load }) => pump(need(session), load),
    stream: ({ session, ...load }) => stream(need(session), load),
    collect: ({ session, ...load }) => collect(need(session), load),
    async close({ session }) {
      await app.deleteSessionAndWaitAsync(need(session).raw);
    },
    async invite({ session, peer }) {
      await app.setRouteAsync(nameOf(peer), connection);
      await need(session).raw.inviteAndWaitAsync(nameOf(peer));
    },
    async remove({ session, peer }) {
      await need(session).raw.removeAndWaitAsync(nameOf(peer));
    },
    async participants({ session }) {
      const list = await need(session).raw.participantsListAsync();
      return { participants: list.map((p) => ({ ...nameJSON(p.name), online: p.status === sb.ParticipantStatus.Online })) };
    },
    async leave({ session }) {
      await need(session).raw.closeWithModeAndWaitAsync(sb.CloseMode.Soft);
    },
    async rejoin({ session }) {
      await need(session).raw.rejoinAndWaitAsync();
    },
  };
}

async function execute(table, { id, cmd, ...args }) {
  try {
    emit({ id, result: (await table[cmd](args)) ?? {} });
  } catch (e) {
    emit({ id, error: errorText(e) });
  }
}

async function acceptSessions(app, echo) {
  for (;;) {
    let raw;
    try {
      raw = await app.listenForSessionAsync(undefined);
    } catch (e) {
      emit({ event: 'accept_error', error: errorText(e) });
      await sleep(100);
      continue;
    }
    const session = new Session(raw, echo);
    emit({ event: 'session_opened', ...session.describe() });
    session.read();
  }
}

// createApp gives the application the identity of its options: the shared secret, tokens that it signs itself, or those of SPIRE.
function createApp(service, { name, secret, jwt, spire }) {
  if (spire) {
    const audience = spire.audience?.length ? spire.audience : ['slim'];
    const config = { socketPath: spire.socket, targetSpiffeId: undefined, jwtAudiences: audience, trustDomains: [] };
    return service.createApp(nameOf(name), new sb.IdentityProviderConfig.Spire({ config }), new sb.IdentityVerifierConfig.Spire({ config }));
  }
  if (!jwt) return service.createAppWithSecret(nameOf(name), secret);
  const key = (text, format) => ({
    algorithm: sb.JwtAlgorithm[jwt.algorithm === 'EdDSA' ? 'EdDsa' : jwt.algorithm[0] + jwt.algorithm.slice(1).toLowerCase()],
    format: sb.JwtKeyFormat[{ pem: 'Pem', jwk: 'Jwk', jwks: 'Jwks' }[format]],
    key: new sb.JwtKeyData.Data({ value: text }),
  });
  const claims = (issuer, audience, subject) => ({
    issuer: issuer || undefined,
    audience: audience?.length ? audience : undefined,
    subject: subject || undefined,
    duration: 3600 * 1000,
  });
  const signing = new sb.JwtKeyType.Encoding({ key: key(jwt.sign_key, 'pem') });
  const verifying = new sb.JwtKeyType.Decoding({ key: key(jwt.verify_key, jwt.verify_format || 'pem') });
  return service.createApp(
    nameOf(name),
    new sb.IdentityProviderConfig.Jwt({ config: { key: signing, ...claims(jwt.issuer, jwt.audience, jwt.subject) } }),
    new sb.IdentityVerifierConfig.Jwt({ config: { key: verifying, ...claims(jwt.want_issuer, jwt.want_audience) } }),
  );
}

async function runApp(options) {
  const [service, connection] = await connect(options);
  const app = createApp(service, options);
  await app.subscribeAsync(app.name(), connection);
  if (options.accept === 'echo') acceptSessions(app, options.reply || 'publish');
  if (options.accept === 'drive') acceptSessions(app, '');
  const table = commands(app, connection);
  createInterface({ input: process.stdin }).on('line', (line) => execute(table, JSON.parse(line)));
  emit({ event: 'ready', app: nameJSON(app.name()) });
}

const [role, options] = process.argv.slice(2);
process.stdin.on('end', () => process.exit(0)).resume(); // also while it still tries to connect
try {
  await { node: runNode, app: runApp }[role](JSON.parse(options));
} catch (e) {
  emit({ event: 'failed', error: errorText(e) });
  process.exit(1);
}
