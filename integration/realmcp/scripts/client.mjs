// A genuine TypeScript MCP client (stdio transport of @modelcontextprotocol/sdk) that runs a scenario against any command that leads
// to @modelcontextprotocol/server-everything, and prints a report as JSON. scenario.go runs the same checks with Go clients.
//
//   SLIMBRIDGE_PEERS=DIR node client.mjs '{"command": ["slimbridge", "mcp", "connect", "org/ns/server"], "env": {"NAME": "value"}}'
import { join } from 'node:path';
import { performance } from 'node:perf_hooks';
import { pathToFileURL } from 'node:url';

const sdk = (file) =>
  import(pathToFileURL(join(process.env.SLIMBRIDGE_PEERS, 'npm/node_modules/@modelcontextprotocol/sdk/dist/esm', file)).href);
const { Client } = await sdk('client/index.js');
const { StdioClientTransport, getDefaultEnvironment } = await sdk('client/stdio.js');
const types = await sdk('types.js');

const patience = 20_000; // ms a check may take
const { command, env } = JSON.parse(process.argv[2]);
const transport = new StdioClientTransport({
  command: command[0],
  args: command.slice(1),
  env: { ...getDefaultEnvironment(), ...env },
  stderr: 'inherit',
});
const client = new Client(
  { name: 'realmcp-typescript', version: '1' },
  { capabilities: { sampling: {}, elicitation: { form: {} }, roots: { listChanged: true } } },
);

// ---- what the server sends on its own ------------------------------------------------------------------------------------

// Queue hands out what arrived, in order, to whoever waits for it.
class Queue {
  items = [];
  waiting = [];
  push(item) {
    const taker = this.waiting.shift();
    taker ? taker(item) : this.items.push(item);
  }
  next() {
    return this.items.length ? Promise.resolve(this.items.shift()) : new Promise((resolve) => this.waiting.push(resolve));
  }
}

const root = { uri: 'file:///realmcp/root', name: 'realmcp' };
const rootsAsked = new Queue();
const logs = new Queue();
const updates = new Queue();
client.setRequestHandler(types.ListRootsRequestSchema, async () => {
  rootsAsked.push(true);
  return { roots: [root] };
});
client.setRequestHandler(types.CreateMessageRequestSchema, async ({ params }) => ({
  model: 'realmcp',
  role: 'assistant',
  content: { type: 'text', text: `sampled: ${params.messages[0].content.text}` },
}));
client.setRequestHandler(types.ElicitRequestSchema, async () => ({ action: 'accept', content: { name: 'Ada' } }));
client.setNotificationHandler(types.LoggingMessageNotificationSchema, ({ params }) => logs.push(String(params.data)));
client.setNotificationHandler(types.ResourceUpdatedNotificationSchema, ({ params }) => updates.push(params.uri));

// ---- checks --------------------------------------------------------------------------------------------------------------

const document = 'demo://resource/static/document/features.md';

function expect(condition, detail) {
  if (!condition) throw new Error(typeof detail === 'string' ? detail : JSON.stringify(detail)?.slice(0, 300));
}

async function call(name, args = {}, options = {}) {
  const result = await client.callTool({ name, arguments: args }, undefined, { timeout: patience, ...options });
  return { ...result, text: result.content.map((c) => c.text ?? '').join('\n') };
}

async function logged(text) {
  while (!(await logs.next()).includes(text));
}

