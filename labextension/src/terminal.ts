/** What programs write to a terminal, as plain lines. */

/* eslint-disable-next-line no-control-regex */
const ESCAPES = /\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07]*\x07|[@-Z\\-_])/g;

/** Text without colours, and with what a carriage return has overwritten left out. */
export function settled(text: string): string {
  return text
    .replace(ESCAPES, '')
    .split('\n')
    .map(line => (line.includes('\r') ? overwritten(line) : line))
    .join('\n');
}

function overwritten(line: string): string {
  return line.split('\r').reduce((before, now) => now + before.slice(now.length));
}
