// What the page knows comes through here: from the server it was loaded from, or from files beside it (`sonde view bundle`).
import * as command from './command.js';
import * as files from './files.js';
import { remember, remembered } from './memory.js';

export class Problem extends Error {
  constructor(message, hint, status) {
    super(message);
    this.hint = hint || '';
    this.status = status;
  }
}

const KEY = 'sonde-key';
let key = '';
let askKey = async () => null;
export const onKeyNeeded = (fn) => { askKey = fn; };

async function problemOf(answer) {
  let e = {};
  try {
    e = (await answer.json()).error || {};
  } catch { /* no JSON: the status has to do */ }
  const status = answer.status;
  return new Problem(e.message || `The server answered with status ${status}.`, e.hint, status);
}

async function send(path, options = {}) {
  const known = remembered(KEY, 'sessionStorage') || key;
  const headers = { ...(options.body ? { 'Content-Type': 'application/json' } : {}), ...(known ? { Authorization: `Bearer ${known}` } : {}) };
  let answer;
  try {
    answer = await fetch(path, { ...options, headers });
  } catch (e) {
    if (e.name === 'AbortError') throw e;
    forget();
    throw new Problem('The server does not answer.', 'Is `sonde serve` still running? This page asks it for everything it shows.', 0);
  }
  if (answer.status === 401) {
    const given = await askKey();
    if (given) {
      key = given;
      remember(KEY, given, 'sessionStorage');
      return send(path, options);
    }
  }
  if (answer.status === 503) forget();
  if (!answer.ok) throw await problemOf(answer);
  return answer;
}

// What was read is of the server as it was: one that did not answer may come back with another model and other stores.
function forget() {
  config = undefined;
  kept.clear();
  maps.clear();
}

export const get = async (path, signal) => (await send(path, { signal })).json();
export const post = async (path, body, signal) => (await send(path, { method: 'POST', body: JSON.stringify(body), signal })).json();

// Server-sent events of a POST: calls each with every document until [DONE]; the last has no choices and says what was counted.
export async function stream(path, body, each, signal) {
  const answer = await send(path, { method: 'POST', body: JSON.stringify({ ...body, stream: true, stream_options: { include_usage: true } }), signal });
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '', ended = false;
  try {
    for (;;) {
      const { value, done } = await reader.read().catch((e) => { if (e.name === 'AbortError') throw e; return { done: true }; });
      if (done) break;
      rest += value;
      const events = rest.split('\n\n');
      rest = events.pop();
      for (const event of events) {
        const data = event.split('\n').filter((l) => l.startsWith('data: ')).map((l) => l.slice(6)).join('\n');
        ended ||= data === '[DONE]';
        if (!data || data === '[DONE]') continue;
        const d = JSON.parse(data);
        if (d.error) throw new Problem(d.error.message, d.error.hint, 200);
        each(d);
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // of an answer that is not read on the server makes no more
  }
  if (ended) return;
  forget();
  throw new Problem('The answer broke off before its end.', 'Is `sonde serve` still running?');
}

let config;
export async function getConfig(fresh) {
  if (!config || fresh) {
    const now = files.there ? await files.config() : await get('sonde/v1/config');
    if (config && JSON.stringify(config) !== JSON.stringify(now)) forget();
    config = now;
    command.of(config);
  }
  return config;
}

const q = (o) => {
  const p = new URLSearchParams();
  for (const [k, v] of Object.entries(o)) if (v !== undefined && v !== null && v !== '') p.set(k, v);
  const t = p.toString();
  return t ? '?' + t : '';
};
const e = encodeURIComponent;

export const isStatic = files.there;
export const { isNamed } = files;
export const features = (store, query, signal) => (files.there ? files.features(store, query) : get(`sonde/v1/features/${e(store)}${q(query)}`, signal));

// Features once read stay: going back is instant, going on is fetched ahead.
const kept = new Map();
export function feature(store, index, fresh) {
  const key = `${store}/${index}`;
  if (fresh) kept.delete(key);
  if (!kept.has(key)) {
    const read = files.there ? files.feature(store, index) : get(`sonde/v1/features/${e(store)}/${index}`);
    read.catch(() => kept.delete(key));
    kept.set(key, read);
    if (kept.size > 64) kept.delete(kept.keys().next().value);
  }
  return kept.get(key);
}
export const near = (store, index, limit) => (files.there ? files.near(store, index, limit) : get(`sonde/v1/features/${e(store)}/${index}/near${q({ limit })}`));
export const label = (store, index, body) => post(`sonde/v1/features/${e(store)}/${index}/label`, body);

const maps = new Map();
export function map(store) {
  if (!maps.has(store)) {
    const read = files.there ? files.map(store) : get(`sonde/v1/map/${e(store)}`);
    read.catch(() => maps.delete(store));
    maps.set(store, read);
  }
  return maps.get(store);
}
export const activations = (body, signal) => post('sonde/v1/activations', body, signal);
export const lens = (body, signal) => post('sonde/v1/lens', body, signal);
export const contrast = (body, signal) => post('sonde/v1/contrast', body, signal);
// A greedy answer, or how a text goes on.
export async function answer({ text, chat, steer, max_tokens }, signal) {
  const body = { max_tokens, temperature: 0, sonde: steer ? { steer } : undefined };
  if (chat) return (await post('v1/chat/completions', { ...body, messages: [{ role: 'user', content: text }] }, signal)).choices[0].message.content;
  return (await post('v1/completions', { ...body, prompt: text }, signal)).choices[0].text;
}
export const measure = (body, signal) => post('sonde/v1/measure', body, signal);
export const runs = (signal) => (files.there ? files.runs() : get('sonde/v1/runs', signal));
export const run = (name, from, signal) => (files.there ? files.run(name, from) : get(`sonde/v1/runs/${e(name)}${q({ from })}`, signal));
export const audits = () => (files.there ? files.audits() : get('sonde/v1/audits'));
export const audit = (name) => (files.there ? files.audit(name) : get(`sonde/v1/audits/${e(name)}`));

// Rows of chosen features, by index.
// dict: with what the units of a steer of them are worth in that dictionary.
export async function briefs(store, indexes, dict) {
  const ids = [...new Set(indexes)].slice(0, 200);
  if (!ids.length) return new Map();
  const { features: v } = files.there ? await files.briefs(store, ids) : await get(`sonde/v1/briefs/${e(store)}${q({ ids: ids.join(','), dict })}`);
  return new Map(v.map((f) => [f.index, f]));
}
