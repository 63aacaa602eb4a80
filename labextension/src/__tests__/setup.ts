/** What JupyterLab's packages expect of a browser and jsdom does not have. */
class Nothing {
  observe(): void {}
  unobserve(): void {}
  disconnect(): void {}
}
const missing = {
  DragEvent: class extends MouseEvent {},
  ResizeObserver: Nothing,
  IntersectionObserver: Nothing,
  matchMedia: () => ({ matches: false, addEventListener() {}, removeEventListener() {} }),
  requestIdleCallback: (run: () => void) => setTimeout(run, 0)
};
for (const [name, value] of Object.entries(missing)) {
  if (!Reflect.get(globalThis, name)) {
    Reflect.set(globalThis, name, value);
  }
}
