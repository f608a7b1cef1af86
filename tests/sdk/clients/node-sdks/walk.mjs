// The official SDKs for Node against Helix, with only base URL and key changed. Prints { check: fault or null }.
import assert from 'node:assert/strict';
import Anthropic from '@anthropic-ai/sdk';
import OpenAI from 'openai';

const baseURL = process.env.HELIX_BASE_URL;
const apiKey = process.env.HELIX_KEY;
const openai = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ''), apiKey, maxRetries: 0 });

const schema = { type: 'object', properties: { place: { type: 'string' } }, required: ['place'] };
const user = (content) => [{ role: 'user', content }];
const ended = async (id) => {
  for (;;) {
    const response = await openai.responses.retrieve(id);
    if (!['queued', 'in_progress'].includes(response.status)) return response;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
};

const checks = {
  async chat() {
    const { data, response } = await openai.chat.completions
      .create({ model: 'sandbox/echo', messages: user('hello there') })
      .withResponse();
    assert.equal(data.choices[0].message.content, 'hello there');
    assert.match(response.headers.get('x-request-id'), /^req_/);
  },
  async streamed_chat() {
    const stream = openai.chat.completions.stream({
      model: 'sandbox/echo',
      messages: user('one two three'),
      stream_options: { include_usage: true },
    });
    let said = '';
    stream.on('content', (delta) => (said += delta));
    const final = await stream.finalChatCompletion();
    assert.equal(said, 'one two three');
    assert.equal(final.usage.completion_tokens, 3);
  },
  async chat_tools() {
    const tools = [{ type: 'function', function: { name: 'weather', parameters: schema } }];
    const first = await openai.chat.completions.create({ model: 'sandbox/tools', messages: user('?'), tools });
    const message = first.choices[0].message;
    const result = { role: 'tool', tool_call_id: message.tool_calls[0].id, content: 'rain' };
    const messages = [...user('?'), message, result];
    const second = await openai.chat.completions.create({ model: 'sandbox/tools', messages, tools });
    assert.equal(second.choices[0].message.content, 'rain');
  },
  async broken_stream() {
    let had = '';
    await assert.rejects(async () => {
      const stream = await openai.chat.completions.create({
        model: 'sandbox/faulty',
        messages: user('[error_after=2] one two three'),
        stream: true,
      });
      for await (const chunk of stream) had += chunk.choices[0].delta.content ?? '';
    }, OpenAI.APIError);
    assert.equal(had, 'one two');
  },
  async embeddings() {
    const made = await openai.embeddings.create({ model: 'sandbox/embed', input: ['one', 'two'] });
    assert.equal(made.data.length, 2);
    assert.equal(typeof made.data[0].embedding[0], 'number');
  },
  async response_streamed() {
    const stream = openai.responses.stream({ model: 'sandbox/echo', input: 'by the helper' });
    let said = '';
    stream.on('response.output_text.delta', (event) => (said += event.delta));
    const final = await stream.finalResponse();
    assert.equal(said, 'by the helper');
    assert.equal(final.output_text, 'by the helper');
  },
  async response_in_the_background() {
    const words = 'one two three four five';
    const stream = await openai.responses.create({
      model: 'sandbox/faulty',
      input: `[chunk_delay_ms=60] ${words}`,
      background: true,
      stream: true,
    });
    let id, last;
    let had = '';
    for await (const event of stream) {
      if (event.type === 'response.created') id = event.response.id;
      last = event.sequence_number;
      if (event.type === 'response.output_text.delta') {
        had += event.delta;
        break;
      }
    }
    for await (const event of await openai.responses.retrieve(id, { stream: true, starting_after: last })) {
      assert.equal(event.sequence_number, last + 1);
      last = event.sequence_number;
      if (event.type === 'response.output_text.delta') had += event.delta;
    }
    assert.equal(had, words);
    assert.equal((await ended(id)).output_text, words);
  },
  async response_cancelled_and_gone_on_from() {
    const slow = { model: 'sandbox/faulty', input: '[delay_ms=20000] never', background: true };
    assert.equal((await openai.responses.cancel((await openai.responses.create(slow)).id)).status, 'cancelled');
    const first = await openai.responses.create({ model: 'sandbox/echo', input: 'first' });
    const next = { model: 'sandbox/echo', input: 'second', previous_response_id: first.id };
    const second = await openai.responses.create(next);
    assert.ok(second.usage.input_tokens > first.usage.input_tokens);
    await openai.responses.delete(first.id);
    await assert.rejects(openai.responses.retrieve(first.id), OpenAI.NotFoundError);
    await assert.rejects(openai.responses.create(next), OpenAI.BadRequestError);
  },
  async openai_models_and_errors() {
    const ids = [];
    for await (const model of openai.models.list()) ids.push(model.id);
    assert.ok(ids.includes('sandbox/echo'));
    const ask = (more) => openai.chat.completions.create({ model: 'sandbox/echo', messages: user('x'), ...more });
    await assert.rejects(ask({ model: 'nobody' }), OpenAI.NotFoundError);
    await assert.rejects(ask({ temperature: 5 }), OpenAI.BadRequestError);
    await assert.rejects(openai.withOptions({ apiKey: 'hx_user_wrong' }).models.list(), OpenAI.AuthenticationError);
  },
  async message() {
    const body = { model: 'sandbox/echo', max_tokens: 100, messages: user('hello there') };
    const message = await anthropic.messages.create(body);
    assert.equal(message.content[0].text, 'hello there');
    assert.match(message._request_id, /^req_/);
    const counted = await anthropic.messages.countTokens({ model: 'sandbox/echo', messages: user('hello') });
    assert.ok(counted.input_tokens > 0);
  },
  async message_streamed() {
    const body = { model: 'sandbox/echo', max_tokens: 100, messages: user('one two three') };
    const stream = anthropic.messages.stream(body);
    let said = '';
    stream.on('text', (delta) => (said += delta));
    const final = await stream.finalMessage();
    assert.equal(said, 'one two three');
    assert.equal(final.stop_reason, 'end_turn');
  },
  async message_tools() {
    const tools = [{ name: 'weather', input_schema: schema }];
    const ask = (messages) => anthropic.messages.create({ model: 'sandbox/tools', max_tokens: 100, messages, tools });
    const first = await ask(user('?'));
    const use = first.content.find((block) => block.type === 'tool_use');
    const result = { role: 'user', content: [{ type: 'tool_result', tool_use_id: use.id, content: 'rain' }] };
    const second = await ask([...user('?'), { role: 'assistant', content: first.content }, result]);
    assert.equal(second.content[0].text, 'rain');
  },
  async anthropic_models_and_errors() {
    const ids = [];
    for await (const model of anthropic.models.list({ limit: 2 })) ids.push(model.id);
    assert.ok(ids.includes('anthropic/sandbox/echo'));
    const ask = (more) =>
      anthropic.messages.create({ model: 'sandbox/echo', max_tokens: 10, messages: user('x'), ...more });
    await assert.rejects(ask({ model: 'nobody' }), Anthropic.NotFoundError);
    await assert.rejects(ask({ messages: [] }), Anthropic.BadRequestError);
    const wrong = anthropic.withOptions({ apiKey: 'hx_user_wrong' });
    await assert.rejects(wrong.models.list(), Anthropic.AuthenticationError);
    const busy = ask({ model: 'sandbox/faulty', messages: user('[status=503] no') });
    await assert.rejects(busy, (error) => error.status === 529 && error instanceof Anthropic.APIError);
  },
};

const found = {};
for (const [name, check] of Object.entries(checks)) {
  try {
    await check();
    found[name] = null;
  } catch (fault) {
    found[name] = String(fault?.stack ?? fault);
  }
}
console.log(JSON.stringify(found));
