import { downloadIcon } from '@jupyterlab/ui-components';
import React, { useCallback, useState } from 'react';

import { bytes } from '../format';
import type * as Api from '../schema';
import { useAnswer, useKept, usePanel } from './context';
import { ProblemBox } from './parts';

/** What is in a bucket, folder by folder, read with this computer's own credentials. */
export function Browser(props: { shown: string; show: (url: string) => void }): React.JSX.Element {
  const { trans } = usePanel();
  const [last, keep] = useKept<string>('bucket', '');
  const [typed, type] = useState<string | null>(null);
  const { shown, show } = props;
  return (
    <>
      <form
        className="jp-GpuRemote-row"
        aria-label={trans.__('Look into a bucket')}
        onSubmit={event => {
          event.preventDefault();
          const url = (typed ?? (shown || last)).trim();
          keep(url);
          type(null);
          show(url);
        }}
      >
        <input
          name="bucket"
          aria-label={trans.__('Bucket')}
          placeholder="s3://bucket/folder"
          value={typed ?? (shown || last)}
          onChange={event => {
            type(event.target.value);
          }}
        />
        <button type="submit" className="jp-GpuRemote-small">
          {trans.__('Look')}
        </button>
      </form>
      {shown ? <Entries key={shown} url={shown} /> : null}
    </>
  );
}

function Entries({ url }: { url: string }): React.JSX.Element {
  const { machines, trans } = usePanel();
  const { requests } = machines;
  const ask = useCallback(() => requests.bucket(url), [requests, url]);
  const { answer, problem } = useAnswer(ask);
  if (problem) {
    return <ProblemBox problem={problem} />;
  }
  if (!answer?.entries.length) {
    return (
      <p className="jp-GpuRemote-meta">
        {answer ? trans.__('There is nothing in it.') : trans.__('looking…')}
      </p>
    );
  }
  return (
    <ul className="jp-GpuRemote-tree">
      {answer.entries.map(entry => (
        <li key={entry.name}>{entry.folder ? <Folder entry={entry} /> : <File entry={entry} />}</li>
      ))}
      {answer.more ? <li>{trans.__('and %1 more', answer.more)}</li> : null}
    </ul>
  );
}

function Folder({ entry }: { entry: Api.BucketEntry }): React.JSX.Element {
  const [open, setOpen] = useState(false);
  return (
    <details
      onToggle={event => {
        setOpen(event.currentTarget.open);
      }}
    >
      <summary>{entry.name}/</summary>
      {open ? <Entries url={entry.url} /> : null}
    </details>
  );
}

function File({ entry }: { entry: Api.BucketEntry }): React.JSX.Element {
  const { machines, trans } = usePanel();
  const label = trans.__('Download %1', entry.name);
  const when = entry.changed_at ? new Date(entry.changed_at * 1000).toLocaleString() : '';
  return (
    <div className="jp-GpuRemote-row" title={`${entry.name} ${when}`}>
      <span className="jp-GpuRemote-name">{entry.name}</span>
      <span className="jp-GpuRemote-figure">{bytes(entry.size ?? 0)}</span>
      <a
        className="jp-GpuRemote-icon"
        title={label}
        aria-label={label}
        href={machines.requests.fileUrl(entry.url)}
        download={entry.name}
      >
        <downloadIcon.react tag="span" width="16px" height="16px" />
      </a>
    </div>
  );
}
