// Feature: everything known of one direction: what switches it on, how strongly, what it makes likelier, what lies near it.
import { h, fill, debounce } from './dom.js';
import * as api from './api.js';
import * as command from './command.js';
import { remember, remembered, rememberedObject } from './memory.js';
import * as route from './route.js';
import { called, day, num, percent, signed, tokenName, whole } from './format.js';
import { bars, copies, empty, facts, featureLink, featureRow, field, histogram, load, problem, provenance, segmented, sheet, toast, tokens, density } from './parts.js';

const WIDTHS = { 5: [5, 5], 16: [16, 16], full: [1e9, 1e9] };
const settings = { width: '16', breaks: false, scale: 'feature', log: true, ...rememberedObject('sonde-feature') };
const saveSettings = () => remember('sonde-feature', JSON.stringify(settings));

function example(f, e, hist) {
  const [before, after] = WIDTHS[settings.width] || WIDTHS[16];
  const from = Math.max(0, e.peak - before), to = Math.min(e.tokens.length, e.peak + after + 1);
  const scale = settings.scale === 'feature' ? f.max_act : Math.max(...e.values, 1e-9);
  const special = e.ids ? e.ids.map((id) => id === null) : null;
  return h('li.example', h('span.value', { title: 'Activation at the marked token' }, num(e.act)),
    h('div', tokens(e.tokens, e.values, { scale, peak: e.peak, from, to, breaks: settings.breaks, special, onhover: (v) => hist.mark(v) }), e.name ? h('p.source', e.name.split('/').pop()) : null));
}

function labelNote(l) {
  const by = l.source === 'human' ? `by ${l.author || 'hand'}` : `by ${l.source}${l.author ? `, ${l.author}` : ''}`;
  const parts = [by, day(l.created)];
  if (l.n_cases) parts.push(`tells right from wrong in ${percent(l.detection)} of ${l.n_cases} cases (other features’ labels: ${percent(l.floor)})`);
  else if (Number.isFinite(l.score)) parts.push(`score ${num(l.score)}`);
  return parts.filter(Boolean).join(', ');
}

function examplesPart(f, hist) {
  const box = h('div.examples');
  const top = f.examples.filter((e) => e.group === 'top');
  const draw = () => {
    const groups = f.intervals.map((v, i) => ({ v, i, list: f.examples.filter((e) => e.group === 'interval' && e.interval === i) }));
    fill(box, h('h2', 'Strongest examples'),
      top.length ? h('ol.example-list', top.map((e) => example(f, e, hist))) : empty('This feature never fired on the text of this store.', 'It may be dead, or speak of something the text does not hold.'),
      groups.some((g) => g.list.length) ? h('h2', 'From strong to weak') : null,
      groups.filter((g) => g.list.length || g.v.n_fire).map(({ v, list }, k) => h('details.interval', { open: k < 3 },
        h('summary', h('span.value', `${num(v.lo)} to ${num(v.hi)}`), h('span', `holds ${percent(v.share)} of all tokens`), h('span.soft', `${whole(v.n_fire)} tokens`)),
        h('ol.example-list', list.map((e) => example(f, e, hist))))));
  };
  draw();
  const tools = h('div.example-tools',
    segmented('Words around', [['5', '±5'], ['16', '±16'], ['full', 'All']], settings.width, (v) => { settings.width = v; saveSettings(); draw(); }),
    segmented('Strength against', [['feature', 'Feature’s max'], ['example', 'Example’s max']], settings.scale, (v) => { settings.scale = v; saveSettings(); draw(); }),
    segmented('Line ends', [['false', 'Joined'], ['true', 'Kept']], String(settings.breaks), (v) => { settings.breaks = v === 'true'; saveSettings(); draw(); }));
  return h('section.card.examples-card', tools, box);
}

