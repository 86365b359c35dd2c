// The stock @anthropic-ai/sdk client for Node: prints one JSON object, which the Python side checks.
// usage: node anthropic.mjs BASE_URL PROMPT
import Anthropic from '@anthropic-ai/sdk';

const [baseURL, prompt] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey: 'none', maxRetries: 0 });
const messages = [{ role: 'user', content: prompt }];
const ask = { messages, max_tokens: 64, temperature: 0 };
const out = { whole: {}, stream: {}, events: {}, errors: {} };

for (const model of ['auto', 'demo', 'demo:sql', 'demo:sql@prod']) {
  const answer = await client.messages.create({ ...ask, model });
  out.whole[model] = { text: answer.content[0].text, stop: answer.stop_reason, tokens: answer.usage.output_tokens };
  const final = await client.messages.stream({ ...ask, model }).finalMessage();
  out.stream[model] = { text: final.content[0].text, stop: final.stop_reason, tokens: final.usage.output_tokens };
  out.events[model] = [];
  for await (const event of await client.messages.create({ ...ask, model, stream: true })) {
    if (event.type !== out.events[model].at(-1)) out.events[model].push(event.type);
  }
}

// A forced call, whole and accumulated, and the turn behind it.
const tools = [
  {
    name: 'order',
    input_schema: {
      type: 'object',
      properties: { size: { enum: ['small', 'large'] }, count: { type: 'integer', minimum: 0, maximum: 9 } },
      required: ['size', 'count'],
    },
  },
];
const calling = { model: 'demo', messages, max_tokens: 200, temperature: 0, tools, tool_choice: { type: 'any' } };
const whole = await client.messages.create(calling);
const streamed = await client.messages.stream(calling).finalMessage();
out.calls = [whole, streamed].map((m) => ({ stop: m.stop_reason, blocks: m.content }));
const results = whole.content
  .filter((b) => b.type === 'tool_use')
  .map((b) => ({ type: 'tool_result', tool_use_id: b.id, content: 'done' }));
const turn = [...messages, { role: 'assistant', content: whole.content }, { role: 'user', content: results }];
out.after = (await client.messages.create({ ...ask, model: 'demo', messages: turn, tools })).stop_reason;

const failing = {
  unknownModel: { ...ask, model: 'claude-unheard-of' },
  noMessages: { ...ask, model: 'demo', messages: [] },
};
for (const [name, body] of Object.entries(failing)) {
  try {
    await client.messages.create(body);
    out.errors[name] = 'no error';
  } catch (error) {
    out.errors[name] = {
      kind: error.constructor.name,
      status: error.status,
      type: error.error.error.type,
      request: error.requestID,
    };
  }
}

out.counted = (await client.messages.countTokens({ model: 'demo', messages })).input_tokens;

// Leaving in the middle of a stream must not upset the server; the next request shows that.
const leaving = client.messages.stream({ ...ask, model: 'demo', max_tokens: 900, temperature: 1 });
leaving.on('abort', () => {});
await new Promise((done) => {
  leaving.on('text', () => {
    leaving.abort();
    done();
  });
});
out.again = (await client.messages.create({ ...ask, model: 'demo' })).content[0].text;
out.models = [];
for await (const model of client.models.list({ limit: 3 })) out.models.push(model.id);
console.log(JSON.stringify(out));
