import { copyIcon } from '@jupyterlab/ui-components';
import React, { useState } from 'react';

import { clock } from '../format';
import type * as Api from '../schema';
import { useMachines, usePanel } from './context';
import { IconButton } from './parts';

/** Lines that are drawn; all are copied. */
const MOST = 100;

/** What happened, whoever did it; the newest on top. */
export function Activity(): React.JSX.Element {
  const { trans } = usePanel();
  const { events } = useMachines();
  const [wanted, setWanted] = useState('');
  const found = events
    .filter(
      event => event.kind !== 'changed' && line(event).toLowerCase().includes(wanted.toLowerCase())
    )
    .reverse();
  return (
    <>
      <div className="jp-GpuRemote-row">
        <input
          type="search"
          aria-label={trans.__('Find in what happened')}
          placeholder={trans.__('filter')}
          value={wanted}
          onChange={event => {
            setWanted(event.target.value);
          }}
        />
        <IconButton
          icon={copyIcon}
          label={trans.__('Copy')}
          onClick={() => void navigator.clipboard.writeText(found.map(line).join('\n'))}
        />
      </div>
      {found.length ? null : (
        <p className="jp-GpuRemote-meta">{trans.__('Nothing happened yet.')}</p>
      )}
      <ol className="jp-GpuRemote-activity" tabIndex={0} aria-label={trans.__('What happened')}>
        {found.slice(0, MOST).map(event => (
          <li key={event.id} title={new Date(event.at * 1000).toLocaleString()}>
            <time>{clock(event.at)}</time> <b>{event.machine}</b> {event.text || event.kind}
          </li>
        ))}
      </ol>
    </>
  );
}

export function line(event: Api.ActivityEvent): string {
  return [new Date(event.at * 1000).toISOString(), event.machine, event.kind, event.text].join(
    '  '
  );
}
