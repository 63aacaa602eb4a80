import { defineConfig } from 'vitest/config';

const EMPTY = '<svg xmlns="http://www.w3.org/2000/svg"></svg>';

export default defineConfig({
  root: import.meta.dirname,
  cacheDir: '../node_modules/.vite',
  // JupyterLab's packages import icons and styles; a test needs neither
  plugins: [
    {
      name: 'icons',
      enforce: 'pre',
      load: id => (/\.svg(\?.*)?$/.test(id) ? `export default '${EMPTY}'` : undefined)
    }
  ],
  test: {
    environment: 'jsdom',
    setupFiles: ['./src/__tests__/setup.ts'],
    css: false,
    server: { deps: { inline: [/@jupyterlab/, /@jupyter\//, /@lumino/, /@rjsf/, /@microsoft/] } }
  }
});
