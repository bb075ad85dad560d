// The address after '#' is the whole state of a view: #/features/demo?q=bridge&sort=density. Every view can be sent as a link.

export function read() {
  const text = location.hash.replace(/^#\/?/, '');
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

// Changes the query of this view without leaving it (no new entry in the history).
export function keep(query) {
  const now = read();
  const next = link(now.parts, { ...now.query, ...query });
  if (next !== location.hash) history.replaceState(null, '', next);
}

export const go = (parts, query) => { location.hash = link(parts, query); };
