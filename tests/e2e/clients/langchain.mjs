// @langchain/openai: prints one JSON object, which the Python side checks.
// usage: node langchain.mjs BASE_URL PROMPT ADAPTER_MODEL
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';

const [baseURL, prompt, adapter] = process.argv.slice(2);
const configuration = { baseURL };
const make = (model, more = {}) =>
  new ChatOpenAI({ model, apiKey: 'none', configuration, temperature: 0, maxRetries: 0, ...more });
const out = { errors: {} };

const whole = await make(adapter).invoke(prompt);
out.text = whole.content;
out.usage = whole.usage_metadata;

out.stream = '';
for await (const piece of await make(adapter).stream(prompt)) out.stream += piece.content;

const viaResponses = await make(adapter, { useResponsesApi: true }).invoke(prompt);
out.responses = viaResponses.text ?? viaResponses.content.map((c) => c.text).join('');

const schema = {
  title: 'thing',
  type: 'object',
  properties: { size: { type: 'string', enum: ['small', 'large'] } },
  required: ['size'],
  additionalProperties: false,
};
out.structured = await make('demo').withStructuredOutput(schema, { method: 'jsonSchema', strict: true }).invoke(prompt);

out.called = await make('demo').withStructuredOutput(schema, { method: 'functionCalling', strict: true }).invoke(prompt);

let all;
for await (const piece of await make(adapter, { streamUsage: true }).stream(prompt)) all = all ? all.concat(piece) : piece;
out.streamUsage = all.usage_metadata;
out.streamFinish = all.response_metadata.finish_reason;

const weather = {
  type: 'function',
  function: {
    name: 'weather',
    description: 'the weather of a city',
    parameters: { type: 'object', properties: { city: { type: 'string', maxLength: 8 } }, required: ['city'] },
  },
};
const bound = make('demo').bindTools([weather], { tool_choice: 'required' });
const called = await bound.invoke(prompt);
out.call = called.tool_calls[0];
let pieces;
for await (const piece of await bound.stream(prompt)) pieces = pieces ? pieces.concat(piece) : piece;
out.streamCall = pieces.tool_calls[0];
const turn = [new HumanMessage(prompt), called, new ToolMessage({ content: 'sunny', tool_call_id: called.tool_calls[0].id })];
out.after = typeof (await make('demo', { maxTokens: 8 }).invoke(turn)).content;

const vectors = new OpenAIEmbeddings({ model: 'demo', apiKey: 'none', configuration, maxRetries: 0 });
out.vectors = (await vectors.embedDocuments(['a', 'b'])).map((v) => v.length);

try {
  await make('no-such-model').invoke(prompt);
} catch (e) {
  out.errors.unknown = { kind: e.constructor.name, status: e.status, code: e.lc_error_code };
}
console.log(JSON.stringify(out));
