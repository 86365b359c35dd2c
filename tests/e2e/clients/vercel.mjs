// Vercel's AI SDK (`ai`): prints one JSON object, which the Python side checks.
// usage: node vercel.mjs BASE_URL PROMPT ADAPTER_MODEL
import { createOpenAI } from '@ai-sdk/openai';
import { embedMany, generateObject, generateText, jsonSchema, stepCountIs, streamObject, streamText, tool } from 'ai';

const [baseURL, prompt, adapter] = process.argv.slice(2);
const provider = createOpenAI({ baseURL, apiKey: 'none' });
const out = { text: {}, stream: {}, errors: {} };
const kinds = { chat: provider.chat(adapter), responses: provider.responses(adapter) };

for (const [kind, model] of Object.entries(kinds)) {
  const whole = await generateText({ model, prompt, temperature: 0, maxRetries: 0 });
  out.text[kind] = { text: whole.text, finish: whole.finishReason, tokens: whole.usage.outputTokens };

  const stream = streamText({ model, prompt, temperature: 0, maxRetries: 0 });
  let text = '';
  for await (const piece of stream.textStream) text += piece;
  out.stream[kind] = { text, finish: await stream.finishReason, tokens: (await stream.usage).outputTokens };
}

const schema = jsonSchema({
  type: 'object',
  properties: { size: { enum: ['small', 'large'] } },
  required: ['size'],
  additionalProperties: false,
});
out.object = (await generateObject({ model: provider.chat('demo'), schema, prompt, maxRetries: 0 })).object;

const weather = tool({
  description: 'the weather of a city',
  inputSchema: jsonSchema({
    type: 'object',
    properties: { city: { type: 'string', maxLength: 8 } },
    required: ['city'],
    additionalProperties: false,
  }),
  execute: async ({ city }) => `sunny in ${city}`,
});
const called = await generateText({
  model: provider.chat('demo'), prompt, tools: { weather }, toolChoice: 'required', maxRetries: 0, stopWhen: stepCountIs(1),
});
out.tool = { name: called.toolCalls[0].toolName, input: called.toolCalls[0].input, result: called.toolResults[0].output };

// A call, its result, and an answer to it, in one run; whole and streamed.
out.steps = {};
out.objects = {};
const turns = {
  prompt, tools: { weather }, temperature: 0, maxRetries: 0, stopWhen: stepCountIs(2),
  prepareStep: ({ stepNumber }) => ({ toolChoice: stepNumber ? 'none' : 'required' }),
};
const told = (steps) => steps.map((s) => [s.finishReason, s.toolResults.map((r) => r.output)]);
for (const kind of ['chat', 'responses']) {
  const model = provider[kind]('demo');
  const whole = await generateText({ model, ...turns });
  const stream = streamText({ model, ...turns });
  const parts = new Set();
  for await (const part of stream.fullStream) parts.add(part.type);
  out.steps[kind] = { whole: told(whole.steps), stream: told(await stream.steps), parts: [...parts] };
  const object = streamObject({ model, schema, prompt, temperature: 0, maxRetries: 0 });
  let partial;
  for await (const part of object.partialObjectStream) partial = part;
  out.objects[kind] = { partial, whole: await object.object, tokens: (await object.usage).outputTokens };
}

const vectors = await embedMany({ model: provider.textEmbeddingModel('demo'), values: ['a', 'b'], maxRetries: 0 });
out.vectors = vectors.embeddings.map((v) => v.length);

for (const [name, model] of [['unknown', provider.chat('no-such-model')]]) {
  try {
    await generateText({ model, prompt, maxRetries: 0 });
  } catch (e) {
    out.errors[name] = { kind: e.name, status: e.statusCode, retryable: e.isRetryable };
  }
}

const abort = new AbortController();
let pieces = 0;
try {
  const stream = streamText({
    model: provider.chat('demo'), prompt, abortSignal: abort.signal, maxRetries: 0, onError: () => {},
  });
  for await (const _ of stream.textStream) {
    pieces += 1;
    abort.abort();
  }
} catch (e) {
  out.abort = e.name;
}
out.pieces = pieces;
console.log(JSON.stringify(out));
