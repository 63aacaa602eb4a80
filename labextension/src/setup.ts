/** Terminals with something typed in them: to log in to machines, and to clouds. */

import {
  Clipboard,
  Dialog,
  InputDialog,
  type MainAreaWidget,
  Notification,
  showDialog,
  showErrorMessage
} from '@jupyterlab/apputils';
import type { Terminal, TerminalManager } from '@jupyterlab/services';
import { settingsIcon } from '@jupyterlab/ui-components';
import type { CommandRegistry } from '@lumino/commands';
import type { Widget } from '@lumino/widgets';

import type { IOptions } from './commands';
import { problemOf } from './requests';
import type * as Api from './schema';
import { CommandIDs } from './tokens';

type Session = ReturnType<TerminalManager['connectTo']>;
/** Milliseconds that a prompt is waited for. */
const PROMPT = 3000;

/** Open a terminal and type there; a line is only run when the text ends in a carriage return. */
export async function typeInTerminal(
  commands: CommandRegistry,
  title: string,
  text: string
): Promise<void> {
  const terminal = (await commands.execute('terminal:create-new')) as MainAreaWidget<
    Widget & { session: Session }
  >;
  terminal.title.label = title;
  const { session } = terminal.content;
  await prompted(session);
  session.send({ type: 'stdin', content: [text] });
}

/** Wait until the shell has written its prompt: what is typed before it is shown twice. */
function prompted(session: Session): Promise<void> {
  return new Promise(resolve => {
    const go = (): void => {
      session.messageReceived.disconnect(take);
      window.clearTimeout(timer);
      resolve();
    };
    const take = (_: unknown, message: Terminal.IMessage): void => {
      if (message.type === 'stdout') {
        go();
      }
    };
    const timer = window.setTimeout(go, PROMPT);
    session.messageReceived.connect(take);
  });
}

export function addSetUpCommand({ commands, machines, trans }: IOptions): void {
  const pick = async (
    clouds: readonly Api.Cloud[],
    provider: string
  ): Promise<Api.Cloud | undefined> => {
    const found = clouds.find(cloud => cloud.provider === provider);
    if (found) {
      return found;
    }
    const items = clouds.map(cloud => cloud.title);
    const title = trans.__('Set up which cloud?');
    const { button, value } = await InputDialog.getItem({ title, items });
    return button.accept ? clouds.find(cloud => cloud.title === value) : undefined;
  };

  const setUp = async (cloud: Api.Cloud): Promise<void> => {
    if (commands.hasCommand('terminal:create-new')) {
      await typeInTerminal(commands, cloud.title, cloud.login);
      const message = cloud.login_missing || trans.__('Press Enter to log in to %1.', cloud.title);
      Notification.emit(message, cloud.login_missing ? 'warning' : 'info', { autoClose: 10_000 });
      return;
    }
    const body = [
      trans.__('There are no terminals here. Type this in one on the computer of this server:'),
      cloud.login,
      cloud.login_missing
    ];
    const copy = Dialog.okButton({ label: trans.__('Copy') });
    const result = await showDialog({
      title: trans.__('Log in to %1', cloud.title),
      body: body.filter(Boolean).join('\n\n'),
      buttons: [Dialog.cancelButton({ label: trans.__('Close') }), copy]
    });
    if (result.button.accept) {
      Clipboard.copyToSystem(cloud.login);
    }
  };

  commands.addCommand(CommandIDs.setUpCloud, {
    label: trans.__('Set Up the Credentials of a Cloud…'),
    caption: trans.__('Opens a terminal with the command typed, for you to run'),
    icon: settingsIcon,
    describedBy: {
      args: { type: 'object' as const, properties: { cloud: { type: 'string' as const } } }
    },
    execute: async args => {
      try {
        const { clouds } = await machines.requests.clouds(false);
        const known = clouds.filter(cloud => cloud.login);
        const cloud = await pick(known, (args['cloud'] as string | undefined) ?? '');
        if (cloud) {
          await setUp(cloud);
        }
      } catch (error) {
        await showErrorMessage(trans.__('Set up a cloud'), problemOf(error).message);
      }
    }
  });
}
