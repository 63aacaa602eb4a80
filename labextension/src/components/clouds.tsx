import { refreshIcon } from '@jupyterlab/ui-components';
import React, { useMemo, useState } from 'react';

import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { useAnswer, usePanel } from './context';
import { IconButton } from './parts';

/** Which clouds can be used, and the way to those that cannot. */
export function Clouds(): React.JSX.Element {
  const { machines, trans } = usePanel();
  const { requests } = machines;
  // how often fresh answers were asked for
  const [fresh, again] = useState(0);
  const ask = useMemo(() => () => requests.clouds(fresh > 0), [requests, fresh]);
  const { answer, problem } = useAnswer(ask);
  return (
    <div className="jp-GpuRemote-clouds">
      <div className="jp-GpuRemote-row">
        <span className="jp-GpuRemote-name">{trans.__('Your clouds')}</span>
        <IconButton
          icon={refreshIcon}
          label={trans.__('Look for credentials again')}
          onClick={() => {
            again(fresh + 1);
          }}
        />
      </div>
      {answer || problem ? null : (
        <p className="jp-GpuRemote-meta">{trans.__('looking for credentials…')}</p>
      )}
      {problem ? <p className="jp-GpuRemote-meta">{problem.message}</p> : null}
      <ul className="jp-GpuRemote-cards" aria-label={trans.__('Clouds')}>
        {answer?.clouds.map(cloud => (
          <Cloud key={cloud.provider} cloud={cloud} />
        ))}
      </ul>
    </div>
  );
}

function Cloud({ cloud }: { cloud: Api.Cloud }): React.JSX.Element {
  const { commands, trans } = usePanel();
  const words = {
    usable: trans.__('credentials found'),
    missing: trans.__('no credentials'),
    unreachable: trans.__('does not answer')
  };
  const why = [cloud.problem?.message, cloud.problem?.hint].filter(Boolean).join(' ');
  return (
    <li className="jp-GpuRemote-item" data-cloud={cloud.provider} data-state={cloud.state}>
      <div className="jp-GpuRemote-row">
        <span className="jp-GpuRemote-name" title={why}>
          {cloud.title}
        </span>
        <span className="jp-GpuRemote-meta">{words[cloud.state]}</span>
        {cloud.state === 'missing' && cloud.login ? (
          <button
            type="button"
            className="jp-GpuRemote-small"
            title={trans.__('Opens a terminal with “%1” typed', cloud.login)}
            aria-label={trans.__('Set up %1', cloud.title)}
            onClick={() => void commands.execute(CommandIDs.setUpCloud, { cloud: cloud.provider })}
          >
            {trans.__('Set up')}
          </button>
        ) : null}
      </div>
      {cloud.state === 'unreachable' ? <p className="jp-GpuRemote-meta">{why}</p> : null}
    </li>
  );
}
