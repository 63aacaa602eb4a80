import { ReactWidget } from '@jupyterlab/ui-components';
import React from 'react';

import { type IPanel, Panel, useMachines, usePanel } from './components/context';
import { Ticking } from './components/parts';
import { money } from './format';
import { CommandIDs } from './tokens';

/** What machines cost now, ticking; a click shows them. */
export class CostWidget extends ReactWidget {
  constructor(private readonly _panel: IPanel) {
    super();
    this.addClass('jp-GpuRemote-cost');
    this.addClass('jp-mod-highlighted');
  }
  protected render(): React.JSX.Element {
    return (
      <Panel.Provider value={this._panel}>
        <Cost />
      </Panel.Provider>
    );
  }
}

function Cost(): React.JSX.Element {
  const { commands, trans } = usePanel();
  const machines = useMachines();
  const count = machines.machines.length;
  return (
    <button
      type="button"
      title={trans._n('%1 GPU machine', '%1 GPU machines', count)}
      onClick={() => void commands.execute(CommandIDs.show)}
    >
      <Ticking
        text={() =>
          machines.rate || machines.today
            ? trans.__('%1/h · today %2', money(machines.rate), money(machines.spentToday()))
            : trans._n('%1 machine, free', '%1 machines, free', count)
        }
      />
    </button>
  );
}
