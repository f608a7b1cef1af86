// The Vercel AI SDK against Helix, through each of its providers, with only base URL and key changed. Prints
// { check: fault or null }.
import assert from 'node:assert/strict';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { embedMany, generateText, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';

const baseURL = process.env.HELIX_BASE_URL;
const apiKey = process.env.HELIX_KEY;
const compatible = createOpenAICompatible({ name: 'helix', baseURL, apiKey, includeUsage: true });
const openai = createOpenAI({ baseURL, apiKey });
const anthropic = createAnthropic({ baseURL, apiKey });

const weather = () => {
  const asked = [];
  const execute = async ({ place }) => {
    asked.push(place);
    return 'rain';
  };
  const inputSchema = z.object({ place: z.string() });
  return { asked, tools: { weather: tool({ description: 'Of a place.', inputSchema, execute }) } };
};

const of = (family) => ({
  async [`${family.name}_streams`]() {
    const stream = streamText({ model: family.of('sandbox/echo'), prompt: 'one two three', maxRetries: 0 });
    let said = '';
    for await (const delta of stream.textStream) said += delta;
    assert.equal(said, 'one two three');
    assert.equal(await stream.finishReason, 'stop');
    assert.ok((await stream.usage).outputTokens > 0);
  },
  async [`${family.name}_uses_a_tool`]() {
    const { asked, tools } = weather();
    const prompt = 'the weather?';
    const answer = await generateText({
      model: family.of('sandbox/tools'),
      prompt,
      tools,
      stopWhen: stepCountIs(3),
      maxRetries: 0,
    });
    assert.equal(asked.length, 1);
    assert.match(answer.text, /rain/);
  },
  async [`${family.name}_tells_a_break`]() {
    const faults = [];
    const model = family.of('sandbox/faulty');
    const prompt = '[error_after=2] one two three';
    const stream = streamText({ model, prompt, maxRetries: 0, onError: ({ error }) => faults.push(error) });
    for await (const _ of stream.textStream);
    assert.equal(faults.length, 1);
  },
});

const checks = {
  ...of({ name: 'compatible', of: (model) => compatible(model) }),
  ...of({ name: 'openai_chat', of: (model) => openai.chat(model) }),
  ...of({ name: 'openai_responses', of: (model) => openai.responses(model) }),
  ...of({ name: 'anthropic', of: (model) => anthropic(model) }),
  async embeddings() {
    const model = compatible.embeddingModel('sandbox/embed');
    const { embeddings } = await embedMany({ model, values: ['one', 'two'] });
    assert.equal(embeddings.length, 2);
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