function testBox(store, dict, f, text, hist) {
  const area = h('textarea', { rows: 2, placeholder: 'Type a sentence: this feature is read as you type.', spellcheck: 'false' });
  area.value = text || '';
  const out = h('div.test-out', { 'aria-live': 'polite' });
  let abort = null;
  const run = async () => {
    const t = area.value;
    route.keep({ text: t });
    abort?.abort();
    if (!t.trim()) return fill(out, h('p.soft', 'Nothing typed yet.'));
    abort = new AbortController();
    try {
      const a = await api.activations({ dict: dict.name, text: t, features: [f.index], top_k: 0, n_features: 0 }, abort.signal);
      const values = a.features[0].values, most = Math.max(0, ...values.map((v, i) => (a.tokens[i].special || a.tokens[i].sink ? 0 : v)));
      hist.mark(most || null);
      fill(out, tokens(a.tokens.map((x) => x.token), values.map((v, i) => (a.tokens[i].special || a.tokens[i].sink ? 0 : v)), { scale: Math.max(f.max_act, most), special: a.tokens.map((x) => x.special), onhover: (v) => hist.mark(v ?? (most || null)) }),
        h('p.note', most ? `Strongest: ${num(most)}, ${percent(most / f.max_act)} of the highest in the store.` : 'Silent on every token.', ' ', h('a', { href: route.link(['text'], { t, dict: dict.name }) }, 'Every feature of this text')));
    } catch (e) {
      if (e.name !== 'AbortError') fill(out, problem(e, run));
    }
  };
  const soon = debounce(run, 300);
  area.addEventListener('input', soon);
  if (text) run();
  else fill(out, h('p.soft', 'Nothing typed yet.'));
  return { el: h('section.card.test', h('h2', 'Try a text'), field('Text', area), out), leave() { soon.cancel(); abort?.abort(); } };
}

function labelPart(store, f, refresh) {
  const title = h('h1', { class: f.label_source === 'words' ? 'words' : null }, called(f.label, 'Feature without words'));
  const source = f.label_source === 'words' ? 'words at its strongest examples' : f.labels[0] ? labelNote(f.labels[0]) : f.label_source;
  const edit = () => {
    const input = h('input', { type: 'text', maxlength: 200, value: f.label_source === 'words' ? '' : f.label, placeholder: 'what it responds to', required: true });
    const author = h('input', { type: 'text', maxlength: 80, value: remembered('sonde-author') || '', placeholder: 'optional' });
    const say = h('div');
    const save = h('button.primary', { type: 'submit' }, 'Keep the label');
    const el = sheet(`Label feature ${f.index}`, h('form.stack', {
      async onsubmit(e) {
        e.preventDefault();
        save.disabled = true;
        try {
          remember('sonde-author', author.value.trim());
          await api.label(store, f.index, { text: input.value.trim(), author: author.value.trim() });
          el.close();
          toast('Label kept in the store');
          refresh();
        } catch (error) {
          fill(say, problem(error));
        } finally {
          save.disabled = false;
        }
      },
    }, field('Label', input), field('Your name', author), say, save,
    f.labels.length ? h('div', h('h3', 'Labels so far'), h('ul.plain-list', f.labels.map((l) => h('li', h('strong', l.text), ' ', h('span.soft', labelNote(l), l.shown === false ? '; not shown: it did no better than chance' : ''))))) : null));
    input.focus();
  };
  return h('div.label-part', title, h('p.label-source', source, ' ', api.isStatic ? null : h('button.link', { type: 'button', onclick: edit }, f.label_source === 'words' ? 'Give it a label' : 'Edit'),
    f.labels.length > 1 && api.isStatic ? ` · ${f.labels.length} labels` : null));
}

