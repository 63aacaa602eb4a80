/** What every component of the panel may use. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { IStateDB } from '@jupyterlab/statedb';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { CommandRegistry } from '@lumino/commands';
import type { JSONValue } from '@lumino/coreutils';
import { createContext, useCallback, useContext, useEffect, useState } from 'react';

import type { Notebooks } from '../notebooks';
import { problemOf } from '../requests';
import type * as Api from '../schema';
import type { IGpuMachines, IPreferences } from '../tokens';

export interface IPanel {
  machines: IGpuMachines;
  notebooks: Notebooks;
  commands: CommandRegistry;
  trans: TranslationBundle;
  state: IStateDB | null;
  preferences: () => IPreferences;
}

export const Panel = createContext<IPanel | null>(null);

export function usePanel(): IPanel {
  const panel = useContext(Panel);
  if (!panel) {
    throw new Error('A component of the panel is used outside of it.');
  }
  return panel;
}

/** The machines; the component is drawn again when anything about them changes. */
export function useMachines(): IGpuMachines {
  const { machines } = usePanel();
  const [, draw] = useState(0);
  useEffect(() => {
    const again = (): void => {
      draw(n => n + 1);
    };
    machines.changed.connect(again);
    return () => {
      machines.changed.disconnect(again);
    };
  }, [machines]);
  return machines;
}

/** The notebook in front; the component is drawn again when another one is, or when its kernel changes. */
export function useNotebook(): NotebookPanel | null {
  const { notebooks } = usePanel();
  const [, draw] = useState(0);
  useEffect(() => {
    const again = (): void => {
      draw(n => n + 1);
    };
    notebooks.changed.connect(again);
    return () => {
      notebooks.changed.disconnect(again);
    };
  }, [notebooks]);
  return notebooks.current;
}

/** One timer for all that tick, so that a hundred cards are drawn at once. */
const ticking = new Set<() => void>();
let timer = 0;

function onTick(listener: () => void): () => void {
  ticking.add(listener);
  timer ||= window.setInterval(() => {
    if (!document.hidden) {
      ticking.forEach(tick => {
        tick();
      });
    }
  }, 1000);
  return () => {
    ticking.delete(listener);
    if (!ticking.size) {
      window.clearInterval(timer);
      timer = 0;
    }
  };
}

/** The server's time in Unix seconds; the component is drawn again each second while the page is seen. */
export function useClock(): number {
  const { machines } = usePanel();
  const [now, tick] = useState(() => machines.now());
  useEffect(
    () =>
      onTick(() => {
        tick(machines.now());
      }),
    [machines]
  );
  return now;
}

export interface IAnswer<T> {
  answer: T | null;
  problem: Api.Problem | null;
}

const NONE = { answer: null, problem: null };

/**
 * What the server answers to a question.
 *
 * @param ask Puts the question; another function is another question, null is none.
 * @param delay Milliseconds to wait, for a question that changes with each key.
 */
export function useAnswer<T>(
  ask: (() => Promise<T>) | null,
  delay = 0
): IAnswer<T> & { again: () => void } {
  const [round, next] = useState(0);
  const [got, take] = useState<{ of: unknown; said: IAnswer<T> }>({ of: null, said: NONE });
  useEffect(() => {
    if (!ask) {
      return undefined;
    }
    let wanted = true;
    const give = (said: IAnswer<T>): void => {
      if (wanted) {
        take({ of: ask, said });
      }
    };
    const timer = window.setTimeout(() => {
      ask().then(
        answer => {
          give({ answer, problem: null });
        },
        (error: unknown) => {
          give({ answer: null, problem: problemOf(error) });
        }
      );
    }, delay);
    return () => {
      wanted = false;
      window.clearTimeout(timer);
    };
  }, [ask, delay, round]);
  const again = useCallback(() => {
    next(n => n + 1);
  }, []);
  return { ...(got.of === ask ? got.said : NONE), again };
}

/** A value that is there again after the page was reloaded. */
export function useKept<T extends JSONValue>(key: string, first: T): [T, (value: T) => void] {
  const { state } = usePanel();
  const id = `jupyter-gpu-remote:${key}`;
  const [value, setValue] = useState(first);
  useEffect(() => {
    void state?.fetch(id).then(kept => {
      if (kept !== undefined) {
        setValue(kept as T);
      }
    });
  }, [id, state]);
  return [
    value,
    next => {
      setValue(next);
      void state?.save(id, next);
    }
  ];
}
