/** Figures as people read them: the same forms as in the notebook and on the command line. */

/** An amount; a small one with the digits that show it grow. */
export function money(dollars: number): string {
  return `$${dollars.toFixed(dollars >= 0.1 || !dollars ? 2 : 4)}`;
}

/** A time span: `40 s`, `12 min`, `3 h 05 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) {
    return `${s} s`;
  }
  const minutes = Math.round(s / 60);
  const hours = Math.floor(minutes / 60);
  if (hours < 1) {
    return `${minutes} min`;
  }
  return hours < 24
    ? `${hours} h ${String(minutes % 60).padStart(2, '0')} min`
    : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A size: `12 B`, `3.4 kB`, `1.2 GB`. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = count;
  let unit = 0;
  while (value >= 1000 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value.toFixed(unit && value < 100 ? 1 : 0)} ${units[unit] ?? ''}`;
}

export function percent(share: number): string {
  return `${Math.round(share * 100)}%`;
}

/** The time of day of a Unix time, in the user's way. */
export function clock(at: number): string {
  return new Date(at * 1000).toLocaleTimeString([], {
    hour: '2-digit',
    minute: '2-digit',
    hourCycle: 'h23'
  });
}

/** The last part of a path. */
export function basename(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1);
}

/** The points of a line through shares between 0 and 1, the newest at the right. */
export function points(
  shares: readonly number[],
  most: number,
  width: number,
  height: number
): string {
  const step = width / (most - 1);
  const first = width - (shares.length - 1) * step;
  return shares
    .map((share, i) => `${(first + i * step).toFixed(1)},${((1 - share) * height).toFixed(1)}`)
    .join(' ');
}
