import React, { useCallback } from 'react';

import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { useAnswer, useMachines, usePanel } from './context';
import { ProblemBox } from './parts';

/** Folders that machines have copies of, and what is not the same on both sides. */
export function Files(props: { open: boolean }): React.JSX.Element {
  const { trans } = usePanel();
  const machines = useMachines().machines.filter(machine => machine.actions.includes('pull'));
  return (
    <>
      {machines.length ? null : (
        <p className="jp-GpuRemote-meta">{trans.__('No machine has files of yours.')}</p>
      )}
      {props.open
        ? machines.map(machine => <OfMachine key={machine.name} machine={machine} />)
        : null}
    </>
  );
}

function OfMachine({ machine }: { machine: Api.Machine }): React.JSX.Element {
  const { machines, commands, trans } = usePanel();
  const { requests } = machines;
  const { name } = machine;
  const ask = useCallback(() => requests.files(name), [requests, name]);
  const { answer, problem, again } = useAnswer(ask);
  const folders = answer?.folders;
  const changed = folders?.some(folder => folder.back.length);
  return (
    <div className="jp-GpuRemote-files">
      <div className="jp-GpuRemote-row">
        <b>{machine.name}</b>
        <button type="button" className="jp-GpuRemote-small" onClick={again}>
          {trans.__('Look again')}
        </button>
        {changed ? (
          <button
            type="button"
            className="jp-GpuRemote-small"
            onClick={() => void commands.execute(CommandIDs.pull, { machine: machine.name })}
          >
            {trans.__('Fetch')}
          </button>
        ) : null}
      </div>
      {problem ? <ProblemBox problem={problem} /> : null}
      {!folders && !problem ? <p className="jp-GpuRemote-meta">{trans.__('looking…')}</p> : null}
      {folders?.map(folder => (
        <Folder key={folder.folder} folder={folder} />
      ))}
      {folders?.length === 0 ? (
        <p className="jp-GpuRemote-meta">{trans.__('It has no copy of a folder.')}</p>
      ) : null}
    </div>
  );
}

function Folder({ folder }: { folder: Api.SyncedFolder }): React.JSX.Element {
  const { commands, trans } = usePanel();
  const open = (path: string): void => {
    void commands.execute('filebrowser:open-path', { path });
  };
  const list = (
    files: readonly Api.ChangedFile[],
    mark: string,
    title: string
  ): React.JSX.Element[] =>
    files.map(file => (
      <li key={mark + file.path} title={title}>
        {mark} {file.path}
      </li>
    ));
  const name = folder.path ?? folder.folder;
  const same = !folder.back.length && !folder.out.length && !folder.problem;
  return (
    <>
      <p className="jp-GpuRemote-meta" title={folder.folder}>
        {folder.path === null ? (
          name
        ) : (
          <button
            type="button"
            className="jp-GpuRemote-link"
            title={trans.__('Show it in the file browser')}
            onClick={() => {
              open(`/${folder.path ?? ''}`);
            }}
          >
            {name || trans.__('the top folder')}
          </button>
        )}
        {same ? ` · ${trans.__('the same on both sides')}` : ''}
      </p>
      {folder.problem ? <ProblemBox problem={folder.problem} /> : null}
      <ul className="jp-GpuRemote-activity">
        {list(folder.back, '←', trans.__('Changed there, not fetched yet'))}
        {list(folder.out, '→', trans.__('Changed here, sent with the next cell'))}
        {folder.more ? <li>{trans.__('and %1 more', folder.more)}</li> : null}
      </ul>
    </>
  );
}
