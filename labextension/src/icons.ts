import { LabIcon } from '@jupyterlab/ui-components';

import gpu from '../style/icons/gpu.svg';

export const gpuIcon = new LabIcon({ name: 'gpu-remote:gpu', svgstr: gpu });
