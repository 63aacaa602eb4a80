import type { ISettingRegistry } from '@jupyterlab/settingregistry';

import type { IPreferences } from './tokens';

export const PLUGIN = 'jupyter-gpu-remote:machines';

export const DEFAULTS: IPreferences = {
  refreshSeconds: 10,
  extendMinutes: 30,
  notifications: true,
  browserNotifications: false
};

/** The user's settings; `changed` is called with them now and after each change. */
export async function readPreferences(
  registry: ISettingRegistry,
  changed: (preferences: IPreferences) => void
): Promise<void> {
  const settings = await registry.load(PLUGIN);
  const tell = (): void => {
    changed({ ...DEFAULTS, ...(settings.composite as Partial<IPreferences>) });
  };
  settings.changed.connect(tell);
  tell();
}
