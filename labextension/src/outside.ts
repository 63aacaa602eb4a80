/** Notifications of the browser, for who looks at another window. */

/** Have the browser ask the user whether we may, unless he has answered. */
export function askForPermission(): void {
  const browser = window.Notification as typeof window.Notification | undefined;
  if (browser?.permission === 'default') {
    void browser.requestPermission();
  }
}

/** Tell, where that is allowed and the page is not in front; one with the same tag is replaced. */
export function tellOutside(title: string, body: string, tag: string, open: () => void): void {
  const browser = window.Notification as typeof window.Notification | undefined;
  if (browser?.permission !== 'granted' || document.hasFocus()) {
    return;
  }
  const shown = new browser(title, { body, tag });
  shown.onclick = () => {
    window.focus();
    open();
    shown.close();
  };
}
