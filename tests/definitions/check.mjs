// Checks every definition in statemachine/ with asl-validator, a validator of the Amazon States Language that is not ours, and the
// expressions that pass the windows of pages on with the reference implementation of JSONata.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import asl from 'asl-validator';
import jsonata from 'jsonata';

const validate = asl.default ?? asl;
const folder = join(process.env.ROOT, 'statemachine');
// Any value of the right form will do for a placeholder.
const filled = (text) =>
  text.replaceAll('${partition}', 'aws').replaceAll(/\$\{\w+\}/g, 'arn:aws:lambda:us-east-1:123456789012:function:any');

const problems = (definition) => {
  const { isValid, errorsText } = validate(definition);
  return isValid ? [] : [errorsText()];
};

let failed = false;
const names = readdirSync(folder).filter((name) => name.endsWith('.asl.json'));
for (const name of names) {
  const definition = JSON.parse(filled(readFileSync(join(folder, name), 'utf8')));
  for (const problem of problems(definition)) {
    failed = true;
    console.error(`${name}: ${problem}`);
  }
  // The check itself is checked: a definition without its first state must be refused.
  if (problems({ ...definition, StartAt: 'Missing' }).length === 0) {
    failed = true;
    console.error(`${name}: asl-validator accepts a definition whose first state is missing`);
  }
}
console.log(`asl-validator: ${names.length} definitions checked`);

// A round of ReadPages fetches the batches of its window, and first lists the next one if there are more pages.
const { ReadPages: readPages, 'MorePages?': morePages } = JSON.parse(
  readFileSync(join(folder, 'analyze-video.asl.json'), 'utf8'),
).States;
const evaluate = async (expression, bindings) =>
  JSON.parse(JSON.stringify(await jsonata(expression.replace(/^\{%|%\}$/g, '')).evaluate(undefined, bindings)));
const [first, second, third] = [0, 1, 2].map((index) => ({ index, pages: 1 }));
const next = { index: 1, token: 't' };
const later = { batches: [second, third], listed: 3 };
for (const { window, items, result, after, more } of [
  { window: { batches: [first], listed: 1, next }, items: [next, first], result: [later, first], after: later, more: true },
  { window: later, items: [second, third], result: [second, third], after: { batches: [], listed: 3 }, more: false },
  { window: { batches: [first], listed: 1 }, items: [first], result: [first], after: { batches: [], listed: 1 }, more: false },
]) {
  assert.deepEqual(await evaluate(readPages.Items, { window }), items);
  assert.deepEqual(await evaluate(readPages.Assign.window, { window, states: { result } }), after);
  assert.equal(await evaluate(morePages.Choices[0].Condition, { window: after }), more);
}
console.log('jsonata: the windows of pages are passed on');
process.exit(failed || names.length === 0 ? 1 : 0);
