// The address after '#' is the whole state of a view: #/features/demo?q=bridge&sort=density. Every view can be sent as a link.

export function read() {
  const text = address().replace(/^#\/?/, '');
  const [path, query = ''] = text.split('?');
  let parts;
  try {
    parts = path.split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    parts = ['?'];
  }
  return { parts, query: Object.fromEntries(new URLSearchParams(query)) };
}

export function link(parts, query = {}) {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v !== undefined && v !== null && v !== '' && v !== false) q.set(k, v);
  const text = q.toString();
  return '#/' + parts.map((p) => encodeURIComponent(p)).join('/') + (text ? '?' + text : '');
}

// Browsers drop or refuse changes of the address that come too often (Safari: 100 in 30 seconds), as those of a slider do: beyond a few dozen at once
// the newest waits for its turn. It is dropped when the view has been left by then.
const AT_ONCE = 30, EVERY_MS = 500;
let room = AT_ONCE, counted = 0, waiting = null;
const address = () => (waiting && waiting.of === location.hash ? waiting.hash : location.hash);
function write() {
  const next = address();
  waiting = null;
  room--;
  if (next !== location.hash) history.replaceState(null, '', next);
}

// Changes the query of this view without leaving it (no new entry in the history).
export function keep(query) {
  const view = read(), next = link(view.parts, { ...view.query, ...query }), now = performance.now();
  if (next === address()) return;
  room = Math.min(AT_ONCE, room + (now - counted) / EVERY_MS);
  counted = now;
  const first = !waiting;
  waiting = { of: location.hash, hash: next };
  if (room >= 1) write();
  else if (first) setTimeout(write, EVERY_MS);
}

export const go = (parts, query) => { location.hash = link(parts, query); };
