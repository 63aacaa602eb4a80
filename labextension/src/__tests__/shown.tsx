/** A part of the panel on the screen, beside a server of its own. */

import { nullTranslator } from '@jupyterlab/translation';
import { CommandRegistry } from '@lumino/commands';
import { act, cleanup, render } from '@testing-library/react';
import React from 'react';
import { afterEach, vi } from 'vitest';

import { Panel } from '../components/context';
import { Notebooks } from '../notebooks';
import { DEFAULTS } from '../preferences';
import { CommandIDs } from '../tokens';
import { type IRig, rig } from './rig';

let it: IRig | undefined;
afterEach(() => {
  cleanup();
  it?.machines.dispose();
  vi.useRealTimers();
});

/** Show it; `run` is called with the commands that it carries out. */
export async function shown(
  what: React.JSX.Element,
  says: Parameters<typeof rig>[0] = {}
): Promise<IRig & { run: ReturnType<typeof vi.fn> }> {
  it = rig(says);
  const { machines } = it;
  const commands = new CommandRegistry();
  const run = vi.fn();
  for (const id of Object.values(CommandIDs)) {
    commands.addCommand(id, { execute: args => run(id, args) as unknown });
  }
  const trans = nullTranslator.load('');
  const notebooks = new Notebooks(machines, null, trans);
  await act(() => machines.refresh());
  render(
    <Panel.Provider
      value={{ machines, notebooks, commands, trans, state: null, preferences: () => DEFAULTS }}
    >
      {what}
    </Panel.Provider>
  );
  return { ...it, run };
}
