import React, { useMemo, useState } from 'react';

import { money } from '../format';
import { type Form, gpuNames, isRented, queryOf, requestOf } from '../form';
import { problemOf } from '../requests';
import type * as Api from '../schema';
import { CommandIDs } from '../tokens';
import { type IAnswer, useAnswer, useMachines, useNotebook, usePanel } from './context';
import { ProblemBox } from './parts';

/** Milliseconds without a key before the clouds are asked. */
const TYPING = 400;

export function LaunchForm(props: {
  form: Form;
  setForm: (form: Form) => void;
  open: boolean;
}): React.JSX.Element {
  const { form, setForm } = props;
  const machines = useMachines();
  const { notebooks, trans } = usePanel();
  const [busy, setBusy] = useState(false);
  const query = JSON.stringify(queryOf(form));
  const known = Boolean(machines.settings);
  const { requests } = machines;
  const ask = useMemo(
    () => (props.open && known ? () => requests.offers(JSON.parse(query) as Api.OfferQuery) : null),
    [props.open, known, requests, query]
  );
  const offers = useAnswer(ask, TYPING);
  const settings = machines.settings;
  const notebook = useNotebook()?.context.path ?? '';
  const problem = machines.blamed('');

  const launch = async (): Promise<void> => {
    setBusy(true);
    machines.blame('', null);
    try {
      const { id } = await machines.launch(requestOf(form, notebook));
      setBusy(false);
      const job = await machines.ended(id);
      const machine = job.machine && machines.get(job.machine);
      const panel = notebooks.find(notebook);
      if (job.state === 'done' && machine && panel) {
        await notebooks.runOn(panel, machine);
      }
    } catch (error) {
      machines.blame('', problemOf(error));
    } finally {
      setBusy(false);
    }
  };

  const help = (name: string): string => settings?.help[name] ?? '';
  const text = (
    name: keyof Form,
    label: string,
    title: string,
    unit = '',
    hint = ''
  ): React.JSX.Element => (
    <label title={title}>
      <span>{label}</span>
      <span className="jp-GpuRemote-field">
        <input
          name={name}
          value={String(form[name])}
          placeholder={hint}
          inputMode={unit ? 'decimal' : 'text'}
          onChange={event => {
            setForm({ ...form, [name]: event.target.value });
          }}
        />
        {unit ? <small>{unit}</small> : null}
      </span>
    </label>
  );

  return (
    <form
      className="jp-GpuRemote-form"
      aria-label={trans.__('Launch a machine')}
      onSubmit={event => {
        event.preventDefault();
        void launch();
      }}
    >
      <div className="jp-GpuRemote-fields">
        <label title={help('gpu')}>
          <span>{trans.__('GPU')}</span>
          <select
            name="gpu"
            value={form.gpu}
            onChange={event => {
              setForm({ ...form, gpu: event.target.value });
            }}
          >
            <option value="">{trans.__('none (CPU)')}</option>
            {withOwn(gpuNames(settings?.gpus ?? []), form.gpu).map(name => (
              <option key={name}>{name}</option>
            ))}
          </select>
        </label>
        {text('count', trans.__('count'), trans.__('How many GPUs'), '×')}
        <label title={help('cloud')}>
          <span>{trans.__('Cloud')}</span>
          <select
            name="cloud"
            value={form.cloud}
            onChange={event => {
              setForm({ ...form, cloud: event.target.value, region: '' });
            }}
          >
            <option value="">{form.gpu ? trans.__('cheapest') : trans.__('this computer')}</option>
            {withOwn(settings?.clouds ?? [], form.cloud).map(name => (
              <option key={name} value={name}>
                {name === 'local' ? trans.__('this computer') : name}
              </option>
            ))}
          </select>
        </label>
        {text('idle', trans.__('idle stop'), help('idle'), trans.__('min'))}
        {form.cloud === 'ssh' ? (
          <div className="jp-GpuRemote-wide">
            {text('on', trans.__('SSH destination'), help('on'))}
          </div>
        ) : null}
        {isRented(form) ? (
          <>
            <label title={help('spot')}>
              <span>{trans.__('Market')}</span>
              <select
                name="spot"
                value={form.spot ? 'spot' : ''}
                onChange={event => {
                  setForm({ ...form, spot: Boolean(event.target.value) });
                }}
              >
                <option value="spot">{trans.__('spot')}</option>
                <option value="">{trans.__('on demand')}</option>
              </select>
            </label>
            {text('maxPrice', trans.__('max price'), help('max_price'), '$/h')}
            {text('region', trans.__('Region'), help('region'))}
            {text('budget', trans.__('budget'), help('budget'), '$')}
          </>
        ) : null}
      </div>
      <div className="jp-GpuRemote-fields">
        <div className="jp-GpuRemote-wide">
          {text(
            'mount',
            trans.__('mount a bucket'),
            help('mount'),
            '',
            's3://bucket/folder:~/data'
          )}
        </div>
      </div>
      <Estimate {...offers} cloud={form.cloud} />
      {problem ? <ProblemBox problem={problem} /> : null}
      <button
        type="submit"
        className="jp-GpuRemote-main jp-GpuRemote-launch"
        disabled={busy || !settings}
      >
        {notebook ? trans.__('Launch and run this notebook') : trans.__('Launch')}
      </button>
    </form>
  );
}

function Estimate(props: IAnswer<Api.OfferList> & { cloud: string }): React.JSX.Element {
  const { answer, problem, cloud } = props;
  const { commands, trans } = usePanel();
  const [best] = answer?.offers ?? [];
  const failed = problem ?? answer?.problem;
  if (failed) {
    return (
      <ProblemBox problem={failed}>
        <button
          type="button"
          className="jp-GpuRemote-small"
          onClick={() => void commands.execute(CommandIDs.launchLocal)}
        >
          {trans.__('Try the local machine')}
        </button>
        {failed.code === 'provider-auth' ? (
          <button
            type="button"
            className="jp-GpuRemote-small"
            onClick={() => void commands.execute(CommandIDs.setUpCloud, { cloud })}
          >
            {trans.__('Set up')}
          </button>
        ) : null}
      </ProblemBox>
    );
  }
  return (
    <p className="jp-GpuRemote-estimate" aria-live="polite">
      {!answer
        ? trans.__('asking for prices…')
        : !best
          ? trans.__('nothing is offered')
          : best.price
            ? trans.__(
                '≈ %1/h · 30 min ≈ %2 · %3',
                money(best.price),
                money(best.price / 2),
                [best.provider, best.zone || best.region].filter(Boolean).join(' ')
              )
            : best.title}
    </p>
  );
}

/** A list with what is chosen in it, also when the server does not know it. */
function withOwn(names: readonly string[], own: string): readonly string[] {
  return !own || names.includes(own) ? names : [own, ...names];
}