async function draw(config, name, index, query) {
  const store = config.stores.find((x) => x.name === name);
  const dict = config.dicts.find((d) => d.store === name);
  const f = await api.feature(name, index);
  const canRun = Boolean(config.name && dict);
  const hist = histogram(f.histogram, { log: settings.log, name: `How often each activation occurs, from ${num(f.histogram.lo)} to ${num(f.histogram.hi)}` });
  const histBox = h('div', hist);
  let live = hist;
  const marked = { mark: (v) => live.mark(v) };
  const logSwitch = segmented('Heights', [['true', 'Log'], ['false', 'Linear']], String(settings.log), (v) => {
    settings.log = v === 'true';
    saveSettings();
    live = histogram(f.histogram, { log: settings.log, name: 'How often each activation occurs' });
    fill(histBox, live);
  });
  const near = h('div.feature-list', { vars: { 'min-height': `${f.neighbours.length * 33}px` } });
  if (f.neighbours.length) load(near, async () => (await api.near(name, index, 10)).features.map((x) => featureRow(name, x, num(x.score))), f.neighbours.length);
  else fill(near, h('p.soft', 'None are stored.'));
  const test = canRun ? testBox(name, dict, f, query.text, marked) : null;
  const at = Number(index), last = store.n_features - 1;
  const step = (d) => featureLink(name, Math.max(0, Math.min(last, at + d)));
  const logits = (list, kind) => bars(list.map((t) => ({ name: tokenName(t.token), mono: true, value: t.value, text: signed(t.value) })), { kind });
  const el = h('div.view.feature',
    h('header.view-head', h('div.view-title', h('p.kicker', h('a', { href: route.link(['features', name], { sel: index }) }, name), ` · feature ${index}`),
      labelPart(name, f, () => { api.feature(name, index, true); window.dispatchEvent(new HashChangeEvent('hashchange')); })),
    h('div.view-tools', h('div.stepper', h('a.button.small', { href: step(-1), 'aria-label': 'Previous feature', rel: 'prev' }, '←'), h('a.button.small', { href: step(1), 'aria-label': 'Next feature', rel: 'next' }, '→')),
      canRun ? h('a.button.small.primary', { href: route.link(['steer'], { s: JSON.stringify([{ feature: { dict: dict.name, index: at }, op: 'add', value: 0.5, unit: 'rms' }]) }) }, 'Steer with this') : null,
      copies(() => command.show(name, index), () => f))),
    facts([['Density', percent(f.density), 'Share of tokens on which it is active'], ['Active on', `${whole(f.n_fire)} tokens`], ['Max', num(f.max_act)], ['Mean', num(f.mean_act), 'Where it is active'], ['Threshold', num(f.threshold)], ['Interest', num(f.interest), 'What to look at first: docs/STORE.md']]),
    h('div.feature-grid',
      h('div.feature-side',
        h('section.card', h('header', h('h2', 'Activations'), logSwitch), histBox, h('p.note', `${whole(f.n_fire)} non-zero activations in ${f.histogram.counts.length} equal bins.`)),
        h('section.card', h('h2', 'What it says'), h('div.logits', h('div', h('h3.up', 'Makes likelier'), logits(f.top_logits.slice(0, 10), 'up')), h('div', h('h3.down', 'Makes unlikelier'), logits(f.bottom_logits.slice(0, 10), 'down'))),
          h('p.note', 'Change of the logits per unit of activation, later layers left out.')),
        h('section.card', h('h2', 'Tokens it fires on'), f.tokens.length ? bars(f.tokens.slice(0, 10).map((t) => ({ name: tokenName(t.token), mono: true, value: t.share, text: percent(t.share), title: `${whole(t.n_fire)} times, up to ${num(t.max_act)}` }))) : h('p.soft', 'None.')),
        h('section.card', h('h2', 'Nearest directions'), near, h('p.note', 'Cosine of decoder rows.'))),
      h('div.feature-main', test?.el, examplesPart(f, marked))),
    provenance(f.store));
  return { title: `${index} ${f.label}`, el, step, test };
}

export async function show({ config, parts, query }) {
  let [, name, index] = parts;
  if (!config.stores.some((x) => x.name === name)) {
    return { title: 'Feature', el: h('div.view', empty(`There is no store “${name}” here.`, h('p', h('a', { href: '#/features' }, 'Go to Features')))) };
  }
  if (index === undefined) { route.go(['features', name]); return { title: 'Feature', el: h('div.view') }; }
  let v;
  try {
    v = await draw(config, name, index, query);
  } catch (e) {
    if (e.status !== 404 && e.status !== 400) throw e;
    return { title: 'Feature', el: h('div.view', h('header.view-head', h('div.view-title', h('h1', 'Feature ', index))), problem(e), h('p', h('a', { href: route.link(['features', name]) }, 'Go to the features of ', name))) };
  }
  const go = (d) => { location.hash = v.step(d); };
  // The next one is read ahead.
  const next = Number(index) + 1;
  if (!api.isStatic && next < config.stores.find((x) => x.name === name).n_features) setTimeout(() => api.feature(name, next).catch(() => {}), 400);
  return { title: v.title, el: v.el, keys: { j: () => go(1), k: () => go(-1), ArrowRight: () => go(1), ArrowLeft: () => go(-1) }, leave() { v.test?.leave(); } };
}
