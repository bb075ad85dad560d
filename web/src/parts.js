// Pieces that several views are made of.
import { h, s, fill, uid } from './dom.js';
import { called, day, num, percent, short, tokenName, visible, whole } from './format.js';
import { link } from './route.js';

/* ---- messages ---- */

export function toast(text) {
  const box = document.getElementById('toasts');
  const el = h('div.toast', text);
  box.append(el);
  setTimeout(() => el.remove(), 2600);
}

// What went wrong, in a sentence, with what to do about it.
export function problem(error, again) {
  return h('div.problem', { role: 'alert' },
    h('p', h('strong', error.message || String(error))),
    error.hint ? h('p.soft', error.hint) : null,
    again ? h('button', { type: 'button', onclick: again }, 'Try again') : null);
}

export const empty = (title, ...more) => h('div.empty', h('p.empty-title', title), more.map((m) => (typeof m === 'string' ? h('p.soft', m) : m)));

// A place of a stated height that fills itself: nothing below it moves.
export const skeleton = (lines = 3) => h('div.skeleton', { 'aria-hidden': 'true' }, Array.from({ length: lines }, (_, i) => h('span', { vars: { '--w': `${90 - ((i * 37) % 50)}%` } })));

// Fills el with what make() resolves to, a skeleton meanwhile; a later call wins over an earlier one.
export function load(el, make, lines) {
  const turn = (el._turn = (el._turn || 0) + 1);
  const slow = setTimeout(() => { if (el._turn === turn) { fill(el, skeleton(lines)); el.setAttribute('aria-busy', 'true'); } }, el.childNodes.length ? 150 : 0);
  const done = (child) => {
    clearTimeout(slow);
    if (el._turn !== turn) return;
    el.removeAttribute('aria-busy');
    fill(el, child);
  };
  return make().then(done, (e) => { if (e.name !== 'AbortError') done(problem(e, () => load(el, make, lines))); });
}

/* ---- copying ---- */

async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
    toast(`${what} copied`);
  } catch {
    const area = h('textarea.sheet-text', { readonly: true, 'aria-label': what });
    area.value = text;
    sheet(`Copy the ${what.toLowerCase()}`, area);
    area.select();
  }
}

// command: () => text; json: () => value. Shown in every view's head.
export const copies = (command, json) => h('div.copies',
  command ? h('button.small', { type: 'button', 'data-copy': 'command', title: 'The sonde command that gives what is shown', onclick: () => copy(command(), 'Command') }, 'Copy command') : null,
  json ? h('button.small', { type: 'button', 'data-copy': 'json', title: 'What is shown, as JSON', onclick: () => copy(JSON.stringify(json(), null, 1), 'JSON') }, 'Copy JSON') : null);

/* ---- a sheet over the page ---- */

export function sheet(title, ...children) {
  const id = uid('sheet');
  const el = h('dialog.sheet', { 'aria-labelledby': id },
    h('header', h('h2', { id }, title), h('button.small', { type: 'button', onclick: () => el.close() }, 'Close')), children);
  el.addEventListener('close', () => el.remove());
  el.addEventListener('click', (e) => { if (e.target === el) el.close(); });
  document.body.append(el);
  el.showModal();
  return el;
}

/* ---- heads and provenance ---- */

export const head = (title, lead, tools) => h('header.view-head', h('div.view-title', title, lead ? h('p.lead', lead) : null), tools ? h('div.view-tools', tools) : null);

export const facts = (pairs) => h('dl.facts', pairs.filter(Boolean).map(([name, value, title]) => h('div', { title }, h('dt', name), h('dd', value))));

export function provenance(store) {
  if (!store) return null;
  return h('footer.provenance', h('p',
    h('span', store.model), store.model_sha256 ? h('code', { title: `SHA-256 ${store.model_sha256}` }, short(store.model_sha256)) : null,
    h('span', `${store.kind} dictionary, ${whole(store.n_features)} features at ${store.site}`),
    store.n_tokens ? h('span', `${whole(store.n_tokens)} tokens of ${whole(store.n_docs)} documents`) : null,
    h('span', [day(store.created), store.tool].filter(Boolean).join(', '))));
}

/* ---- tokens ---- */

