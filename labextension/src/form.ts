/** What the launch form holds, and the request that it makes. */

import type * as Api from './schema';

/** Numbers are kept as they were typed. A type, since only that counts as JSON. */
export type Form = {
  gpu: string;
  count: string;
  cloud: string;
  on: string;
  region: string;
  spot: boolean;
  maxPrice: string;
  idle: string;
  maxHours: string;
  budget: string;
  mount: string;
};

/** What the user's settings say, where nothing was ever typed. */
export function formOf(settings: Api.Settings): Form {
  const { gpu = '', cloud = '', ...given } = settings.defaults;
  const [name = '', count = '1'] = gpu.split(':');
  return {
    gpu: name,
    count,
    cloud,
    on: given.on ?? '',
    region: given.region ?? '',
    spot: given.spot ?? true,
    maxPrice: typed(given.max_price),
    idle: typed(given.idle),
    maxHours: typed(given.max_hours),
    budget: typed(given.budget),
    mount: (given.mount ?? []).join(' ')
  };
}

function typed(value: number | null | undefined): string {
  return value === null || value === undefined ? '' : String(value);
}

function read(text: string): number | undefined {
  const value = Number(text);
  return text.trim() && Number.isFinite(value) && value >= 0 ? value : undefined;
}

/** The form as a request; fields that are empty are left to the user's settings. */
export function requestOf(form: Form, notebook: string): Api.LaunchRequest {
  const request: Api.LaunchRequest = {
    gpu: gpuOf(form),
    cloud: form.cloud,
    on: form.cloud === 'ssh' ? form.on : '',
    region: form.region,
    spot: isRented(form) ? form.spot : null,
    max_price: read(form.maxPrice) ?? null,
    idle: read(form.idle),
    max_hours: read(form.maxHours),
    budget: read(form.budget) ?? null,
    mount: mountsOf(form.mount),
    notebook
  };
  return Object.fromEntries(
    Object.entries(request).filter(([, value]) => value !== undefined && value !== '')
  );
}

/** Several buckets are told apart by where the next one begins: names of folders may have blanks. */
export function mountsOf(text: string): string[] {
  return text.split(/[\s,;]+(?=\w+:\/\/)/).flatMap(one => one.trim() || []);
}

export function queryOf(form: Form): Api.OfferQuery {
  const { cloud, region } = form;
  const price = read(form.maxPrice);
  return {
    ...(form.gpu && { gpu: gpuOf(form) }),
    ...(cloud && { cloud }),
    ...(region && { region }),
    ...(isRented(form) && { spot: form.spot }),
    ...(price !== undefined && { max_price: price })
  };
}

function gpuOf(form: Form): string {
  const count = read(form.count) ?? 1;
  return form.gpu && count > 1 ? `${form.gpu}:${count}` : form.gpu;
}

/** Whether it asks for something that is rented. */
export function isRented(form: Form): boolean {
  return form.cloud ? !['local', 'ssh'].includes(form.cloud) : Boolean(form.gpu);
}

/** The form filled with an offer of the price table. */
export function filledWith(form: Form, offer: Api.Offer): Form {
  return {
    ...form,
    gpu: offer.gpu || offer.stand_in_for,
    count: String(offer.count || 1),
    cloud: offer.provider,
    region: offer.region,
    spot: offer.spot
  };
}

/** What the field for GPUs offers; those sold with several sizes of memory also by size. */
export function gpuNames(gpus: readonly Api.Gpus[]): string[] {
  return gpus.flatMap(({ name, memory }) =>
    memory.length > 1 ? [name, ...memory.map(size => `${name}-${size}GB`)] : [name]
  );
}
