// A folder that `sonde view bundle` wrote: the same answers, out of files. Lists are searched and sorted here.

const meta = document.querySelector('meta[name=sonde-data]');
export const there = Boolean(meta);
const base = meta ? meta.content : '';

async function read(path) {
  const answer = await fetch(base + path);
  if (!answer.ok) throw Object.assign(new Error(`The file ${path} is not in this folder.`), { hint: 'Was the folder copied whole?' });
  if (!path.endsWith('.gz')) return answer.json();
  // Some servers unpack such files on the way, others send them as they are.
  const bytes = new Uint8Array(await answer.arrayBuffer());
  const packed = bytes[0] === 0x1f && bytes[1] === 0x8b;
  return packed ? new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream('gzip'))).json() : JSON.parse(new TextDecoder().decode(bytes));
}

const once = new Map();
const cached = (path) => {
  if (!once.has(path)) {
    once.set(path, read(path));
    once.get(path).catch(() => once.delete(path)); // to be tried again
  }
  return once.get(path);
};

export const config = () => cached('config.json');
export const map = (store) => cached(`${encodeURIComponent(store)}/map.json.gz`);
const list = (store) => cached(`${encodeURIComponent(store)}/list.json.gz`);

export async function feature(store, index) {
  const { shard } = await list(store);
  const at = Math.floor(index / shard);
  const all = await cached(`${encodeURIComponent(store)}/f${at}.json.gz`);
  const f = all.features.find((x) => x.index === Number(index));
  if (!f) throw Object.assign(new Error(`There is no feature ${index} in this folder.`), { hint: 'The bundle may hold a part of the store only.' });
  return { ...f, store: all.store };
}

export async function near(store, index, limit = 10) {
  const [f, all] = await Promise.all([feature(store, index), list(store)]);
  const by = new Map(all.features.map((x) => [x.index, x]));
  const found = f.neighbours.slice(0, limit).filter((x) => by.has(x.index)).map((x) => ({ ...by.get(x.index), score: x.cosine }));
  return { n: found.length, n_total: found.length, features: found };
}

const words = (text) => text.toLowerCase().normalize('NFD').replace(/[\u0300-\u036f]/g, '').split(/[^\p{L}\p{N}]+/u).filter(Boolean);

// [words found, those of them in the label or at the peaks]: the rest are in what the feature makes likelier.
function matches(f, wanted) {
  const first = words(f.label), all = [...first, ...words(f.top_logits.map((t) => t.token).join(' '))];
  return [all, first].map((have) => wanted.filter((w) => have.some((x) => x.startsWith(w))).length);
}

// Whether a feature has a label, and one that scored so well where a machine made it.
export const isNamed = (f, least) => least === undefined || (f.label_source !== 'words' && (f.label_score === undefined || f.label_score >= least));

export async function features(store, query) {
  let v = (await list(store)).features;
  const { q, sort = 'interest', min_density: lo, max_density: hi, min_label_score: least, silent, offset = 0, limit = 20 } = query;
  if (q) {
    const wanted = words(q);
    v = v.map((f) => ({ ...f, score: matches(f, wanted) })).filter((f) => f.score[0] > 0).sort((a, b) => b.score[0] - a.score[0] || b.score[1] - a.score[1] || b.interest - a.interest);
  } else {
    v = v.filter((f) => (silent === 'true' || f.n_fire > 0) && (lo === undefined || f.density >= lo) && (hi === undefined || f.density <= hi) && isNamed(f, least));
    v = [...v].sort((a, b) => (sort === 'index' ? a.index - b.index : b[sort] - a[sort] || a.index - b.index));
  }
  return { n: Math.min(limit, v.length - offset), n_total: v.length, features: v.slice(offset, offset + limit) };
}

export const runs = async () => ({ now: Date.now() / 1000, runs: [] });
export const run = async () => ({ events: [], next: 0 });
export const audits = async () => ({ audits: [] });
export const audit = async () => ({});

export async function briefs(store, ids) {
  const wanted = new Set(ids);
  return { features: (await list(store)).features.filter((f) => wanted.has(f.index)) };
}
