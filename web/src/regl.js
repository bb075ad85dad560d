// regl writes its draw calls as JavaScript and compiles them at run time, which a page that forbids eval cannot do. This build of it
// looks first among draw calls that were compiled before: tools/web-regl records those of the map into regl-code.js. A graphics driver that
// needs another one makes regl fail, and the map is then drawn on a plain canvas.
import createREGL from '@plotly/regl';
import code from './regl-code.js';

export const record = { regl: null };
export default function create(options) {
  const regl = createREGL({ ...options, cachedCode: { ...code } });
  record.regl = regl;
  return regl;
}
