// Text: what a text does inside the model: its features token by token, the logit lens, the loss of every token.
import { h, fill, debounce } from './dom.js';
import * as api from './api.js';
import * as command from './command.js';
import * as route from './route.js';
import { called, num, percent, tokenName, whole } from './format.js';
import { bars, copies, empty, featureLink, field, problem, segmented, select, skeleton } from './parts.js';

const TRY = ['The Golden Gate Bridge crosses the strait where the bay meets the ocean.', 'def area(r):\n    return 3.14159 * r ** 2', 'Der Zug nach Hamburg fährt heute nicht.', 'The enzyme binds to DNA and repairs the broken strand.'];
const DENSE = 0.01;

export async function show({ config, query }) {
  if (!config.name) {
    return { title: 'Text', el: h('div.view', h('header.view-head', h('div.view-title', h('h1', 'Text'))), empty('No model is loaded.', api.isStatic ? 'This is a folder of results: running a text needs sonde serve with the model.' : 'A text is read by the model. Start the server with one:',
      api.isStatic ? null : h('pre.command', 'sonde serve MODEL --dict DIR --store FILE.db'))) };
  }
  const state = { t: TRY[0], dict: config.dicts[0]?.name || '', by: 'loss', dense: '', chat: '', ...query };
  let acts = null, lens = null, abort = null, chosen = new Set(), feature = null, labels = new Map(), missed = null; // missed: why there are no features
  const dict = () => config.dicts.find((d) => d.name === state.dict);
  const storeOf = () => dict()?.store;
  const save = () => route.keep({ t: state.t === TRY[0] ? '' : state.t, dict: state.dict === config.dicts[0]?.name ? '' : state.dict, by: state.by === 'loss' ? '' : state.by, dense: state.dense, chat: state.chat });

  const area = h('textarea', { rows: 4, spellcheck: 'false', value: state.t, 'data-search': true });
  const strip = h('div.strip', { role: 'listbox', 'aria-multiselectable': 'true', 'aria-label': 'Tokens', tabindex: '0' });
  const legend = h('div.note.legend');
  const side = h('div'), grid = h('div.lens-box'), lossBox = h('div');
  const status = h('p.count', { 'aria-live': 'polite' }, '\u00a0');

  const byFeature = () => acts && feature !== null ? acts.by.get(feature) : null;

  function drawStrip() {
    const list = lens ? lens.tokens : acts ? acts.tokens : [];
    const values = byFeature(), most = values ? Math.max(...values, 1e-9) : 0;
    const high = lens ? Math.max(6, ...lens.tokens.map((t) => (Number.isFinite(t.loss) ? t.loss : 0))) : 1;
    fill(strip, list.map((t, i) => {
      const loss = t.loss, useLoss = state.by === 'loss' && !values;
      const a = values ? values[i] / most : useLoss && Number.isFinite(loss) ? Math.min(1, loss / high) : 0;
      const el = h('button.tok', { type: 'button', role: 'option', id: `tok-${i}`, 'aria-selected': String(chosen.has(i)), tabindex: '-1', class: `tok${t.special ? ' tok-special' : ''}${chosen.has(i) ? ' on' : ''}${values ? ' act' : ''}`, vars: { '--a': a.toFixed(3) },
        title: `${i}: ${tokenName(t.token)}${Number.isFinite(loss) ? `, loss ${num(loss)} (p ${num(Math.exp(-loss))})` : ''}${values ? `, activation ${num(values[i])}` : ''}`,
        onclick: (e) => choose(i, e.shiftKey) }, tokenName(t.token));
      return /\n/.test(t.token) ? [el, h('span.break')] : el;
    }));
    if (chosen.size) strip.setAttribute('aria-activedescendant', `tok-${at}`);
    else strip.removeAttribute('aria-activedescendant');
    fill(legend, values ? [`Colour: activation of feature ${feature}, up to ${num(most)}. `, h('button.link', { type: 'button', onclick: () => { feature = null; drawStrip(); drawFeatures(); } }, 'Back to the loss')]
      : `${lens ? 'Colour: loss, how little the model expected each token. ' : ''}Choose tokens to see what is active there; Shift extends.`);
  }

  let anchor = 0, at = 0; // where a choice began, and the token chosen last
  function choose(i, extend) {
    if (!lens && !acts) return; // another text is being read
    if (!extend) anchor = i;
    chosen = new Set(!extend && chosen.size === 1 && chosen.has(i) ? [] : Array.from({ length: Math.abs(i - anchor) + 1 }, (_, k) => Math.min(anchor, i) + k));
    at = i;
    drawStrip();
    drawFeatures();
    drawLens();
    strip.children[0] && strip.focus({ preventScroll: true });
  }
  strip.addEventListener('keydown', (e) => {
    const n = (lens || acts)?.tokens.length || 0, d = { ArrowRight: 1, ArrowLeft: -1 }[e.key];
    if (!d || !n) return;
    e.preventDefault();
    e.stopPropagation();
    const to = Math.max(0, Math.min(n - 1, (chosen.size ? at : d < 0 ? n : -1) + d));
    if (!chosen.size || to !== at) choose(to, e.shiftKey && chosen.size > 0);
  });

  function strongest() {
    if (!acts) return [];
    const sum = new Map();
    if (!chosen.size) for (const x of acts.strongest) sum.set(x.index, x.max);
    else for (const i of chosen) for (const x of acts.tokens[i]?.top || []) sum.set(x.index, (sum.get(x.index) || 0) + x.act);
    return [...sum].map(([index, value]) => ({ index, value, brief: labels.get(index) })).sort((a, b) => b.value - a.value);
  }

  async function nameThem(list) {
    const store = storeOf(), into = labels, missing = list.map((x) => x.index).filter((i) => !into.has(i));
    if (!store || !missing.length) return;
    for (const i of missing) into.set(i, {});
    for (const [k, f] of await api.briefs(store, missing).catch(() => new Map())) into.set(k, f);
    if (into === labels) drawFeatures(); // else they are of another text or dictionary
  }

  function drawFeatures() {
    if (!acts) {
      fill(side, missed ? problem(missed, run) : config.dicts.length ? skeleton(8) : empty('No dictionary is registered.', 'Features need one: sonde serve --dict DIR.'));
      return;
    }
    const strong = strongest(), all = strong.filter((x) => state.dense || !(x.brief?.density > DENSE)), store = storeOf(), few = all.slice(0, 24), most = Math.max(...few.map((x) => x.value), 1e-9);
    const where = chosen.size ? `on ${chosen.size === 1 ? `“${tokenName(acts.tokens[[...chosen][0]]?.token || '')}”` : `${chosen.size} tokens`}` : 'in the whole text';
    const left = strong.length - all.length;
    fill(side, h('p.count', `${whole(all.length)} features ${where}${left ? `; ${whole(left)} that are on over 1 % of tokens are left out` : ''}`), few.length ? h('ul.bars.feature-bars', few.map((x) => h('li', { class: feature === x.index ? 'on' : null, vars: { '--w': (x.value / most).toFixed(3) } },
      h('span.feature-cell', store ? h('a.no', { href: featureLink(store, x.index) }, String(x.index)) : h('span.no', String(x.index)),
        h('button.link.label', { type: 'button', 'aria-pressed': String(feature === x.index), title: 'Show this feature on the tokens', onclick: () => showFeature(x.index) }, called(x.brief?.label, store ? '\u00a0' : `feature ${x.index}`))),
      h('span.value', num(x.value))))) : h('p.soft', 'Nothing is active here.'));
    nameThem(few);
  }

  async function showFeature(index) {
    const of = acts; // what is read here is of this text, whatever is typed meanwhile
    feature = feature === index ? null : index;
    if (feature !== null && !of.by.has(index)) {
      try {
        const a = await api.activations({ ...of.asked, features: [index], top_k: 0, n_features: 0 }, abort.signal);
        of.by.set(index, a.features[0].values.map((v, i) => (a.tokens[i].special || a.tokens[i].sink ? 0 : v)));
      } catch (e) {
        if (e.name === 'AbortError' || of !== acts) return;
        feature = null;
        fill(legend, problem(e));
        return drawFeatures();
      }
    }
    if (of !== acts) return;
    drawStrip();
    drawFeatures();
  }

  function drawLens() {
    if (!lens) return;
    const wanted = chosen.size ? [...chosen].sort((a, b) => a - b) : lens.tokens.map((_, i) => i), cols = wanted.slice(0, 64);
    const rows = [...lens.rows].reverse();
    fill(grid, h('div.lens-scroll', { tabindex: '0', role: 'region', 'aria-label': 'Logit lens' }, h('table.lens', h('thead', h('tr', h('th', { scope: 'col' }, 'Layer'), cols.map((i) => h('th', { scope: 'col', class: chosen.has(i) ? 'on' : null }, tokenName(lens.tokens[i].token))))),
      h('tbody', rows.map((r) => h('tr', h('th', { scope: 'row' }, r.name), cols.map((i) => {
        const c = r.cells[i], [text, p] = c.top[0];
        const right = lens.tokens[i + 1] && text === lens.tokens[i + 1].token;
        return h('td', { class: right ? 'right' : null, vars: { '--a': p.toFixed(3) }, title: `${c.top.map(([t, q]) => `${tokenName(t)} ${percent(q)}`).join(', ')}${c.rank ? `; the next token is number ${whole(c.rank)} with ${percent(c.p_next)}` : ''}; KL to the last layer ${num(c.kl)}` }, tokenName(text));
      })))))),
    h('p.note', `What the model would say next after each layer. Colour: probability; underlined where it is the token that follows.${wanted.length <= 64 ? '' : ' The first 64 tokens are shown: choose others above.'}`));
  }

  function drawLoss() {
    const list = lens.tokens.filter((t) => Number.isFinite(t.loss)), mean = list.reduce((s, t) => s + t.loss, 0) / (list.length || 1);
    fill(lossBox, h('dl.facts', h('div', h('dt', 'Tokens'), h('dd', whole(lens.tokens.length))), h('div', h('dt', 'Mean loss'), h('dd', `${num(mean)} nats`)), h('div', h('dt', 'Perplexity'), h('dd', num(Math.exp(mean)))),
      h('div', h('dt', 'Hardest'), h('dd', list.length ? [...list].sort((a, b) => b.loss - a.loss).slice(0, 3).map((t) => h('code.pill', tokenName(t.token))) : '–'))));
  }

  const body = () => (state.chat ? { messages: [{ role: 'user', content: state.t }] } : { text: state.t });
  async function run() {
    save();
    abort?.abort();
    chosen = new Set();
    feature = acts = lens = missed = null; // what stands there goes when its own answer comes, or the reason why none does
    labels = new Map();
    if (!state.t) {
      fill(strip); fill(grid); fill(lossBox); fill(side, h('p.soft', 'Type something.')); fill(status, '\u00a0');
      return;
    }
    abort = new AbortController();
    const mine = abort;
    el.setAttribute('aria-busy', 'true');
    fill(status, 'Reading …');
    const job = (answer, take, miss) => answer.then((r) => { if (mine === abort) take(r); }, (e) => { if (mine === abort && e.name !== 'AbortError') miss(e); });
    const asked = { ...body(), dict: state.dict };
    const jobs = [job(api.lens({ ...body(), top: 5 }, mine.signal), (r) => { lens = r; drawStrip(); drawLens(); drawLoss(); }, (e) => { drawStrip(); fill(lossBox); fill(grid, problem(e, run)); })];
    if (state.dict) jobs.push(job(api.activations({ ...asked, top_k: 64, n_features: 60 }, mine.signal), (r) => { acts = { ...r, by: new Map(), asked }; drawFeatures(); if (!lens) drawStrip(); }, (e) => { missed = e; drawFeatures(); }));
    else drawFeatures();
    await Promise.all(jobs);
    if (mine !== abort) return;
    el.removeAttribute('aria-busy');
    const read = lens || acts;
    fill(status, read ? `${whole(read.tokens.length)} tokens, ${read.mode} mode` : '\u00a0');
  }
  const soon = debounce(run, 500);
  area.addEventListener('input', () => { state.t = area.value; soon(); });

  const dense = h('input', { type: 'checkbox', checked: Boolean(state.dense), onchange: () => { state.dense = dense.checked ? '1' : ''; save(); drawFeatures(); } });
  const chat = h('input', { type: 'checkbox', checked: Boolean(state.chat), onchange: () => { state.chat = chat.checked ? '1' : ''; run(); } });
  const el = h('div.view.text',
    h('header.view-head', h('div.view-title', h('h1', 'Text'), h('p.lead', 'What happens in the model while it reads.')), h('div.view-tools', copies(() => command.lens(config, state.t, state.chat && lens ? lens.tokens.map((t) => t.id) : null, lens?.mode), () => ({ activations: acts && { ...acts, by: undefined, asked: undefined }, lens })))),
    h('div.text-grid',
      h('section.card.text-in', field('Text', area), h('div.text-tools', h('label.check', chat, 'as a message in a chat'),
        config.dicts.length > 1 ? select(config.dicts.map((d) => [d.name, d.name]), state.dict, (v) => { state.dict = v; run(); }, { 'aria-label': 'Dictionary' }) : null,
        h('span.try', 'Try: ', TRY.map((t, i) => [i ? ', ' : '', h('button.link', { type: 'button', onclick: () => { area.value = state.t = t; run(); } }, ['a bridge', 'code', 'German', 'biology'][i])])), status)),
      h('section.card', h('header', h('h2', 'Tokens'), lossBox), strip, legend),
      h('section.card.text-side', h('header', h('h2', 'Features'), h('label.check', dense, 'with those on over 1 % of tokens')), side),
      h('section.card.text-lens', h('h2', 'Layer by layer'), grid)));
  fill(side, config.dicts.length ? skeleton(8) : empty('No dictionary is registered.', 'Features need one: sonde serve --dict DIR.'));
  fill(grid, skeleton(10));
  return { title: 'Text', el, shown: run, keys: { run }, leave() { soon.cancel(); abort?.abort(); } };
}
