import { refreshIcon } from '@jupyterlab/ui-components';
import React, { useMemo, useState } from 'react';

import { duration, money, percent } from '../format';
import type * as Api from '../schema';
import { what } from './card';
import { useAnswer, usePanel } from './context';
import { IconButton, ProblemBox, Ticking } from './parts';

/** Rows that are shown; what is dearer is found by naming the GPU. */
const MOST = 60;

/** What can be rented now; a click puts it into the form. */
export function Prices(props: {
  open: boolean;
  take: (offer: Api.Offer) => void;
}): React.JSX.Element {
  const { machines, trans } = usePanel();
  const { requests } = machines;
  const [wanted, setWanted] = useState('');
  // how often fresh prices were asked for
  const [fresh, again] = useState(0);
  const ask = useMemo(
    () => (props.open ? () => requests.offers({ gpu: 'any', fresh: fresh > 0 }) : null),
    [props.open, requests, fresh]
  );
  const { answer: list, problem } = useAnswer(ask);
  if (problem) {
    return <ProblemBox problem={problem} />;
  }
  if (!list) {
    return <p className="jp-GpuRemote-meta">{trans.__('asking for prices…')}</p>;
  }
  const found = list.offers.filter(offer =>
    `${offer.gpu} ${offer.provider} ${offer.zone || offer.region}`
      .toLowerCase()
      .includes(wanted.toLowerCase())
  );
  return (
    <>
      <div className="jp-GpuRemote-row">
        <input
          type="search"
          aria-label={trans.__('Find a GPU, cloud or region')}
          placeholder={trans.__('GPU, cloud, region')}
          value={wanted}
          onChange={event => {
            setWanted(event.target.value);
          }}
        />
        <Ticking
          className="jp-GpuRemote-meta"
          text={now => (list.at ? trans.__('%1 old', duration(now - list.at)) : '')}
        />
        <IconButton
          icon={refreshIcon}
          label={trans.__('Ask for prices again')}
          onClick={() => {
            again(fresh + 1);
          }}
        />
      </div>
      {list.problem ? <ProblemBox problem={list.problem} /> : null}
      {list.failed.map(({ provider, problem }) => (
        <p className="jp-GpuRemote-meta" key={provider} title={problem.hint}>
          {provider}: {problem.message}
        </p>
      ))}
      {found.length ? (
        <table className="jp-GpuRemote-table">
          <thead>
            <tr>
              <th scope="col">{trans.__('GPU')}</th>
              <th scope="col">{trans.__('where')}</th>
              <th scope="col">$/h</th>
            </tr>
          </thead>
          <tbody>
            {found.slice(0, MOST).map(offer => (
              <Row key={JSON.stringify(offer)} offer={offer} take={props.take} />
            ))}
          </tbody>
        </table>
      ) : null}
    </>
  );
}

function Row(props: { offer: Api.Offer; take: (offer: Api.Offer) => void }): React.JSX.Element {
  const { trans } = usePanel();
  const { offer, take } = props;
  const discount = offer.on_demand_price ? 1 - offer.price / offer.on_demand_price : 0;
  return (
    <tr
      title={trans.__('%1: put it into the form', offer.title)}
      onClick={() => {
        take(offer);
      }}
    >
      <td>
        <button
          type="button"
          className="jp-GpuRemote-link"
          aria-label={trans.__('%1: put it into the form', offer.title)}
        >
          {what(offer, trans)}
        </button>
      </td>
      <td>
        {offer.provider} {offer.zone || offer.region} {offer.spot ? trans.__('spot') : ''}
      </td>
      <td className="jp-GpuRemote-figure">
        {offer.price ? money(offer.price) : trans.__('free')}
        {offer.spot && discount > 0 ? <small> −{percent(discount)}</small> : null}
      </td>
    </tr>
  );
}