// Words of a token sequence with their activations: values[i] / scale is how strong the mark is; null: not counted.
export function tokens(texts, values, { scale, peak = -1, from = 0, to = texts.length, breaks = false, onhover, special } = {}) {
  const p = h('p.tokens');
  if (from > 0) p.append(h('span.cut', { 'aria-hidden': 'true' }, '…'));
  for (let i = from; i < to; i++) {
    const v = values ? values[i] : 0;
    const text = visible(texts[i]);
    const parts = text.includes('\n') ? text.split('\n').flatMap((t, k) => (k ? [h('i.nl', '↵'), breaks ? '\n' : ' ', t] : [t])) : [text];
    if (special && special[i]) p.append(h('span.special', tokenName(texts[i])));
    else if (v > 0) {
      const b = h('b', { class: i === peak ? 'peak' : null, vars: { '--a': Math.min(1, v / scale).toFixed(3) }, data: { v: num(v), i: String(i) } }, parts);
      if (onhover) {
        b.addEventListener('pointerenter', () => onhover(v, texts[i]));
        b.addEventListener('pointerleave', () => onhover(null));
      }
      p.append(b);
    } else p.append(...parts);
  }
  if (to < texts.length) p.append(h('span.cut', { 'aria-hidden': 'true' }, '…'));
  return p;
}

/* ---- drawings ---- */

// Bars of counts over [lo, hi]; returns the element with .mark(value). Log heights keep rare strong activations visible.
export function histogram({ lo, hi, counts }, { log = true, name }) {
  const n = counts.length || 1;
  const top = Math.max(...counts, 1);
  const height = (c) => (c <= 0 ? 0 : log ? Math.max(0.02, Math.log10(1 + c) / Math.log10(1 + top)) : Math.max(0.004, c / top));
  const bars = counts.map((c, i) => s('rect', { x: i, y: 1 - height(c), width: 0.86, height: height(c), style: null, 'fill-opacity': 0.3 + (0.7 * (i + 1)) / n }));
  const line = s('line', { class: 'mark', x1: 0, x2: 0, y1: 0, y2: 1 });
  const svg = s('svg', { viewBox: `0 0 ${n} 1`, preserveAspectRatio: 'none', role: 'img', 'aria-label': name }, bars, line);
  const note = h('span', '');
  const el = h('figure.hist', svg, h('figcaption', h('span', num(lo)), note, h('span', num(hi))));
  el.mark = (v) => {
    svg.classList.toggle('on', v !== null && v !== undefined);
    note.textContent = v ? num(v) : '';
    if (!v) return;
    const x = Math.max(0, Math.min(n, ((v - lo) / (hi - lo || 1)) * n));
    line.setAttribute('x1', x);
    line.setAttribute('x2', x);
  };
  return el;
}

// A list of named bars: [{name, value, text, href, title}].
export function bars(list, { kind = 'act', top } = {}) {
  const most = top || Math.max(...list.map((x) => Math.abs(x.value)), 1e-9);
  return h(`ul.bars.${kind}`, list.map((x) => h('li', { vars: { '--w': Math.min(1, Math.abs(x.value) / most).toFixed(3) }, title: x.title },
    x.href ? h('a', { href: x.href }, x.mono ? h('code', x.name) : h('span', x.name)) : x.mono ? h('code', x.name) : h('span', x.name),
    h('span.value', x.text))));
}

export const featureLink = (store, index, query) => link(['feature', store, String(index)], query);

// A row that names a feature: number, label, and one figure.
export const featureRow = (store, f, figure) => h('a.feature-row', { href: featureLink(store, f.index) },
  h('span.no', String(f.index)), h('span.label', { class: f.label_source === 'words' ? 'label words' : 'label' }, called(f.label, 'no words')), h('span.value', figure));

export const density = (v) => percent(v);

/* ---- choices ---- */

// A row of buttons of which one is on. options: [[value, name]].
export function segmented(name, options, value, onchange) {
  const el = h('div.segmented', { role: 'group', 'aria-label': name });
  const draw = (now) => {
    for (const b of el.children) b.setAttribute('aria-pressed', String(b.dataset.value === String(now)));
  };
  for (const [v, text] of options) {
    el.append(h('button', { type: 'button', data: { value: String(v) }, onclick: () => { draw(v); onchange(v); } }, text));
  }
  draw(value);
  el.set = draw;
  return el;
}

export function field(name, control, note) {
  if (!control.id) control.id = uid('field');
  return h('div.field', h('label', { for: control.id }, name), control, note ? h('p.note', note) : null);
}

export const select = (options, value, onchange, attrs) => {
  const el = h('select', { ...attrs, onchange: () => onchange(el.value) }, options.map(([v, text]) => h('option', { value: v, selected: String(v) === String(value) }, text)));
  return el;
};
