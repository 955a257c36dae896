// Checks every definition in statemachine/ with asl-validator, a validator of the Amazon States Language that is not ours.
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import asl from 'asl-validator';

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
process.exit(failed || names.length === 0 ? 1 : 0);
