/** Components as widgets that JupyterLab can place. */

import { ReactWidget } from '@jupyterlab/ui-components';
import type { Message } from '@lumino/messaging';
import React from 'react';

import { type IPanel, Panel } from './components/context';
import { Sidebar } from './components/panel';
import { gpuIcon } from './icons';

export class SidebarWidget extends ReactWidget {
  constructor(private readonly _panel: IPanel) {
    super();
    this.id = 'jp-gpu-remote';
    this.addClass('jp-GpuRemote');
    this.title.icon = gpuIcon;
    this.title.caption = _panel.trans.__('GPU machines');
    this.node.setAttribute('role', 'region');
    this.node.setAttribute('aria-label', this.title.caption);
  }
  protected render(): React.JSX.Element {
    return (
      <Panel.Provider value={this._panel}>
        <Sidebar />
      </Panel.Provider>
    );
  }
}

/** One of the tabs of a kind, told from the others by its key. */
export class TabWidget extends ReactWidget {
  constructor(
    private readonly _panel: IPanel,
    readonly key: string,
    private readonly _draw: (key: string, visible: boolean) => React.JSX.Element
  ) {
    super();
    this.addClass('jp-GpuRemote');
    this.addClass('jp-GpuRemote-log');
    this.node.tabIndex = 0;
  }
  protected render(): React.JSX.Element {
    return (
      <Panel.Provider value={this._panel}>{this._draw(this.key, this.isVisible)}</Panel.Provider>
    );
  }
  protected override onAfterShow(message: Message): void {
    super.onAfterShow(message);
    this.update();
  }
  protected override onAfterHide(message: Message): void {
    super.onAfterHide(message);
    this.update();
  }
}