const checks = {
  async initialize() {
    await client.connect(transport, { timeout: 60_000 }); // a bridge may have to start the far server first
    expect(client.getServerVersion().name === 'mcp-servers/everything', client.getServerVersion());
  },
  ping: () => client.ping(),
  async roots() {
    // The server asks on its own, 350 ms after initialize. Before it has the answer, the tool would ask again: its request ids
    // would differ from run to run.
    await rootsAsked.next();
    await logged('Roots updated');
    const { text } = await call('get-roots-list');
    expect(text.includes(root.uri), text);
  },
  async 'tools/list'() {
    const names = (await client.listTools()).tools.map((t) => t.name);
    for (const name of ['echo', 'get-sum', 'trigger-sampling-request', 'trigger-elicitation-request']) expect(names.includes(name), names);
  },
  async echo() {
    const message = 'Grüße, 世界 \u0000 \u2028 "\\"';
    const { text } = await call('echo', { message });
    expect(text === `Echo: ${message}`, text);
  },
  async 'get-sum'() {
    const { text } = await call('get-sum', { a: 2, b: 40 });
    expect(text.includes('42'), text);
  },
  async 'structured content'() {
    const { structuredContent } = await call('get-structured-content', { location: 'Chicago' });
    expect(typeof structuredContent?.temperature === 'number', structuredContent);
  },
  async image() {
    const { content } = await call('get-tiny-image');
    const image = content.find((c) => c.type === 'image');
    expect(image?.mimeType === 'image/png' && image.data.length > 100, content);
  },
  async 'unknown tool'() {
    const result = await call('no-such-tool').catch((e) => ({ isError: true, text: e.message }));
    expect(result.isError && result.text.includes('no-such-tool'), result);
  },
  async 'resources/list'() {
    const uris = (await client.listResources()).resources.map((r) => r.uri);
    expect(uris.includes(document), uris);
  },
  async 'resources/read'() {
    const { contents } = await client.readResource({ uri: document });
    expect(contents[0].text.length > 1000, contents);
  },
  async 'resources/templates/list'() {
    const templates = (await client.listResourceTemplates()).resourceTemplates.map((t) => t.uriTemplate);
    expect(templates.includes('demo://resource/dynamic/text/{resourceId}'), templates);
  },
  async 'dynamic resource'() {
    const { contents } = await client.readResource({ uri: 'demo://resource/dynamic/text/7' });
    expect(contents[0].text.startsWith('Resource 7:'), contents);
  },
  'logging/setLevel': () => client.setLoggingLevel('debug'),
  async 'resources/subscribe'() {
    await client.subscribeResource({ uri: document });
    await logged('Subscribe Resource');
    await call('toggle-subscriber-updates');
    const uri = await updates.next();
    expect(uri === document, uri);
  },
  async 'resources/unsubscribe'() {
    await client.unsubscribeResource({ uri: document });
    const { text } = await call('toggle-subscriber-updates');
    expect(text.startsWith('Stopped'), text);
  },
  async 'prompts/list'() {
    const names = (await client.listPrompts()).prompts.map((p) => p.name);
    expect(names.includes('args-prompt') && names.includes('completable-prompt'), names);
  },
  async 'prompts/get'() {
    const { messages } = await client.getPrompt({ name: 'args-prompt', arguments: { city: 'Lisbon' } });
    expect(messages[0].content.text.includes('Lisbon'), messages);
  },
  async 'completion/complete'() {
    const { completion } = await client.complete({
      ref: { type: 'ref/prompt', name: 'completable-prompt' },
      argument: { name: 'name', value: 'A' },
      context: { arguments: { department: 'Engineering' } },
    });
    expect(completion.values.join() === 'Alice', completion);
  },
  async progress() {
    const seen = [];
    const onprogress = ({ progress }) => seen.push(progress);
    const { text } = await call('trigger-long-running-operation', { duration: 0.5, steps: 5 }, { onprogress });
    expect(text.includes('completed'), text);
    // The SDK drops the last value if it arrives in one chunk with the result.
    expect([seen.join(), `${seen.join()},5`].includes('1,2,3,4,5'), `progress ${seen}`);
  },
  async cancellation() {
    const abort = new AbortController();
    const start = performance.now();
    setTimeout(() => abort.abort('enough'), 200);
    const failed = await call('trigger-long-running-operation', { duration: 3, steps: 1 }, { signal: abort.signal }).then(
      () => false,
      () => true,
    );
    expect(failed && performance.now() - start < 2000, 'the call was not cancelled');
    await client.ping();
  },
  async sampling() {
    const { text } = await call('trigger-sampling-request', { prompt: 'hello', maxTokens: 10 });
    expect(text.includes('sampled:') && text.includes('hello'), text);
  },
  async elicitation() {
    const { text } = await call('trigger-elicitation-request');
    expect(text.includes('Ada'), text);
  },
  async 'payload of 1 MiB'() {
    const message = 'a1é'.repeat(1 << 18);
    const { text } = await call('echo', { message });
    expect(text === `Echo: ${message}`, `${text.length} characters came back`);
  },
  async '100 calls in parallel'() {
    const texts = await Promise.all(Array.from({ length: 100 }, (_, i) => call('get-sum', { a: i, b: 1000 })));
    texts.forEach(({ text }, i) => expect(text.endsWith(` ${i + 1000}.`), text));
  },
};

const report = { client: 'TypeScript SDK', checks: [] };
for (const [name, check] of Object.entries(checks)) {
  const start = performance.now();
  let timer;
  const limit = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('timed out')), name === 'initialize' ? 60_000 : patience);
  });
  let error = '';
  try {
    await Promise.race([check(), limit]);
  } catch (e) {
    error = e?.message ?? String(e);
  }
  clearTimeout(timer);
  report.checks.push({ name, ok: !error, detail: error, ms: performance.now() - start });
  if (name === 'initialize' && error) break;
}
report.server = client.getServerVersion()?.name ?? '';
await client.close();
console.log(JSON.stringify(report));
