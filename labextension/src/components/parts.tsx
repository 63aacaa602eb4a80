/** Small things that several components are made of. */

import type { LabIcon } from '@jupyterlab/ui-components';
import React from 'react';

import { points } from '../format';
import type * as Api from '../schema';
import { useClock, useKept, usePanel } from './context';

export function IconButton(props: {
  icon: LabIcon;
  label: string;
  onClick: () => void;
  disabled?: boolean;
}): React.JSX.Element {
  const { icon: Icon, label, ...rest } = props;
  return (
    <button type="button" className="jp-GpuRemote-icon" title={label} aria-label={label} {...rest}>
      <Icon.react tag="span" width="16px" height="16px" />
    </button>
  );
}

export function Section(props: {
  name: string;
  title: string;
  closed?: boolean;
  extra?: React.JSX.Element;
  children: (open: boolean) => React.ReactNode;
}): React.JSX.Element {
  const [open, setOpen] = useKept(`section-${props.name}`, !props.closed);
  return (
    <details
      className="jp-GpuRemote-section"
      data-section={props.name}
      open={open}
      onToggle={event => {
        if (event.currentTarget.open !== open) {
          setOpen(event.currentTarget.open);
        }
      }}
    >
      <summary>
        <h3>{props.title}</h3>
        {props.extra}
      </summary>
      {props.children(open)}
    </details>
  );
}

/** What failed, whether it is still billed, and the next step. */
export function ProblemBox(props: {
  problem: Api.Problem;
  children?: React.ReactNode;
}): React.JSX.Element {
  const { trans } = usePanel();
  const { message, billed, hint } = props.problem;
  const [first, ...rest] = message.split(/(?<=[.!?]) /);
  return (
    <div role="alert" className="jp-GpuRemote-problem">
      <p>
        <b>{first}</b> {rest.join(' ')}
      </p>
      {billed ? <p>{billed}</p> : null}
      {hint ? (
        <p>
          {trans.__('Next:')} {hint}
        </p>
      ) : null}
      {props.children ? <div className="jp-GpuRemote-actions">{props.children}</div> : null}
    </div>
  );
}

/** A line through figures between 0 and 1. */
export function Sparkline(props: {
  figures: readonly number[];
  most: number;
  label: string;
}): React.JSX.Element {
  return (
    <svg
      className="jp-GpuRemote-spark"
      viewBox="0 0 100 20"
      preserveAspectRatio="none"
      role="img"
      aria-label={props.label}
    >
      <polyline points={points(props.figures, props.most, 100, 20)} />
    </svg>
  );
}

/** Text that says something else each second; the rest of a card is not drawn again for it. */
export function Ticking(props: {
  text: (now: number) => string;
  className?: string;
  title?: string;
}): React.JSX.Element {
  const { className = 'jp-GpuRemote-figure', title } = props;
  return (
    <span className={className} title={title}>
      {props.text(useClock())}
    </span>
  );
}
