// The stock openai client for Node: prints one JSON object, which the Python side checks.
// usage: node openai.mjs BASE_URL PROMPT
import OpenAI from 'openai';
import { makeParseableResponseFormat } from 'openai/lib/parser';

const [baseURL, prompt] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: 'none', maxRetries: 0 });
const messages = [{ role: 'user', content: prompt }];
const out = { chat: {}, stream: {}, completion: {}, completionStream: {}, errors: {} };

for (const model of ['auto', 'demo', 'demo:sql', 'demo:sql@prod']) {
  const answer = await client.chat.completions.create({ model, messages, temperature: 0 });
  out.chat[model] = answer.choices[0].message.content;

  let text = '';
  let finish = null;
  for await (const chunk of await client.chat.completions.create({ model, messages, temperature: 0, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? '';
    finish = chunk.choices[0]?.finish_reason ?? finish;
  }
  out.stream[model] = { text, finish };

  const ask = { model, prompt, temperature: 0, max_tokens: 16 };
  out.completion[model] = (await client.completions.create(ask)).choices[0].text;
  out.completionStream[model] = '';
  for await (const chunk of await client.completions.create({ ...ask, stream: true })) {
    out.completionStream[model] += chunk.choices[0]?.text ?? '';
  }
}

// Structured output, as the client's own helper parses it.
const schema = {
  type: 'object',
  properties: { size: { enum: ['small', 'large'] }, count: { type: 'integer', minimum: 0, maximum: 9 } },
  required: ['size', 'count'],
  additionalProperties: false,
};
const format = { type: 'json_schema', json_schema: { name: 'thing', schema, strict: true } };
const asked = { model: 'demo', messages, temperature: 1, seed: 5, response_format: format };
out.structured = JSON.parse((await client.chat.completions.create(asked)).choices[0].message.content);
const parseable = makeParseableResponseFormat(format, JSON.parse); // what zodResponseFormat returns
out.parsed = (await client.chat.completions.parse({ ...asked, response_format: parseable })).choices[0].message.parsed;

// A forced call, whole and as the client's own helper accumulates a stream.
const parameters = {
  type: 'object',
  properties: { size: { enum: ['small', 'large'] }, count: { type: 'integer', minimum: 0, maximum: 9 } },
  required: ['size', 'count'],
};
const calling = {
  model: 'demo',
  messages,
  temperature: 1.5,
  seed: 4,
  tools: [{ type: 'function', function: { name: 'order', parameters } }],
  tool_choice: 'required',
  parallel_tool_calls: false,
};
const whole = (await client.chat.completions.create(calling)).choices[0];
const streamed = (await client.chat.completions.stream(calling).finalChatCompletion()).choices[0];
out.calls = [whole, streamed].map(({ message, finish_reason: finish }) => ({
  finish,
  content: message.content,
  calls: message.tool_calls.map((c) => ({ id: c.id, type: c.type, name: c.function.name, args: c.function.arguments })),
}));

const failing = {
  unknownModel: { model: 'nope', messages },
  noMessages: { model: 'demo', messages: [] },
};
for (const [name, body] of Object.entries(failing)) {
  try {
    await client.chat.completions.create(body);
    out.errors[name] = 'no error';
  } catch (error) {
    out.errors[name] = { kind: error.constructor.name, status: error.status, code: error.code };
  }
}

// Without an encoding the client asks for base64 and unpacks it.
const texts = [prompt, 'naïve 🦙'];
out.vectors = {
  packed: (await client.embeddings.create({ model: 'demo', input: texts })).data.map((d) => d.embedding),
  floats: (await client.embeddings.create({ model: 'demo', input: texts, encoding_format: 'float' })).data.map(
    (d) => d.embedding,
  ),
};

// Responses: a chain, whole and as the client's own helper accumulates a stream; what is kept; the background.
const asking = { model: 'demo', input: prompt, temperature: 0, max_output_tokens: 24 };
const first = await client.responses.create(asking);
const next = { ...asking, input: 'And again', previous_response_id: first.id };
const second = await client.responses.create(next);
const followed = await client.responses.stream(next).finalResponse();
const running = await client.responses.create({ ...asking, background: true });
let settled = running;
while (['queued', 'in_progress'].includes(settled.status)) settled = await client.responses.retrieve(running.id);
const items = [];
for await (const item of client.responses.inputItems.list(second.id, { order: 'asc' })) items.push(item.content[0].text);
await client.responses.delete(first.id);
out.responses = {
  texts: [first, second, followed, settled].map((r) => r.output[0].content[0].text),
  items,
  gone: await client.responses.retrieve(first.id).catch((error) => error.constructor.name),
};

// Leaving in the middle of a stream must not upset the server; the next request shows that.
const leaving = await client.chat.completions.create({ model: 'demo', messages, stream: true });
for await (const chunk of leaving) {
  if (chunk.choices[0]?.delta?.content) {
    leaving.controller.abort();
    break;
  }
}
out.after = (await client.chat.completions.create({ model: 'demo', messages, temperature: 0 })).choices[0].message.content;
out.models = [];
for await (const model of client.models.list()) out.models.push(model.id);
console.log(JSON.stringify(out));
